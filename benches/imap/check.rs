//! What a server shows of its mailboxes, read by the bench's own client for the comparison.

use std::collections::BTreeMap;

use crate::Result;
use crate::reader::{Imap, by_name, seconds};
use crate::verdict::{Entry, Mailbox};

/// Reads a whole mailbox.
pub fn read(port: u16, user: &str) -> Result<Mailbox> {
    let mut imap = Imap::login(port, user)?;
    let folders = by_name(imap.folders()?);
    let subscribed = imap.subscribed()?.into_iter().filter(|f| f.selectable).map(|f| f.name).collect();
    let mut messages = BTreeMap::new();
    for (name, _) in folders.iter().filter(|(_, selectable)| **selectable) {
        let mut entries = Vec::new();
        imap.messages(name, |message| {
            entries.push(Entry::new(&message.octets, message.flags, seconds(&message.internal_date)));
            Ok(())
        })?;
        messages.insert(name.clone(), entries);
    }
    imap.run(&[b"LOGOUT"])?;
    Ok(Mailbox { folders, subscribed, messages })
}

/// Reads mailboxes, two at a time.
pub fn read_all(port: u16, users: &[String]) -> Result<Vec<Mailbox>> {
    let halves: Vec<Result<Vec<Mailbox>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = users
            .chunks(users.len().div_ceil(2).max(1))
            .map(|part| scope.spawn(move || part.iter().map(|user| read(port, user)).collect()))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|_| Err("a reader's thread panicked".into())))
            .collect()
    });
    Ok(halves.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}
