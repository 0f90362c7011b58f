//! Folder names on an IMAP server: paths to names on the wire and back.
//!
//! Writing is injective: two paths never share a name, and the same path gives the same names each time. A name is sent
//! as it is wherever the server takes it. What it can never take, or did not take, is written as `=` and two hexadecimal
//! digits in capitals for each octet of UTF-8; an `=` that could be mistaken for that is written so itself. Whichever
//! form was used, only one name reads back from it.

use crate::model::FolderPath;
use crate::transform::names::hash;
use crate::transform::utf7;

/// Longest level sent as it is, in octets on the wire. File systems take 255.
const LONGEST: usize = 200;
/// Octets kept of a name that is shortened.
const KEPT: usize = 60;
/// Stands for a folder without a name.
const EMPTY: &str = "=-";
/// Marks a shortened name; a hash follows.
const SHORTENED: &str = "=~";

/// How this server writes names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naming {
    /// What the user's own folders begin with (`INBOX.`), as on the wire.
    pub prefix: String,
    /// What parts the levels; `None`: there are none.
    pub separator: Option<char>,
}

impl Naming {
    /// A level as it is, as far as any server can take it. `root`: it is the first one.
    pub fn plain(&self, name: &str, root: bool) -> String {
        if name.is_empty() {
            return EMPTY.to_owned();
        }
        let mut out = String::with_capacity(name.len());
        let mut rest = name.chars();
        // Another spelling of the inbox's name would lead into it.
        let inbox = root && name.eq_ignore_ascii_case("INBOX") && name != "INBOX";
        if inbox && let Some(first) = rest.next() {
            escape(&mut out, first);
        }
        while let Some(c) = rest.next() {
            let ambiguous = c == '=' && is_marked(rest.as_str());
            if ambiguous
                || c.is_ascii_control()
                || Some(c) == self.separator
                || (self.separator.is_none() && c == '/')
            {
                escape(&mut out, c);
            } else {
                out.push(c);
            }
        }
        self.limited(out, name)
    }

    /// A level of letters, digits, blanks inside, `-` and `_` only: for servers that refuse it as it is.
    pub fn careful(&self, name: &str) -> String {
        if name.is_empty() {
            return EMPTY.to_owned();
        }
        self.limited(spelled(name), name)
    }

    /// A short level that carries a hash of the names given: for what is refused in every other form.
    pub fn hashed(&self, names: &[String]) -> String {
        let leaf = names.last().map_or("", String::as_str);
        let mut head: String = leaf.chars().take(KEPT).collect();
        while utf7::encode(&spelled(&head)).len() > KEPT {
            head.pop();
        }
        utf7::encode(&format!("{}{SHORTENED}{}", spelled(&head), hash(names)))
    }

    /// A level below others.
    pub fn join(&self, above: Option<&str>, level: &str) -> String {
        match above {
            Some(above) => format!("{above}{}{level}", self.separator.unwrap_or('/')),
            None => format!("{}{level}", self.prefix),
        }
    }

    /// The name of the folder above, if there is one below the prefix.
    pub fn above<'a>(&self, wire: &'a str) -> Option<&'a str> {
        let separator = self.separator?;
        let own = wire.strip_prefix(&self.prefix)?;
        let at = own.rfind(separator)?;
        wire.get(..self.prefix.len() + at)
    }

    /// Where a folder lies, as its user sees it; `None`: not among the user's own.
    pub fn path(&self, wire: &str) -> Option<FolderPath> {
        if wire.eq_ignore_ascii_case("INBOX") {
            return Some(FolderPath::inbox());
        }
        let own = wire.strip_prefix(&self.prefix)?;
        let read = |level: &str| utf7::decode(level).unwrap_or_else(|| level.to_owned());
        let names = match self.separator {
            Some(separator) => own.split(separator).map(read).collect(),
            None => vec![read(own)],
        };
        FolderPath::new(names)
    }

    fn limited(&self, written: String, name: &str) -> String {
        let coded = utf7::encode(&written);
        if coded.len() <= LONGEST { coded } else { self.hashed(&[name.to_owned()]) }
    }
}

/// A name in characters no server minds.
fn spelled(name: &str) -> String {
    let last = name.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.chars().enumerate() {
        let harmless = c.is_alphanumeric() || matches!(c, '-' | '_') || (c == ' ' && at > 0 && at < last);
        if harmless { out.push(c) } else { escape(&mut out, c) }
    }
    out
}

fn escape(out: &mut String, c: char) {
    let mut octets = [0; 4];
    for octet in c.encode_utf8(&mut octets).bytes() {
        out.push_str(&format!("={octet:02X}"));
    }
}

/// Would an `=` before this be read as a mark of ours?
fn is_marked(rest: &str) -> bool {
    let upper = |b: Option<&u8>| b.is_some_and(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    let octets = rest.as_bytes();
    matches!(octets.first(), Some(b'-' | b'~')) || (upper(octets.first()) && upper(octets.get(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naming(prefix: &str, separator: char) -> Naming {
        Naming { prefix: prefix.to_owned(), separator: Some(separator) }
    }

    /// Reads a level back as the head of this file says.
    fn read(level: &str) -> Option<String> {
        let text = utf7::decode(level)?;
        if text == EMPTY {
            return Some(String::new());
        }
        let mut octets = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            let hex = (*first == b'=' && is_marked(std::str::from_utf8(more).ok()?)).then(|| more.get(..2));
            match hex {
                None => octets.push(*first),
                Some(hex) => {
                    octets.push(u8::from_str_radix(std::str::from_utf8(hex?).ok()?, 16).ok()?);
                    rest = more;
                    rest = rest.get(1..)?;
                    rest = rest.get(1..)?;
                    continue;
                }
            }
            rest = more;
        }
        String::from_utf8(octets).ok()
    }

    #[test]
    fn names_a_server_takes_are_sent_as_they_are() {
        let slash = naming("", '/');
        for name in ["quote\"d", "50% Rabatt", "back\\slash", " leading", "v1.2", "a=b", "x=", "~root"] {
            assert_eq!(slash.plain(name, true), name);
        }
        assert_eq!(slash.plain("Entwürfe", true), "Entw&APw-rfe");
        assert_eq!(slash.plain("a/b", true), "a=2Fb");
        assert_eq!(naming("", '.').plain("v1.2", true), "v1=2E2");
        assert_eq!(slash.plain("a=2Fb", true), "a=3D2Fb");
        assert_eq!(slash.plain("", true), "=-");
        assert_eq!(slash.plain("=-", true), "=3D-");
        assert_eq!(slash.plain("a\0\r\n", true), "a=00=0D=0A");
        assert_eq!(slash.careful("~root. "), "=7Eroot=2E=20");
    }

    #[test]
    fn no_other_spelling_leads_into_the_inbox() {
        let plain = naming("", '/');
        assert_eq!(
            (plain.plain("INBOX", true), plain.plain("inbox", true)),
            ("INBOX".into(), "=69nbox".into())
        );
        assert_eq!(plain.plain("inbox", false), "inbox");
        let below = naming("INBOX.", '.');
        assert_eq!(below.join(None, &below.plain("INBOX", true)), "INBOX.INBOX");
    }

    #[test]
    fn levels_are_joined_and_parted() {
        let below = naming("INBOX.", '.');
        let wire = below.join(Some(&below.join(None, "A")), "B");
        assert_eq!(wire, "INBOX.A.B");
        assert_eq!(below.above(&wire), Some("INBOX.A"));
        assert_eq!(below.above("INBOX.A"), None);
        assert_eq!(below.path(&wire).map(|p| p.names().to_vec()), Some(vec!["A".to_owned(), "B".to_owned()]));
        assert_eq!(below.path("Public.A"), None);
        assert!(below.path("inbox").is_some_and(|p| p.is_inbox()));
    }

    #[test]
    fn long_names_are_shortened_apart() {
        let slash = naming("", '/');
        let long = "ä".repeat(4096);
        let longer = format!("{long}b");
        let (a, b) = (slash.plain(&long, true), slash.plain(&longer, true));
        assert!(a.len() <= LONGEST && b.len() <= LONGEST && a != b);
        assert_eq!(read(&a), None, "what is shortened reads as no name at all");
    }

    proptest! {
        #[test]
        fn every_form_reads_back_as_its_name_alone(name in "[a-c=/.\\\\~%\"*A-F0-9 ä📁\u{0}-\u{1f}-]{0,12}", root in any::<bool>()) {
            for separator in ['/', '.', '\\'] {
                let naming = naming("", separator);
                for level in [naming.plain(&name, root), naming.careful(&name)] {
                    prop_assert!(!level.contains(separator) && level.is_ascii());
                    prop_assert_eq!(read(&level), Some(name.clone()), "{}", level);
                }
            }
        }
    }
}
