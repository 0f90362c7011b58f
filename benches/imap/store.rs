//! The source's mail: Maildirs written directly (far faster than APPEND), with arrival times, flags and keywords, and
//! copies of such trees that share the message files.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::Result;
use crate::corpus::{CorpusMail, FOLDERS, KEYWORDS};
use crate::verdict::{Kinds, wire_digest};

/// A Maildir being filled.
pub struct Filler<'a> {
    root: &'a Path,
    count: u64,
    /// Folders made so far, and whether they have messages with keywords.
    made: BTreeMap<usize, bool>,
    /// Kind of each special message by its digest.
    pub kinds: &'a mut Kinds,
    /// Octets of each message on the wire.
    pub sizes: &'a mut Vec<u64>,
}

impl<'a> Filler<'a> {
    /// Makes the Maildir `root` with the corpus's folders, every second of them subscribed.
    pub fn new(root: &'a Path, kinds: &'a mut Kinds, sizes: &'a mut Vec<u64>) -> Result<Filler<'a>> {
        let mut subscriptions = String::new();
        for (number, levels) in FOLDERS.iter().enumerate() {
            make(&root.join(dir_name(levels)))?;
            if number % 2 == 0 {
                let name: Vec<String> = levels.iter().map(|n| encodify::utf7::IMAP.encode(n)).collect();
                subscriptions.push_str(&name.join("."));
                subscriptions.push('\n');
            }
        }
        fs::write(root.join("subscriptions"), subscriptions)?;
        Ok(Filler { root, count: 0, made: BTreeMap::new(), kinds, sizes })
    }

    /// Adds a message.
    pub fn add(&mut self, mail: &CorpusMail) -> Result<()> {
        self.count += 1;
        self.sizes.push(mail.octets.len() as u64);
        if mail.kind != "ordinary" {
            self.kinds.insert(wire_digest(&mail.octets), mail.kind);
        }
        let dir = self.root.join(dir_name(FOLDERS[mail.folder]));
        let keywords = self.made.entry(mail.folder).or_default();
        *keywords |= mail.flags.iter().any(|f| !f.starts_with('\\'));
        put(&dir, self.count, &mail.octets, mail.flags, mail.received)
    }

    /// Writes what names the keywords.
    pub fn finish(self) -> Result<u64> {
        for (folder, keywords) in &self.made {
            if *keywords {
                let dir = self.root.join(dir_name(FOLDERS[*folder]));
                let lines: String = KEYWORDS.iter().enumerate().map(|(n, k)| format!("{n} {k}\n")).collect();
                fs::write(dir.join("dovecot-keywords"), lines)?;
            }
        }
        Ok(self.count)
    }
}

/// Makes an empty Maildir folder.
pub fn make(dir: &Path) -> Result<()> {
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(dir.join(part))?;
    }
    Ok(())
}

/// The directory of a folder in a Maildir++; the inbox is the Maildir itself.
pub fn dir_name(levels: &[&str]) -> String {
    if levels == ["INBOX"] {
        return String::new();
    }
    levels.iter().map(|n| format!(".{}", encodify::utf7::IMAP.encode(n))).collect()
}

/// Writes one message into a folder, as Dovecot keeps it: lines end with LF, sizes in the name.
pub fn put(dir: &Path, number: u64, wire: &[u8], flags: &[&str], received: i64) -> Result<()> {
    let octets = unix_lines(wire);
    let mut letters: Vec<char> = flags
        .iter()
        .filter_map(|flag| match *flag {
            "\\Draft" => Some('D'),
            "\\Flagged" => Some('F'),
            "\\Answered" => Some('R'),
            "\\Seen" => Some('S'),
            keyword => KEYWORDS.iter().position(|k| *k == keyword).map(|p| (b'a' + p as u8) as char),
        })
        .collect();
    letters.sort_unstable();
    let letters: String = letters.into_iter().collect();
    let lines = memchr::memchr_iter(b'\n', &octets).count();
    let name =
        format!("{received}.M{number:06}P1.bench,S={},W={}:2,{letters}", octets.len(), octets.len() + lines);
    let mut file = File::create_new(dir.join("cur").join(name))?;
    file.write_all(&octets)?;
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(received)?);
    file.set_times(FileTimes::new().set_modified(time).set_accessed(time))?;
    Ok(())
}

/// CRLF becomes LF; a CR elsewhere stays.
fn unix_lines(wire: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(wire.len());
    let mut at = 0;
    for end in memchr::memchr_iter(b'\n', wire) {
        let line = &wire[at..end];
        octets.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        octets.push(b'\n');
        at = end + 1;
    }
    octets.extend_from_slice(&wire[at..]);
    octets
}

/// Copies a tree: message files are shared (hard links), everything else, which the server writes to, is copied. Times
/// stay as they are, so that the server's indexes hold for the copy.
pub fn clone_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let message = from.file_name().is_some_and(|n| n == "cur" || n == "new");
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            clone_tree(&path, &copy)?;
        } else if message {
            fs::hard_link(&path, &copy)?;
        } else {
            fs::copy(&path, &copy)?;
            times(&path, &copy)?;
        }
    }
    times(from, to)
}

fn times(from: &Path, to: &Path) -> Result<()> {
    let seen = fs::metadata(from)?;
    let times = FileTimes::new().set_modified(seen.modified()?).set_accessed(seen.accessed()?);
    Ok(File::open(to)?.set_times(times)?)
}
