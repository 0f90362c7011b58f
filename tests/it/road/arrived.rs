//! What lies at the target, read without the program's own code, against what should.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mailwave::mock::graph::{MessageTruth, Truth};

use super::office::{self, Folders, graph_path};
use crate::support::mailgen::Mail;

/// Folders by name, each with a multiset of messages.
type Held<M> = BTreeMap<String, BTreeMap<M, usize>>;

/// The first folder that differs, and how.
fn compare<M: Ord + Debug>(whose: &str, wanted: &Held<M>, found: &Held<M>) -> Result<(), String> {
    let folders: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    for folder in folders {
        let (Some(wanted), Some(found)) = (wanted.get(folder), found.get(folder)) else {
            let what = if wanted.contains_key(folder) { "is missing" } else { "should not be there" };
            return Err(format!("{whose}: the folder {folder:?} {what}; there are {:?}", found.keys()));
        };
        let messages: BTreeSet<&M> = wanted.keys().chain(found.keys()).collect();
        let wrong: Vec<String> = messages
            .into_iter()
            .map(|m| (m, wanted.get(m).copied().unwrap_or(0), found.get(m).copied().unwrap_or(0)))
            .filter(|(_, wanted, found)| wanted != found)
            .map(|(m, wanted, found)| format!("wanted {wanted}, found {found}: {m:?}"))
            .collect();
        if !wrong.is_empty() {
            let shown = wrong[..wrong.len().min(6)].join("\n");
            return Err(format!("{whose}, {folder:?}: {} wrong\n{shown}", wrong.len()));
        }
    }
    Ok(())
}

fn hold<M: Ord>(messages: impl Iterator<Item = M>) -> BTreeMap<M, usize> {
    let mut held = BTreeMap::new();
    for message in messages {
        *held.entry(message).or_default() += 1;
    }
    held
}

/// A message as Graph shows it: the declared transform of what the source held.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    /// Empty if there is none: Graph does not tell the two apart.
    subject: String,
    /// `None`: one the target made up.
    message_id: Option<String>,
    received: i64,
    read: bool,
    draft: bool,
    flagged: bool,
    categories: Vec<String>,
    /// 102 replied, 104 forwarded.
    verb: Option<String>,
    html: bool,
    /// BLAKE3 of the text.
    text: String,
    /// Name, octets, BLAKE3.
    attachments: Vec<(String, u64, String)>,
    /// The original header block came along.
    headers: bool,
    complete: bool,
}

impl Shown {
    fn of(mail: &Mail) -> Shown {
        let has = |flag: &str| mail.flags.contains(&flag);
        let categories: BTreeSet<&str> = mail
            .flags
            .iter()
            .copied()
            .filter(|f| !f.starts_with('\\') && (*f != "$Forwarded" || has("\\Answered")))
            .collect();
        let verb = match (has("\\Answered"), has("$Forwarded")) {
            (true, _) => Some("102"),
            (false, true) => Some("104"),
            (false, false) => None,
        };
        let digest = |octets: &[u8]| blake3::hash(octets).to_hex().to_string();
        Shown {
            subject: mail.subject.clone().unwrap_or_default(),
            message_id: mail.message_id.clone(),
            received: mail.received,
            read: has("\\Seen"),
            draft: has("\\Draft"),
            flagged: has("\\Flagged"),
            categories: categories.into_iter().map(str::to_owned).collect(),
            verb: verb.map(str::to_owned),
            html: mail.html,
            text: digest(mail.text.as_bytes()),
            attachments: mail
                .attachments
                .iter()
                .map(|(name, octets)| (name.clone(), octets.len() as u64, digest(octets)))
                .collect(),
            headers: true,
            complete: true,
        }
    }

    fn found(m: &MessageTruth, ours: &BTreeSet<&str>) -> Shown {
        let mut categories = m.categories.clone();
        categories.sort();
        let tagged = |tag: &str| m.tagged.iter().find(|(k, _)| k.ends_with(tag)).map(|(_, v)| v.as_str());
        Shown {
            subject: m.subject.clone().unwrap_or_default(),
            message_id: Some(m.internet_message_id.clone()).filter(|id| ours.contains(id.as_str())),
            received: m.received.parse::<jiff::Timestamp>().expect("a date").as_second(),
            read: m.is_read,
            draft: m.is_draft,
            flagged: m.flag == "flagged",
            categories,
            verb: tagged("0x1081").filter(|v| *v != "0").map(str::to_owned),
            html: m.body_type == "html",
            text: m.body_digest.clone(),
            attachments: m.attachments.iter().map(|a| (a.name.clone(), a.size, a.digest.clone())).collect(),
            headers: tagged("0x7d").is_some_and(|h| h.contains("\r\nReceived: from relay.example.org by ")),
            complete: m.named.values().any(|v| v.ends_with("/done")),
        }
    }
}

/// Compares every mailbox of a mock Graph with what it should hold, message by message.
pub fn graph_holds(mailboxes: &BTreeMap<String, Folders>, truth: &Truth) {
    let messages = || mailboxes.values().flat_map(BTreeMap::values).flatten();
    let ours: BTreeSet<&str> = messages().filter_map(|m| m.message_id.as_deref()).collect();
    assert_eq!(truth.mailboxes.len(), mailboxes.len());
    assert_eq!(truth.pending, 0);
    for (user, folders) in mailboxes {
        let mut wanted: Held<Shown> = folders
            .iter()
            .map(|(names, mail)| (graph_path(names).to_owned(), hold(mail.iter().map(Shown::of))))
            .collect();
        // The ways to folders below, and the folders every mailbox has.
        for way in ["Projekte", "Projekte/2026"] {
            wanted.insert(way.to_owned(), BTreeMap::new());
        }
        let mailbox = &truth.mailboxes[&format!("{user}@target.example")];
        let mut found: Held<Shown> = BTreeMap::new();
        for (path, folder) in &mailbox.folders {
            if folder.well_known.is_some() && !wanted.contains_key(path) {
                wanted.insert(path.clone(), BTreeMap::new());
            }
            found.insert(path.clone(), hold(folder.messages.iter().map(|m| Shown::found(m, &ours))));
        }
        compare(user, &wanted, &found).unwrap_or_else(|difference| panic!("{difference}"));
        let stamps: BTreeSet<&String> =
            mailbox.folders.values().flat_map(|f| &f.messages).flat_map(|m| m.named.values()).collect();
        assert_eq!(
            stamps.len(),
            folders.values().map(Vec::len).sum::<usize>(),
            "{user}: each copy has its stamp"
        );
    }
    // Between the largest file we send in one request and the smallest the service opens a session for, the session is
    // tried first; nothing else is asked in vain.
    let mut violations = truth.counters.violations.clone();
    let between = messages()
        .flat_map(|m| &m.attachments)
        .filter(|(_, octets)| (2_900_001..3_000_000).contains(&octets.len()));
    assert_eq!(
        violations.remove("ErrorAttachmentSizeShouldNotBeLessThanMinimumSize").unwrap_or(0),
        between.count() as u64
    );
    assert!(violations.is_empty(), "{violations:?}");
}

/// A message as a file: octets by digest and count, received, flags.
type Filed = (String, usize, i64, BTreeSet<String>);

fn filed(mail: &Mail) -> Filed {
    let flags = mail.flags.iter().map(|f| (*f).to_owned()).collect();
    (blake3::hash(&mail.octets).to_hex().to_string(), mail.octets.len(), mail.received, flags)
}

/// Reads the Maildir++ tree of one mailbox: octets, file times, letters, keywords.
fn maildir(root: &Path) -> Held<Filed> {
    let mut held = BTreeMap::new();
    for entry in fs::read_dir(root).expect("readable") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("ASCII");
        if name.starts_with('.') && entry.path().is_dir() {
            held.insert(name, folder(&entry.path()));
        }
    }
    held.insert(String::new(), folder(root));
    held
}

fn folder(dir: &Path) -> BTreeMap<Filed, usize> {
    assert_eq!(fs::read_dir(dir.join("tmp")).expect("readable").count(), 0, "nothing is left in tmp");
    let keywords = fs::read_to_string(dir.join("dovecot-keywords")).unwrap_or_default();
    let keyword = |letter: char| {
        let at = format!("{} ", letter as u32 - 'a' as u32);
        keywords
            .lines()
            .find_map(|line| line.strip_prefix(&at))
            .unwrap_or("a keyword without a name")
            .to_owned()
    };
    let mut held = Vec::new();
    for sub in ["new", "cur"] {
        for entry in fs::read_dir(dir.join(sub)).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|n| n.to_str()).expect("ASCII");
            let letters = name.split_once(":2,").map_or("", |(_, letters)| letters);
            let flags = letters.chars().map(|letter| match letter {
                'D' => "\\Draft".to_owned(),
                'F' => "\\Flagged".to_owned(),
                'P' => "$Forwarded".to_owned(),
                'R' => "\\Answered".to_owned(),
                'S' => "\\Seen".to_owned(),
                'T' => "\\Deleted".to_owned(),
                letter => keyword(letter),
            });
            let octets = fs::read(&path).expect("readable");
            let received = path.metadata().expect("readable").mtime();
            held.push((blake3::hash(&octets).to_hex().to_string(), octets.len(), received, flags.collect()));
        }
    }
    hold(held.into_iter())
}

/// Compares one mailbox of a Maildir target with what it should hold.
pub fn maildir_holds(whose: &str, root: &Path, folders: &Folders) {
    maildir_compared(whose, root, folders).unwrap_or_else(|difference| panic!("{difference}"));
}

fn maildir_compared(whose: &str, root: &Path, folders: &Folders) -> Result<(), String> {
    let name = |names: &[&str]| match names {
        ["INBOX"] => String::new(),
        names => office::directory(names, true),
    };
    let wanted: Held<Filed> =
        folders.iter().map(|(names, mail)| (name(names), hold(mail.iter().map(filed)))).collect();
    compare(whose, &wanted, &maildir(root))
}

/// Everything below a directory: path, octets, times. Equal before and after: nothing was written.
pub fn snapshot(root: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let mut all = BTreeMap::new();
    office::files(root, &mut |path, seen| {
        all.insert(path.display().to_string(), (seen.len(), seen.mtime(), seen.ctime_nsec(), seen.ino()));
    });
    all
}

#[test]
fn the_comparison_notices_whatever_differs() {
    let mut made = crate::support::mailgen::MailGen::new(7, "example.org");
    let mail: Vec<Mail> = (0..12).map(|_| made.next()).collect();
    let folders: Folders = [(vec!["INBOX"], mail.clone()), (vec!["A"], vec![mail[0].clone()])].into();
    let dir = tempfile::tempdir().unwrap();
    for (names, mail) in &folders {
        let at = if *names == ["INBOX"] { dir.path().to_owned() } else { dir.path().join(".A") };
        ["tmp", "new", "cur"].iter().for_each(|sub| fs::create_dir_all(at.join(sub)).unwrap());
        fs::write(at.join("dovecot-keywords"), "3 work\n").unwrap();
        for (n, mail) in mail.iter().enumerate() {
            let letters: String = mail
                .flags
                .iter()
                .map(|flag| match *flag {
                    "work" => 'd',
                    "$Forwarded" => 'P',
                    "\\Answered" => 'R',
                    flag => char::from(flag.as_bytes()[1]),
                })
                .collect();
            let path = at.join("cur").join(format!("{n}:2,{letters}"));
            fs::write(&path, &mail.octets).unwrap();
            let received = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mail.received as u64);
            fs::File::options().write(true).open(&path).unwrap().set_modified(received).unwrap();
        }
    }
    let same = |folders: &Folders| maildir_compared("ann", dir.path(), folders).is_ok();
    assert!(same(&folders));
    let changes: [fn(&mut Folders); 8] = [
        |f| f.get_mut(&["INBOX"][..]).unwrap()[3].octets.push(b'x'),
        |f| f.get_mut(&["INBOX"][..]).unwrap()[3].received += 1,
        |f| f.get_mut(&["INBOX"][..]).unwrap()[3].flags.push("later"),
        |f| f.get_mut(&["INBOX"][..]).unwrap()[3].flags.push("\\Deleted"),
        |f| drop(f.get_mut(&["INBOX"][..]).unwrap().pop()),
        |f| {
            let twin = f[&["A"][..]][0].clone();
            f.get_mut(&["A"][..]).unwrap().push(twin);
        },
        |f| drop(f.remove(&["A"][..])),
        |f| drop(f.insert(vec!["B"], Vec::new())),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let mut other = folders.clone();
        change(&mut other);
        assert!(!same(&other), "change {n} goes unnoticed");
    }
}
