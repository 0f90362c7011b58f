//! What a server says it can do (CAPABILITY, RFC 3501 §7.2.1), and what of it is not to be believed.

use std::collections::BTreeSet;

use super::command::Literals;
use super::scan::{Scan, Scanner, lossless};

/// What a server said it can do, in upper case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl FromIterator<String> for Capabilities {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Capabilities {
        Capabilities(names.into_iter().collect())
    }
}

impl Capabilities {
    /// Does the server offer `name` (in upper case)?
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// How many?
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nothing said at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets what is claimed and not meant.
    pub(super) fn distrust(&mut self, names: &[&str]) {
        self.0.retain(|name| !names.contains(&name.as_str()));
    }

    /// What stands behind `name=` (`APPENDLIMIT=1000`), if the server said so.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Which literals it takes without being asked first.
    pub(super) fn literals(&self) -> Literals {
        if self.has("LITERAL+") {
            Literals::Plus
        } else if self.has("LITERAL-") {
            Literals::Minus
        } else {
            Literals::Synchronising
        }
    }

    /// Is this Cyrus? By words no other server says.
    pub fn is_cyrus(&self) -> bool {
        ["X-CREATEDMODSEQ", "X-REPLICATION", "DIGEST=SHA1"].iter().any(|name| self.has(name))
    }

    /// Does STATUS tell a folder's id (MAILBOXID, RFC 8474)? Cyrus 3.6 says so and sends freed memory instead: another
    /// id each time, and with it octets that break the connection. SELECT tells the right one there.
    pub(super) fn status_has_mailbox_id(&self) -> bool {
        self.has("OBJECTID") && !self.is_cyrus()
    }

    pub(super) fn read(scan: &mut Scanner<'_>) -> Scan<Capabilities> {
        let mut found = BTreeSet::new();
        loop {
            scan.blanks();
            if scan.at_end() {
                return Ok(Capabilities(found));
            }
            found.insert(lossless(scan.word()?).to_ascii_uppercase());
        }
    }
}
