//! A target in memory whose copies carry no stamp, as strict as an IMAP server: folders are numbered (UIDVALIDITY,
//! UIDNEXT), ids mean nothing after a renumbering, answers get lost before or after the effect, copies come late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mailwave::env::{Env, Step};
use mailwave::limit::{Cost, Gate, Ticket};
use mailwave::mock::World;
use mailwave::model::{Digest, Error, Flags, Kind, Outcome, Result, Scope, StampPrefix, Timestamp};
use mailwave::target::{
    Arrival, Copy, CopyIds, CopyRef, FolderWanted, StoreItem, Target, TargetCapabilities, TargetFolderId,
    TargetMailbox,
};
use mailwave::transform::message_id::message_id;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub octets: Vec<u8>,
    pub flags: Flags,
    pub received: Option<Timestamp>,
}

/// One folder.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    pub validity: u32,
    pub next: u32,
    pub messages: BTreeMap<u32, Held>,
    /// Grows with every change.
    pub changes: u64,
}

impl Folder {
    fn add(&mut self, held: Held) -> u32 {
        let uid = self.next;
        self.next += 1;
        self.changes += 1;
        self.messages.insert(uid, held);
        uid
    }

    fn uid(&self, id: &str) -> Option<u32> {
        let (validity, uid) = id.split_once('.')?;
        let uid = uid.parse().ok()?;
        (validity.parse() == Ok(self.validity) && self.messages.contains_key(&uid)).then_some(uid)
    }
}

/// What goes wrong with the appends whose ordinals it names (from 1, over all mailboxes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost before the server has the message.
    LostBefore,
    /// The message is stored, the answer is lost.
    LostAfter,
    /// The answer is lost; the message is stored that many milliseconds later.
    Late(i64),
    /// "Later, please."
    Throttled,
    /// The folder is deleted by its user just before.
    FolderDeleted,
    /// Somebody else's mail comes into a folder just before.
    Delivered(&'static str, &'static str),
}

/// Mailbox and folder.
type Place = (String, String);

/// The server.
#[derive(Default)]
pub struct Server {
    pub folders: BTreeMap<Place, Folder>,
    pub faults: BTreeMap<u64, Fault>,
    pub fired: BTreeMap<String, u64>,
    /// Every third message gets an octet more.
    pub alters: bool,
    /// Names a folder cannot be renamed to.
    pub taken: BTreeSet<String>,
    pub writes: u64,
    /// Questions and commands answered.
    pub trips: u64,
    pub in_flight: u32,
    pub peak: u32,
    /// Messages of others.
    pub foreign: usize,
    late: Vec<(i64, Place, u32, Held)>,
    appends: u64,
    validities: u32,
}

impl Server {
    pub fn pending(&self) -> usize {
        self.late.len()
    }

    /// Messages that were to be stored so far.
    pub fn appends(&self) -> u64 {
        self.appends
    }

    /// What is late comes now.
    pub fn arrive_all(&mut self) {
        self.tick(i64::MAX);
    }

    /// Finds or makes a folder.
    pub fn folder(&mut self, mailbox: &str, name: &str) -> &mut Folder {
        let place = (mailbox.to_owned(), name.to_owned());
        if !self.folders.contains_key(&place) {
            self.validities += 1;
            let folder = Folder { validity: self.validities, next: 1, ..Folder::default() };
            self.folders.insert(place.clone(), folder);
        }
        self.folders.get_mut(&place).unwrap()
    }

    /// A message of somebody else.
    pub fn deliver(&mut self, mailbox: &str, name: &str, octets: &[u8], flags: Flags, received: i64) -> u32 {
        let received = Some(Timestamp::utc(received));
        self.foreign += 1;
        self.folder(mailbox, name).add(Held { octets: octets.to_vec(), flags, received })
    }

    /// As after a restore: everything is there, under other numbers.
    pub fn number_anew(&mut self, mailbox: &str, name: &str) {
        self.validities += 1;
        let validity = self.validities;
        let folder = self.folder(mailbox, name);
        let held: Vec<Held> = std::mem::take(&mut folder.messages).into_values().rev().collect();
        (folder.validity, folder.next) = (validity, 1);
        held.into_iter().for_each(|held| {
            folder.add(held);
        });
    }

    /// What is due has come.
    fn tick(&mut self, now: i64) {
        let (due, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|l| l.0 <= now);
        self.late = rest;
        for (_, place, validity, held) in due {
            if let Some(folder) = self.folders.get_mut(&place).filter(|f| f.validity == validity) {
                folder.add(held);
                self.writes += 1;
            }
        }
    }

    fn kept(&self, item: &StoreItem) -> Held {
        let mut octets = item.body.bytes().unwrap().to_vec();
        if self.alters && octets.len().is_multiple_of(3) {
            octets.push(b'\n');
        }
        Held { octets, flags: item.flags.clone(), received: item.received }
    }
}

/// The target: a server that everybody shares.
#[derive(Clone)]
pub struct NumberedTarget {
    pub env: Env,
    pub world: Arc<dyn World>,
    pub server: Arc<Mutex<Server>>,
}

#[async_trait]
impl Target for NumberedTarget {
    async fn open(&self, mailbox: &str, _place: &str, _gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        Ok(Arc::new(NumberedMailbox {
            at: self.clone(),
            mailbox: mailbox.to_owned(),
            identity: format!("numbered {mailbox}"),
            capabilities: TargetCapabilities {
                stamps: false,
                keeps_octets: true,
                keeps_received: true,
                keeps_keywords: true,
                moves: true,
                streams: false,
                max_message_bytes: 1 << 30,
                lanes: 4,
                batch_messages: 3,
                batch_bytes: 1 << 20,
                settles_within: Duration::from_secs(600),
            },
        }))
    }
}

struct NumberedMailbox {
    at: NumberedTarget,
    mailbox: String,
    identity: String,
    capabilities: TargetCapabilities,
}

fn no_folder() -> Error {
    Error::new(Kind::NotFound, Scope::Folder, "the folder is not there")
}

fn anew() -> Error {
    Error::new(Kind::Conflict, Scope::Folder, "the folder was numbered anew")
}

fn no_copy() -> Error {
    Error::new(Kind::NotFound, Scope::Message, "the copy is not there")
}

fn lost() -> Outcome {
    Outcome::Unknown(Error::temporary(Kind::Unreachable, Scope::Message, "the connection was lost"))
}

impl NumberedMailbox {
    fn place(&self, folder: &TargetFolderId) -> Place {
        (self.mailbox.clone(), folder.0.clone())
    }

    /// One command: on its way, answered, on its way back.
    async fn command<T>(&self, step: Step, effect: impl FnOnce(&mut Server) -> T) -> T {
        self.at.env.step(step).await;
        self.way().await;
        let answer = {
            let mut server = self.at.server.lock().unwrap();
            server.tick(self.at.world.now());
            server.trips += 1;
            effect(&mut server)
        };
        self.way().await;
        self.at.env.step(Step::TargetAnswer).await;
        answer
    }

    async fn way(&self) {
        self.at.env.sleep(Duration::from_millis(10 + self.at.env.random(15))).await;
    }

    fn append(&self, server: &mut Server, folder: &TargetFolderId, item: &StoreItem) -> Outcome {
        server.appends += 1;
        let fault = server.faults.get(&server.appends).copied();
        if let Some(fault) = fault {
            *server.fired.entry(format!("{fault:?}")).or_default() += 1;
        }
        let place = self.place(folder);
        let held = server.kept(item);
        let now = self.at.world.now();
        match fault {
            Some(Fault::FolderDeleted) => {
                server.folders.remove(&place);
            }
            Some(Fault::Delivered(mailbox, name)) => {
                server.deliver(mailbox, name, b"Subject: just now\r\n\r\nhello\r\n", Flags::default(), 5);
            }
            _ => {}
        }
        let Some(there) = server.folders.get_mut(&place) else { return Outcome::NotSent(no_folder()) };
        match fault {
            Some(Fault::LostBefore) => return lost(),
            Some(Fault::Throttled) => {
                let wait = Some(Duration::from_secs(3));
                return Outcome::NotSent(Error::throttled(Scope::Mailbox, "later, please", wait));
            }
            Some(Fault::Late(after)) => {
                let validity = there.validity;
                server.late.push((now + after, place, validity, held));
                return lost();
            }
            _ => {}
        }
        let uid = there.add(held);
        let id = format!("{}.{uid}", there.validity);
        server.writes += 1;
        if fault == Some(Fault::LostAfter) {
            lost()
        } else {
            Outcome::Stored { id, losses: Vec::new(), mode: mailwave::model::WriteMode::Usual }
        }
    }
}

#[async_trait]
impl TargetMailbox for NumberedMailbox {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        Cost { requests: sizes.len() as u32, upload_bytes: sizes.iter().sum() }
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        let name = wanted.path.names().join("/");
        self.command(Step::TargetFolder, |server| {
            server.folder(&self.mailbox, &name);
            Ok(TargetFolderId(name.clone()))
        })
        .await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        let name = to.path.names().join("/");
        self.command(Step::TargetFolder, |server| {
            let (old, new) = (self.place(folder), (self.mailbox.clone(), name.clone()));
            match (server.folders.contains_key(&old), server.folders.contains_key(&new)) {
                (true, false) if !server.taken.contains(&name) => {
                    let moved = server.folders.remove(&old).unwrap();
                    server.folders.insert(new, moved);
                    server.writes += 1;
                }
                (false, true) => {}
                (false, false) => return Err(no_folder()),
                _ => return Err(Error::new(Kind::Conflict, Scope::Folder, "the place is taken")),
            }
            Ok(TargetFolderId(name.clone()))
        })
        .await
    }

    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, _ticket: Ticket) -> Vec<Outcome> {
        {
            let mut server = self.at.server.lock().unwrap();
            server.in_flight += 1;
            server.peak = server.peak.max(server.in_flight);
        }
        let mut outcomes = Vec::new();
        for item in items {
            outcomes.push(self.command(Step::TargetStore, |server| self.append(server, folder, &item)).await);
        }
        self.at.server.lock().unwrap().in_flight -= 1;
        outcomes
    }

    async fn find(&self, _prefix: &StampPrefix) -> Result<Vec<Copy>> {
        Err(Error::new(Kind::Internal, Scope::Mailbox, "copies carry no stamp here"))
    }

    async fn anchor(&self, folder: &TargetFolderId) -> Result<String> {
        let mut server = self.at.server.lock().unwrap();
        server.tick(self.at.world.now());
        let there = server.folders.get(&self.place(folder)).ok_or_else(no_folder)?;
        Ok(format!("{}.{}", there.validity, there.next))
    }

    async fn stored_since(
        &self,
        folder: &TargetFolderId,
        anchor: &str,
        known: &CopyIds,
    ) -> Result<Vec<Arrival>> {
        self.command(Step::TargetFind, |server| {
            let there = server.folders.get(&self.place(folder)).ok_or_else(no_folder)?;
            let from = match anchor.split_once('.') {
                Some((validity, next)) if validity.parse() == Ok(there.validity) => {
                    next.split('.').next().unwrap().parse().unwrap()
                }
                Some(_) => return Err(anew()),
                None => 0u32,
            };
            let arrival = |(uid, held): (&u32, &Held)| Arrival {
                id: format!("{}.{uid}", there.validity),
                digest: Digest::of(&held.octets),
                size: held.octets.len() as u64,
                message_id: message_id(&held.octets),
                received: held.received,
                flags: held.flags.clone(),
            };
            let came = there.messages.range(from..).map(arrival);
            Ok(came.filter(|a| !known.contains(&a.id)).collect())
        })
        .await
    }

    async fn look(&self, copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        self.command(Step::TargetFind, |server| {
            let old = |at: &CopyRef| {
                let there = server.folders.get(&self.place(&at.folder));
                there.is_some_and(|f| at.id.split_once('.').is_none_or(|(v, _)| v.parse() != Ok(f.validity)))
            };
            if !copies.is_empty() && copies.iter().all(|c| c.folder == copies[0].folder && old(c)) {
                return Err(anew());
            }
            let one = |at: &CopyRef| {
                let there = server.folders.get(&self.place(&at.folder))?;
                there.uid(&at.id).map(|uid| there.messages[&uid].flags.clone())
            };
            Ok(copies.iter().map(one).collect())
        })
        .await
    }

    async fn marks(&self) -> Result<BTreeMap<TargetFolderId, String>> {
        self.command(Step::TargetFind, |server| {
            let own = server.folders.iter().filter(|((mailbox, _), _)| *mailbox == self.mailbox);
            let mark = |f: &Folder| format!("{}.{}.{}", f.validity, f.next, f.changes);
            Ok(own.map(|((_, name), f)| (TargetFolderId(name.clone()), mark(f))).collect())
        })
        .await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.command(Step::TargetFlags, |server| {
            let one = |(at, flags): &(CopyRef, Flags)| {
                let there = server.folders.get_mut(&self.place(&at.folder)).ok_or_else(no_copy)?;
                let uid = there.uid(&at.id).ok_or_else(no_copy)?;
                there.messages.get_mut(&uid).unwrap().flags = flags.clone();
                there.changes += 1;
                server.writes += 1;
                Ok(())
            };
            changes.iter().map(one).collect()
        })
        .await
    }

    async fn relocate(&self, copies: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.command(Step::TargetMove, |server| {
            let one = |at: &CopyRef| {
                let new = self.place(to);
                if !server.folders.contains_key(&new) {
                    return Err(no_folder());
                }
                let there = server.folders.get_mut(&self.place(&at.folder)).ok_or_else(no_copy)?;
                let uid = there.uid(&at.id).ok_or_else(no_copy)?;
                if at.folder == *to {
                    return Ok(at.id.clone());
                }
                let held = there.messages.remove(&uid).unwrap();
                there.changes += 1;
                let there = server.folders.get_mut(&new).unwrap();
                server.writes += 1;
                let uid = there.add(held);
                Ok(format!("{}.{uid}", there.validity))
            };
            copies.iter().map(one).collect()
        })
        .await
    }

    async fn remove(&self, copies: &[CopyRef]) -> Vec<Result<(), Error>> {
        self.command(Step::TargetRemove, |server| {
            let one = |at: &CopyRef| {
                let there = server.folders.get_mut(&self.place(&at.folder));
                if let Some(there) = there
                    && let Some(uid) = there.uid(&at.id)
                {
                    there.messages.remove(&uid);
                    there.changes += 1;
                    server.writes += 1;
                }
                Ok(())
            };
            copies.iter().map(one).collect()
        })
        .await
    }
}
