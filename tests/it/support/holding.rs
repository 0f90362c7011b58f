//! What a mailbox of a real server holds, message by message: for comparing a source with a target.
#![allow(dead_code)] // each test module uses a part

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::slice::Iter;

use super::imap_client::Client;

/// All that a mailbox holds: folders by their levels in Unicode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub folders: BTreeMap<Vec<String>, Held>,
}

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Can it hold messages?
    pub selectable: bool,
    pub subscribed: bool,
    /// Its special use in lower case, without the backslash (`sent`).
    pub special: Option<String>,
    pub uid_validity: u32,
    /// In ascending order of UID.
    pub messages: Vec<Message>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub uid: u32,
    pub what: What,
}

/// What of a message should be the same wherever it lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    /// BLAKE3 of the octets, in hexadecimal digits.
    pub digest: String,
    /// Octets.
    pub size: usize,
    /// INTERNALDATE, seconds since 1970 (UTC).
    pub received: i64,
    /// System flags without `\Recent`.
    pub flags: BTreeSet<String>,
    pub keywords: BTreeSet<String>,
}

impl Holding {
    /// Reads all of a mailbox without changing anything (EXAMINE, BODY.PEEK).
    pub fn of(client: &mut Client) -> Holding {
        let mut folders = Holding::names(client);
        for (names, held) in folders.iter_mut().filter(|(_, held)| held.selectable) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            (held.uid_validity, held.messages) = read(client, &names);
        }
        Holding { folders }
    }

    /// The folders without their messages.
    pub fn names(client: &mut Client) -> BTreeMap<Vec<String>, Held> {
        let mut folders = BTreeMap::new();
        for row in responses(&client.run(&[b"LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)"]).0) {
            let [Item::Atom(_), Item::Atom(list), Item::List(attributes), _, name, ..] = &row[..] else {
                continue;
            };
            assert_eq!(list, b"LIST");
            let attributes: Vec<String> = attributes.iter().map(|a| a.text().to_ascii_lowercase()).collect();
            let has = |wanted: &str| attributes.iter().any(|a| a == wanted);
            if has("\\nonexistent") {
                continue; // subscribed or a special use in waiting, and nothing else
            }
            let special = ["all", "archive", "drafts", "flagged", "junk", "sent", "trash"]
                .into_iter()
                .find(|role| has(&format!("\\{role}")));
            let held = Held {
                selectable: !has("\\noselect"),
                subscribed: has("\\subscribed"),
                special: special.map(str::to_owned),
                ..Held::default()
            };
            folders.insert(client.levels(name.octets()), held);
        }
        folders
    }

    /// A folder.
    pub fn folder(&self, names: &[&str]) -> &Held {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        self.folders.get(&names).unwrap_or_else(|| panic!("no folder {names:?} in {:?}", self.folders.keys()))
    }

    /// Messages of all folders.
    pub fn count(&self) -> usize {
        self.folders.values().map(|f| f.messages.len()).sum()
    }

    /// In what `other` is not the same: folders, subscriptions, special uses, and messages as multisets. UIDs,
    /// UIDVALIDITY and whether an empty folder could hold messages do not count.
    pub fn differences(&self, other: &Holding) -> Vec<String> {
        let mut all = Vec::new();
        let names: BTreeSet<_> = self.folders.keys().chain(other.folders.keys()).collect();
        for name in names {
            let (Some(mine), Some(theirs)) = (self.folders.get(name), other.folders.get(name)) else {
                let what = if self.folders.contains_key(name) { "is missing" } else { "should not be there" };
                all.push(format!("{name:?} {what}"));
                continue;
            };
            if (mine.subscribed, &mine.special) != (theirs.subscribed, &theirs.special) {
                let of = |f: &Held| (f.subscribed, f.special.clone());
                all.push(format!(
                    "{name:?}: subscribed, special: wanted {:?}, found {:?}",
                    of(mine),
                    of(theirs)
                ));
            }
            let (mine, theirs) = (mine.multiset(), theirs.multiset());
            let messages: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
            for message in messages {
                let count = |of: &BTreeMap<&What, usize>| of.get(*message).copied().unwrap_or(0);
                let (wanted, found) = (count(&mine), count(&theirs));
                if wanted != found {
                    all.push(format!("{name:?}: wanted {wanted}, found {found}: {message:?}"));
                }
            }
        }
        all
    }

    /// Panics, telling the first differences, unless `other` holds the same.
    pub fn assert_same(&self, other: &Holding) {
        let differences = self.differences(other);
        let shown = &differences[..differences.len().min(10)];
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
    }
}

impl Held {
    /// Messages with how many of each there are.
    pub fn multiset(&self) -> BTreeMap<&What, usize> {
        let mut all = BTreeMap::new();
        for message in &self.messages {
            *all.entry(&message.what).or_default() += 1;
        }
        all
    }
}

/// UIDVALIDITY and messages of a folder.
fn read(client: &mut Client, names: &[&str]) -> (u32, Vec<Message>) {
    let mut messages = Vec::new();
    let (uid_validity, count) = client.examine(names);
    if count > 0 {
        let (octets, _) = client.run(&[b"UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"]);
        for row in responses(&octets) {
            let [_, Item::Atom(_), Item::Atom(fetch), Item::List(items), ..] = &row[..] else { continue };
            if fetch == b"FETCH" {
                messages.push(message(items));
            }
        }
        assert_eq!(messages.len(), count, "the server tells of every message");
    }
    client.run(&[b"CLOSE"]);
    messages.sort();
    (uid_validity, messages)
}

fn message(items: &[Item]) -> Message {
    let value = |wanted: &str| {
        let at = items.chunks(2).find(|pair| pair[0].text().eq_ignore_ascii_case(wanted));
        &at.unwrap_or_else(|| panic!("the server told no {wanted}"))[1]
    };
    let octets = value("BODY[]").octets();
    let Item::List(all) = value("FLAGS") else { panic!("flags are a list") };
    let (flags, keywords) =
        all.iter().map(Item::text).filter(|f| f != "\\Recent").partition(|f| f.starts_with('\\'));
    let date = value("INTERNALDATE").text();
    let received = jiff::fmt::strtime::parse("%d-%b-%Y %H:%M:%S %z", date.trim());
    let received = received.and_then(|t| t.to_timestamp()).expect("a date").as_second();
    Message {
        uid: value("UID").text().parse().expect("a UID"),
        what: What {
            digest: blake3::hash(octets).to_hex().to_string(),
            size: octets.len(),
            received,
            flags,
            keywords,
        },
    }
}

/// A piece of a response.
#[derive(Debug)]
enum Item {
    Atom(Vec<u8>),
    /// Quoted, or a literal.
    Text(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn octets(&self) -> &[u8] {
        match self {
            Item::Atom(octets) | Item::Text(octets) => octets,
            Item::List(_) => panic!("a list where octets should be"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.octets()).into_owned()
    }
}

/// The untagged responses, each with its `*`.
fn responses(octets: &[u8]) -> Vec<Vec<Item>> {
    let mut at = octets.iter().peekable();
    let mut all = Vec::new();
    while at.peek().is_some() {
        all.push(items(&mut at));
    }
    all
}

/// What stands up to the end of the line or of the list.
fn items(at: &mut Peekable<Iter<'_, u8>>) -> Vec<Item> {
    let mut all = Vec::new();
    while let Some(first) = at.next() {
        all.push(match first {
            b' ' | b'\r' => continue,
            b'\n' | b')' => break,
            b'(' => Item::List(items(at)),
            b'"' => {
                let mut text = Vec::new();
                while let Some(octet) = at.next().filter(|o| **o != b'"') {
                    text.push(if *octet == b'\\' { *at.next().expect("a quoted octet") } else { *octet });
                }
                Item::Text(text)
            }
            // A literal; those that may hold NUL have a tilde.
            b'{' => Item::Text(literal(at)),
            b'~' if at.peek() == Some(&&b'{') => {
                at.next();
                Item::Text(literal(at))
            }
            first => {
                let mut atom = vec![*first];
                while let Some(octet) = at.next_if(|o| !b" ()\r\n".contains(o)) {
                    atom.push(*octet);
                }
                Item::Atom(atom)
            }
        });
    }
    all
}

fn literal(at: &mut Peekable<Iter<'_, u8>>) -> Vec<u8> {
    let digits: Vec<u8> = at.by_ref().take_while(|o| **o != b'}').copied().collect();
    let len = String::from_utf8_lossy(&digits).parse().expect("a length");
    at.nth(1); // the end of the line
    at.by_ref().take(len).copied().collect()
}

#[test]
fn a_holding_notices_whatever_differs() {
    let what = |octets: &str| What {
        digest: octets.to_owned(),
        size: octets.len(),
        received: 7,
        flags: BTreeSet::new(),
        keywords: BTreeSet::new(),
    };
    let messages = vec![Message { uid: 1, what: what("a") }, Message { uid: 2, what: what("a") }];
    let inbox = Held { selectable: true, messages, ..Held::default() };
    let whole = Holding {
        folders: [(vec!["INBOX".to_owned()], inbox), (vec!["A".to_owned()], Held::default())].into(),
    };
    let inbox = |holding: &mut Holding, change: fn(&mut Held)| {
        change(holding.folders.get_mut(&["INBOX".to_owned()][..]).unwrap());
    };
    let changes: [fn(&mut Held); 7] = [
        |f| drop(f.messages.pop()),
        |f| f.messages.push(f.messages[0].clone()),
        |f| f.messages[0].what.received += 1,
        |f| f.messages[0].what.flags.extend(["\\Seen".to_owned()]),
        |f| f.messages[0].what.keywords.extend(["work".to_owned()]),
        |f| f.subscribed = true,
        |f| f.special = Some("sent".to_owned()),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut other = whole.clone();
        inbox(&mut other, change);
        assert!(!whole.differences(&other).is_empty(), "change {n} goes unnoticed");
    }
    let mut other = whole.clone();
    inbox(&mut other, |f| f.messages[0].uid = 9);
    assert_eq!(whole.differences(&other), Vec::<String>::new(), "UIDs do not count");
    other.folders.remove(&["A".to_owned()][..]);
    assert_eq!(whole.differences(&other), [r#"["A"] is missing"#]);
    assert_eq!(other.differences(&whole), [r#"["A"] should not be there"#]);
}

#[test]
fn responses_with_literals_quotes_and_lists_come_apart() {
    let octets = b"* 1 FETCH (FLAGS (\\Seen a) UID 3 BODY[] {5}\r\na)\r\nb X \"q\\\"\" Y ~{2}\r\n\0) Z {0}\r\n)\r\n* OK [X] done\r\n";
    let all = responses(octets);
    assert_eq!(all.len(), 2);
    let Item::List(items) = &all[0][3] else { panic!("a list") };
    let texts: Vec<&[u8]> = items[5..].iter().map(Item::octets).collect();
    assert_eq!(texts, [&b"a)\r\nb"[..], b"X", b"q\"", b"Y", b"\0)", b"Z", b""]);
}
