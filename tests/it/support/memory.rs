//! A source in memory, with UIDs and UIDVALIDITY as an IMAP server has them: for trials on one thread, where every
//! octet and every step must be the same each time.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mailwave::model::{
    Bodies, Error, Flags, FolderPath, Kind, Listed, Result, Scope, SourceId, SpecialUse, Timestamp,
};
use mailwave::source::{
    Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox, Wanted,
};

/// One message.
#[derive(Debug, Clone)]
pub struct StoredMail {
    pub octets: Vec<u8>,
    pub flags: Flags,
    pub received: Timestamp,
}

/// One folder.
#[derive(Debug, Clone, Default)]
pub struct MemoryFolder {
    pub epoch: u64,
    pub next: u64,
    pub messages: BTreeMap<u64, StoredMail>,
}

/// A mail store: mailbox → folder path (joined with '/') → folder.
#[derive(Debug, Clone, Default)]
pub struct Store(pub BTreeMap<String, BTreeMap<String, MemoryFolder>>);

impl Store {
    pub fn folder(&mut self, mailbox: &str, folder: &str) -> &mut MemoryFolder {
        let count = self.0.values().map(BTreeMap::len).sum::<usize>() as u64;
        let folders = self.0.entry(mailbox.to_owned()).or_default();
        folders.entry(folder.to_owned()).or_insert(MemoryFolder {
            epoch: 1000 + count,
            next: 1,
            messages: BTreeMap::new(),
        })
    }

    pub fn add(
        &mut self,
        mailbox: &str,
        folder: &str,
        octets: Vec<u8>,
        flags: &[&str],
        received: i64,
    ) -> u64 {
        let mut set = Flags::default();
        flags.iter().for_each(|f| set.add(f));
        let folder = self.folder(mailbox, folder);
        let number = folder.next;
        folder.next += 1;
        let received = Timestamp::utc(received);
        folder.messages.insert(number, StoredMail { octets, flags: set, received });
        number
    }

    pub fn move_message(&mut self, mailbox: &str, from: &str, number: u64, to: &str) -> u64 {
        let mail = self.folder(mailbox, from).messages.remove(&number).expect("there is such a message");
        let folder = self.folder(mailbox, to);
        let number = folder.next;
        folder.next += 1;
        folder.messages.insert(number, mail);
        number
    }
}

/// The source over a shared store.
#[derive(Clone)]
pub struct MemorySource(pub Arc<Mutex<Store>>);

#[async_trait]
impl Source for MemorySource {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        if !self.0.lock().unwrap().0.contains_key(mailbox) {
            return Err(Error::new(Kind::NotFound, Scope::Mailbox, "there is no such mailbox"));
        }
        Ok(Box::new(MemoryMailbox { store: self.0.clone(), mailbox: mailbox.to_owned() }))
    }
}

struct MemoryMailbox {
    store: Arc<Mutex<Store>>,
    mailbox: String,
}

fn gone() -> Error {
    Error::new(Kind::NotFound, Scope::Folder, "the folder is gone")
}

#[async_trait]
impl SourceMailbox for MemoryMailbox {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::PLAIN
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        let store = self.store.lock().unwrap();
        let folders = store.0.get(&self.mailbox).ok_or_else(gone)?;
        Ok(folders
            .keys()
            .map(|name| {
                let path = FolderPath::new(name.split('/').map(str::to_owned).collect()).expect("a name");
                SourceFolder {
                    special: path.is_inbox().then_some(SpecialUse::Inbox),
                    path,
                    selectable: true,
                    object_id: None,
                    counters: None,
                    handle: name.clone(),
                }
            })
            .collect())
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        _since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        let store = self.store.lock().unwrap();
        let folder = store.0.get(&self.mailbox).and_then(|m| m.get(&folder.handle)).ok_or_else(gone)?;
        for (number, mail) in &folder.messages {
            sink(Listed {
                id: SourceId::Number(*number),
                size: Some(mail.octets.len() as u64),
                received: Some(mail.received),
                flags: mail.flags.clone(),
                object: 0,
            });
        }
        Ok(Listing { epoch: folder.epoch, next: folder.next, ..Listing::default() })
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        let store = self.store.lock().unwrap();
        let folder = store.0.get(&self.mailbox).and_then(|m| m.get(&folder.handle)).ok_or_else(gone)?;
        if folder.epoch != epoch {
            return Err(Error::temporary(Kind::Conflict, Scope::Folder, "the folder was made anew"));
        }
        Ok(wanted
            .iter()
            .map(|w| {
                let SourceId::Number(number) = &w.id else { return Fetched::Gone };
                let Some(mail) = folder.messages.get(number) else { return Fetched::Gone };
                let written = bodies.begin(mail.octets.len() as u64).and_then(|mut writer| {
                    writer.write_all(&mail.octets)?;
                    writer.finish()
                });
                match written {
                    Ok(body) => Fetched::Message {
                        body,
                        flags: Some(mail.flags.clone()),
                        received: Some(mail.received),
                    },
                    Err(_) => Fetched::Failed(
                        Error::new(Kind::TooLarge, Scope::Message, "the message is too large")
                            .remedy("raise the limit"),
                    ),
                }
            })
            .collect())
    }

    async fn release(&self) {}
}
