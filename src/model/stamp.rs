//! The provenance stamp: an id made once from where a message was first seen, carried by its copy at the target.

use std::fmt;
use std::str::FromStr;

use super::folder::FolderId;

/// The operator's name for a source installation, part of every stamp: 1–16 of `a`–`z`, `0`–`9`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl FromStr for SourceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=16).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits { Ok(SourceName(text.to_owned())) } else { Err("1 to 16 of a-z and 0-9") }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox's pseudonym: the first 64 bits of BLAKE3 over (source name, mailbox as the operator named it), as 13
/// base-32 digits. Logs, metrics and stamps carry this, never the address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxKey(String);

impl MailboxKey {
    /// The key of a mailbox of a source.
    pub fn of(source: &SourceName, mailbox: &str) -> MailboxKey {
        let mut h = blake3::Hasher::new();
        h.update(source.0.as_bytes());
        h.update(&[0]);
        h.update(mailbox.as_bytes());
        let bytes = h.finalize();
        let mut first = [0u8; 8];
        first.copy_from_slice(&bytes.as_bytes()[..8]);
        MailboxKey(base32(u64::from_be_bytes(first), 13))
    }

    /// From its text; `None` if it is not 13 base-32 digits.
    pub fn parse(text: &str) -> Option<MailboxKey> {
        unbase32(text, 13).map(|_| MailboxKey(text.to_owned()))
    }

    /// The 13 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MailboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MailboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one message for ever: version, source, mailbox, folder, epoch, number. Decodable; in text form it sorts as
/// its fields do, so that a prefix finds a mailbox, a folder or a run of numbers. Made once: a rename or a new
/// UIDVALIDITY binds new source keys to old stamps, nothing is stamped again.
///
/// Text: `mw1.SOURCE.MAILBOX(13).FOLDER(7).EPOCH(13).NUMBER(13)`, digits in base 32 (`0`–`9`, `a`–`v`): safe in a
/// file name, an OData filter, an XML attribute and an IMAP keyword.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The source installation.
    pub source: SourceName,
    /// The mailbox.
    pub mailbox: MailboxKey,
    /// The folder the message was first seen in.
    pub folder: FolderId,
    /// The epoch it was first seen in (UIDVALIDITY; 0 for stores without).
    pub epoch: u64,
    /// Its number in that epoch (UID, or a number given by the ledger).
    pub number: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stamp { source, mailbox, folder, epoch, number } = self;
        write!(
            f,
            "mw1.{source}.{mailbox}.{}.{}.{}",
            base32(u64::from(folder.0), 7),
            base32(*epoch, 13),
            base32(*number, 13)
        )
    }
}

impl FromStr for Stamp {
    type Err = NotAStamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split('.');
        let stamp = (|| {
            if fields.next()? != "mw1" {
                return None;
            }
            Some(Stamp {
                source: fields.next()?.parse().ok()?,
                mailbox: MailboxKey::parse(fields.next()?)?,
                folder: FolderId(u32::try_from(unbase32(fields.next()?, 7)?).ok()?),
                epoch: unbase32(fields.next()?, 13)?,
                number: unbase32(fields.next()?, 13)?,
            })
        })();
        match (stamp, fields.next()) {
            (Some(stamp), None) => Ok(stamp),
            _ => Err(NotAStamp),
        }
    }
}

/// The text is not a stamp of a version this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a provenance stamp of a known version")]
pub struct NotAStamp;

/// The leading part of stamps: finds every stamp of a mailbox, or of one of its folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StampPrefix(String);

impl StampPrefix {
    /// Every stamp of a mailbox.
    pub fn mailbox(source: &SourceName, mailbox: &MailboxKey) -> StampPrefix {
        StampPrefix(format!("mw1.{source}.{mailbox}."))
    }

    /// Every stamp first made for a folder, of any epoch.
    pub fn folder(source: &SourceName, mailbox: &MailboxKey, folder: FolderId) -> StampPrefix {
        StampPrefix(format!("mw1.{source}.{mailbox}.{}.", base32(u64::from(folder.0), 7)))
    }

    /// Just this stamp.
    pub fn exactly(stamp: &Stamp) -> StampPrefix {
        StampPrefix(stamp.to_string())
    }

    /// The text to compare the beginnings of stamps with.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does `stamp` begin with this?
    pub fn covers(&self, stamp: &Stamp) -> bool {
        stamp.to_string().starts_with(&self.0)
    }
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

fn base32(mut v: u64, width: usize) -> String {
    let mut out = vec![b'0'; width];
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[(v % 32) as usize];
        v /= 32;
    }
    out.into_iter().map(char::from).collect()
}

fn unbase32(text: &str, width: usize) -> Option<u64> {
    if text.len() != width {
        return None;
    }
    text.bytes().try_fold(0u64, |v, b| {
        let digit = DIGITS.iter().position(|d| *d == b)?;
        v.checked_mul(32)?.checked_add(digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(folder: u32, epoch: u64, number: u64) -> Stamp {
        let source: SourceName = "acme".parse().expect("valid");
        let mailbox = MailboxKey::of(&source, "ann@example.org");
        Stamp { source, mailbox, folder: FolderId(folder), epoch, number }
    }

    proptest! {
        #[test]
        fn a_stamp_reads_back_as_itself(folder: u32, epoch: u64, number: u64) {
            let s = stamp(folder, epoch, number);
            prop_assert_eq!(s.to_string().parse::<Stamp>(), Ok(s));
        }

        #[test]
        fn stamps_sort_in_text_as_they_sort_in_fields(a: (u32, u64, u64), b: (u32, u64, u64)) {
            let (x, y) = (stamp(a.0, a.1, a.2), stamp(b.0, b.1, b.2));
            prop_assert_eq!(x.to_string().cmp(&y.to_string()), x.cmp(&y));
        }
    }

    #[test]
    fn what_is_not_a_stamp_is_refused() {
        let good = stamp(1, 2, 3).to_string();
        for bad in ["", "mw1", "mw2.a.b.c.d.e", &good[1..], &format!("{good}.x"), &good.replace("0", "z")] {
            assert_eq!(bad.parse::<Stamp>(), Err(NotAStamp), "{bad}");
        }
    }

    #[test]
    fn a_prefix_finds_its_folder_and_no_other() {
        let s = stamp(7, 1, 1);
        assert!(StampPrefix::folder(&s.source, &s.mailbox, FolderId(7)).covers(&s));
        assert!(!StampPrefix::folder(&s.source, &s.mailbox, FolderId(8)).covers(&s));
        assert!(StampPrefix::mailbox(&s.source, &s.mailbox).covers(&s));
    }
}
