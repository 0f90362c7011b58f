//! A source in memory, with UIDs and UIDVALIDITY as an IMAP server has them: for trials on one thread, where every
//! octet and every step must be the same each time.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mailwave::model::{
    Bodies, Digest, Error, Flags, FolderPath, Kind, Listed, Result, RunSet, Scope, SourceId, SpecialUse,
    Timestamp,
};
use mailwave::source::{
    Counters, Extent, Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox,
    Wanted,
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
    /// HIGHESTMODSEQ, if the store keeps it.
    pub modseq: u64,
    /// Messages that changed, and when.
    changed: BTreeMap<u64, u64>,
    /// Messages that went, and when.
    gone: BTreeMap<u64, u64>,
}

/// What the source offers beside whole listings, and how it behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    /// It tells of each folder what it holds, and of a listing what changed since another.
    pub counters: bool,
    /// It keeps modification sequences: of what is changed through [`Store`]'s own methods.
    pub modseq: bool,
    /// It tells header digests.
    pub headers: bool,
    /// It tells an id of each message that outlives a move.
    pub objects: bool,
    /// It forgets to tell what went.
    pub silent: bool,
    /// Fetches at once; 0 counts as 1.
    pub fetches: usize,
    /// Once more than the first number of messages were asked for, fetches fail, until it is more than the second.
    pub fails: (u64, u64),
}

/// What was asked of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Times the folders were listed.
    pub folders: u64,
    /// Listings since another one.
    pub since: u64,
    /// Whole listings.
    pub whole: u64,
    /// Lines listed.
    pub lines: u64,
    /// Header digests.
    pub headers: u64,
    /// Messages fetched.
    pub bodies: u64,
    /// Fetches under way now, and at most.
    pub fetching: (usize, usize),
}

/// A mail store: mailbox → folder path (joined with '/') → folder.
#[derive(Debug, Clone, Default)]
pub struct Store(pub BTreeMap<String, BTreeMap<String, MemoryFolder>>, pub Habits, pub Asked);

impl Store {
    pub fn folder(&mut self, mailbox: &str, folder: &str) -> &mut MemoryFolder {
        let count = self.0.values().map(BTreeMap::len).sum::<usize>() as u64;
        let folders = self.0.entry(mailbox.to_owned()).or_default();
        folders.entry(folder.to_owned()).or_insert(MemoryFolder {
            epoch: 1000 + count,
            next: 1,
            modseq: 1,
            ..MemoryFolder::default()
        })
    }

    /// Gives a message other flags.
    pub fn reflag(&mut self, mailbox: &str, folder: &str, number: u64, change: impl FnOnce(&mut Flags)) {
        let folder = self.folder(mailbox, folder);
        change(&mut folder.messages.get_mut(&number).expect("there is such a message").flags);
        folder.modseq += 1;
        folder.changed.insert(number, folder.modseq);
    }

    /// Takes a message away.
    pub fn expunge(&mut self, mailbox: &str, folder: &str, number: u64) -> StoredMail {
        let folder = self.folder(mailbox, folder);
        folder.modseq += 1;
        folder.gone.insert(number, folder.modseq);
        folder.messages.remove(&number).expect("there is such a message")
    }

    /// What was asked since the last call of this.
    pub fn asked(&mut self) -> Asked {
        std::mem::take(&mut self.2)
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
        folder.modseq += 1;
        folder.changed.insert(number, folder.modseq);
        let received = Timestamp::utc(received);
        folder.messages.insert(number, StoredMail { octets, flags: set, received });
        number
    }

    pub fn move_message(&mut self, mailbox: &str, from: &str, number: u64, to: &str) -> u64 {
        let mail = self.expunge(mailbox, from, number);
        let folder = self.folder(mailbox, to);
        let number = folder.next;
        folder.next += 1;
        folder.modseq += 1;
        folder.changed.insert(number, folder.modseq);
        folder.messages.insert(number, mail);
        number
    }
}

impl MemoryFolder {
    fn counters(&self, habits: Habits) -> Counters {
        Counters {
            epoch: self.epoch,
            next: self.next,
            messages: self.messages.len() as u64,
            modseq: if habits.modseq { self.modseq } else { 0 },
        }
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
        let habits = self.store.lock().unwrap().1;
        SourceCapabilities {
            headers: habits.headers,
            fetches: habits.fetches.max(1),
            ..SourceCapabilities::PLAIN
        }
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        let mut store = self.store.lock().unwrap();
        store.2.folders += 1;
        let habits = store.1;
        let folders = store.0.get(&self.mailbox).ok_or_else(gone)?;
        Ok(folders
            .iter()
            .map(|(name, folder)| {
                let path = FolderPath::new(name.split('/').map(str::to_owned).collect()).expect("a name");
                SourceFolder {
                    special: path.is_inbox().then_some(SpecialUse::Inbox),
                    path,
                    selectable: true,
                    subscribed: None,
                    object_id: None,
                    counters: habits.counters.then(|| folder.counters(habits)),
                    handle: name.clone(),
                }
            })
            .collect())
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        let mut store = self.store.lock().unwrap();
        let Store(mailboxes, habits, asked) = &mut *store;
        let folder = mailboxes.get(&self.mailbox).and_then(|m| m.get(&folder.handle)).ok_or_else(gone)?;
        let now = folder.counters(*habits);
        let since = since.filter(|s| habits.counters && s.counters.epoch == folder.epoch);
        let by_modseq = |s: &Since<'_>| habits.modseq && s.counters.modseq > 0;
        let since = since.filter(|s| by_modseq(s) || s.flags_may_be_stale);
        *(if since.is_some() { &mut asked.since } else { &mut asked.whole }) += 1;
        let told = |number: u64| {
            since.is_none_or(|s| {
                let changed = folder.changed.get(&number).is_some_and(|m| *m > s.counters.modseq);
                number >= s.counters.next || s.also.contains(&number) || (by_modseq(s) && changed)
            })
        };
        for (number, mail) in folder.messages.iter().filter(|(n, _)| told(**n)) {
            asked.lines += 1;
            sink(Listed {
                id: SourceId::Number(*number),
                size: Some(mail.octets.len() as u64),
                received: Some(mail.received),
                flags: mail.flags.clone(),
                object: if habits.objects { Digest::of(&mail.octets).beginning() } else { 0 },
            });
        }
        let extent = match since {
            None => Extent::Whole,
            Some(_) if habits.silent => {
                Extent::Changes { vanished: RunSet::default(), stale_flags: !habits.modseq }
            }
            Some(s) if by_modseq(s) => {
                let gone = folder.gone.iter().filter(|(_, m)| **m > s.counters.modseq);
                Extent::Changes { vanished: gone.map(|(n, _)| *n).collect(), stale_flags: false }
            }
            Some(s) => {
                let gone = (1..s.counters.next).filter(|n| !folder.messages.contains_key(n));
                Extent::Changes { vanished: gone.collect(), stale_flags: true }
            }
        };
        let (messages, modseq) = (now.messages, now.modseq);
        Ok(Listing { epoch: folder.epoch, next: folder.next, modseq, messages, extent })
    }

    async fn headers(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
    ) -> Result<Vec<Option<u64>>> {
        let mut store = self.store.lock().unwrap();
        store.2.headers += wanted.len() as u64;
        let folder = store.0.get(&self.mailbox).and_then(|m| m.get(&folder.handle)).ok_or_else(gone)?;
        assert_eq!(folder.epoch, epoch);
        let header = |octets: &[u8]| {
            let end = octets.windows(4).position(|w| w == b"\r\n\r\n").map_or(octets.len(), |at| at + 4);
            Digest::of(&octets[..end]).beginning()
        };
        Ok(wanted.iter().map(|w| folder.messages.get(&w.number).map(|m| header(&m.octets))).collect())
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        {
            let asked = &mut self.store.lock().unwrap().2;
            asked.bodies += wanted.len() as u64;
            let now = asked.fetching.0 + 1;
            asked.fetching = (now, asked.fetching.1.max(now));
        }
        let fails = {
            let store = self.store.lock().unwrap();
            store.2.bodies > store.1.fails.0 && store.2.bodies <= store.1.fails.1
        };
        // Others may ask meanwhile.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let mut store = self.store.lock().unwrap();
        store.2.fetching.0 -= 1;
        if fails {
            return Err(Error::temporary(Kind::Unreachable, Scope::Mailbox, "the connection is lost"));
        }
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
