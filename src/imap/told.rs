//! What servers tell of folders: LIST, STATUS, NAMESPACE.

use bytes::Bytes;

use super::scan::{Scan, Scanner, Text, Unreadable};

/// One line of a LIST answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Attributes, as sent (`\HasChildren`, `\Noselect`, `\Sent` …).
    pub attributes: Vec<String>,
    /// What parts the levels of this name; `None`: it has one level.
    pub separator: Option<u8>,
    /// The name, as sent.
    pub name: Bytes,
    /// What LIST … RETURN (STATUS …) told of it (RFC 5819).
    pub status: Option<FolderStatus>,
}

/// What STATUS told of a folder; `None` where it told nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderStatus {
    /// Messages in it.
    pub messages: Option<u32>,
    /// UIDNEXT
    pub uid_next: Option<u32>,
    /// UIDVALIDITY
    pub uid_validity: Option<u32>,
    /// HIGHESTMODSEQ (RFC 7162); 0: the folder keeps none.
    pub modseq: Option<u64>,
    /// MAILBOXID (RFC 8474): survives a rename.
    pub mailbox_id: Option<String>,
    /// SIZE (RFC 8438), in bytes.
    pub size: Option<u64>,
    /// APPENDLIMIT (RFC 7889), in bytes.
    pub append_limit: Option<u64>,
}

impl ListEntry {
    /// Has it this attribute, in any case?
    pub fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|a| a.eq_ignore_ascii_case(attribute))
    }
}

/// Namespaces (RFC 2342): prefix and separator of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The user's own.
    pub personal: Vec<(Bytes, Option<u8>)>,
    /// Those of other users.
    pub others: Vec<(Bytes, Option<u8>)>,
    /// Shared ones.
    pub shared: Vec<(Bytes, Option<u8>)>,
}

/// `(attributes) separator name [extended data]`
pub(super) fn list(mut scan: Scanner<'_>) -> Scan<ListEntry> {
    let attributes = scan.words()?;
    scan.blanks();
    let separator = separator(scan.string()?)?;
    scan.blanks();
    let unquoted = scan.rest();
    let quoted = unquoted.first() == Some(&b'"');
    let mut name = match scan.string()? {
        Text::Octets(octets) => octets,
        // A folder may well be called NIL.
        Text::Nil => Bytes::from_static(b"NIL"),
        Text::Streamed | Text::Passed => return Err(Unreadable),
    };
    let extended = scan.rest().trim_ascii_start();
    if !extended.is_empty() && !extended.starts_with(b"(") {
        if quoted {
            return Err(Unreadable);
        }
        // An unquoted name with blanks: wrong, and what some servers send.
        name = Bytes::copy_from_slice(unquoted);
    }
    Ok(ListEntry { attributes, separator, name, status: None })
}

/// `name (item value …)`
pub(super) fn folder_status(mut scan: Scanner<'_>) -> Scan<(Bytes, FolderStatus)> {
    let name = match scan.string()? {
        Text::Octets(octets) => octets,
        Text::Nil => Bytes::from_static(b"NIL"),
        Text::Streamed | Text::Passed => return Err(Unreadable),
    };
    let mut status = FolderStatus::default();
    scan.blanks();
    scan.expect(b'(')?;
    loop {
        scan.blanks();
        if scan.eat(b')') {
            return Ok((name, status));
        }
        let item = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match item.as_slice() {
            b"MESSAGES" => status.messages = Some(scan.small()?),
            b"UIDNEXT" => status.uid_next = Some(scan.small()?),
            b"UIDVALIDITY" => status.uid_validity = Some(scan.small()?),
            b"HIGHESTMODSEQ" => status.modseq = Some(scan.number()?),
            b"MAILBOXID" => status.mailbox_id = scan.object_id()?,
            b"SIZE" => status.size = Some(scan.number()?),
            b"APPENDLIMIT" => {
                status.append_limit =
                    scan.number().or_else(|_| scan.skip_value().map(|()| 0)).ok().filter(|n| *n > 0)
            }
            _ => scan.skip_value()?,
        }
    }
}

fn separator(text: Text) -> Scan<Option<u8>> {
    match text {
        Text::Nil => Ok(None),
        Text::Octets(octets) => match octets.as_ref() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            _ => Err(Unreadable),
        },
        Text::Streamed | Text::Passed => Err(Unreadable),
    }
}

pub(super) fn namespaces(mut scan: Scanner<'_>) -> Scan<Namespaces> {
    let mut kinds = Vec::new();
    for _ in 0..3 {
        scan.blanks();
        let mut entries = Vec::new();
        if scan.eat(b'(') {
            loop {
                scan.blanks();
                if scan.eat(b')') {
                    break;
                }
                scan.expect(b'(')?;
                scan.blanks();
                let prefix = scan.octets()?;
                scan.blanks();
                let separator = separator(scan.string()?)?;
                loop {
                    scan.blanks();
                    if scan.eat(b')') {
                        break;
                    }
                    scan.skip_value()?;
                }
                entries.push((prefix, separator));
            }
        } else if scan.string()? != Text::Nil {
            return Err(Unreadable);
        }
        kinds.push(entries);
    }
    let mut kinds = kinds.into_iter();
    let mut next = || kinds.next().unwrap_or_default();
    Ok(Namespaces { personal: next(), others: next(), shared: next() })
}
