//! Opening folders: EXAMINE and SELECT, with CONDSTORE and QRESYNC (RFC 7162).

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::answer::{Ignore, Receiver, Take};
use super::{Code, Command, Session, UidSet, Untagged, WireError};
use crate::model::{Result, Scope};

/// How a folder is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// EXAMINE: nothing can be changed, not even `\Recent`.
    ReadOnly,
    /// SELECT
    ReadWrite,
}

/// What is asked for when a folder is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectOptions {
    /// Asks for HIGHESTMODSEQ: some servers tell it only to those who ask (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// Asks what changed since; `ENABLE QRESYNC` must have been sent before.
    pub qresync: Option<Resync>,
}

/// What was known of a folder (RFC 7162 §3.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resync {
    /// UIDVALIDITY then.
    pub uid_validity: u32,
    /// HIGHESTMODSEQ then, 1 or more.
    pub modseq: u64,
    /// The UIDs known, so that the server need not tell of others; empty: all.
    pub known: UidSet,
}

/// What SELECT or EXAMINE told of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examined {
    /// Messages in it.
    pub exists: u32,
    /// UIDVALIDITY; 0 if not told.
    pub uid_validity: u32,
    /// UIDNEXT; 0 if not told.
    pub uid_next: u32,
    /// HIGHESTMODSEQ; 0 if not told, or if the folder keeps none.
    pub modseq: u64,
    /// The server said that the folder keeps no modification sequences (NOMODSEQ).
    pub no_modseq: bool,
    /// MAILBOXID (RFC 8474), if told.
    pub mailbox_id: Option<String>,
    /// PERMANENTFLAGS; `None` if not told: then all flags can be kept (RFC 3501 §7.1).
    pub permanent_flags: Option<Vec<String>>,
    /// Nothing can be changed in it.
    pub read_only: bool,
}

/// The folder that is open, by its name on the wire.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    name: Bytes,
    examined: Arc<Examined>,
}

impl Examined {
    fn learn(&mut self, code: &Code) {
        match code {
            Code::UidValidity(n) => self.uid_validity = *n,
            Code::UidNext(n) => self.uid_next = *n,
            Code::HighestModSeq(n) => self.modseq = *n,
            Code::NoModSeq => self.no_modseq = true,
            Code::MailboxId(id) => self.mailbox_id = Some(id.clone()),
            Code::PermanentFlags(flags) => self.permanent_flags = Some(flags.clone()),
            Code::None | Code::Capability(_) | Code::AppendUid(_) | Code::CopyUid(_) | Code::Named(_) => {}
        }
    }
}

/// Learns what is told while a folder is opened, and passes it on.
struct Opening<'a> {
    told: Examined,
    receiver: &'a mut dyn Receiver,
}

impl Receiver for Opening<'_> {
    fn untagged(&mut self, response: Untagged) {
        match &response {
            Untagged::Exists(n) => self.told.exists = *n,
            Untagged::Status(done) => self.told.learn(&done.code),
            _ => {}
        }
        self.receiver.untagged(response);
    }

    fn body_begins(&mut self, len: u64) -> Take {
        self.receiver.body_begins(len)
    }

    fn body_octets(&mut self, octets: Bytes) {
        self.receiver.body_octets(octets);
    }
}

/// A folder that is used by several callers at once; no other is opened on the session while this is held.
#[derive(Debug)]
pub struct Desk<'a> {
    session: &'a Session,
    name: &'a [u8],
    hold: Hold<'a>,
}

#[derive(Debug)]
enum Hold<'a> {
    /// The folder is open.
    Shared(Arc<Examined>, RwLockReadGuard<'a, ()>),
    /// It is to be opened.
    Alone(RwLockWriteGuard<'a, ()>),
}

impl Desk<'_> {
    /// Opens the folder read-only, if it is not open, and lets others use it too. Commands for the folder may be sent
    /// right behind this; what they bring counts only if this ends well.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn examine(self) -> Result<(Self, Arc<Examined>)> {
        let Desk { session, name, hold } = self;
        let (examined, guard) = match hold {
            Hold::Shared(examined, guard) => (examined, guard),
            Hold::Alone(guard) => (session.examine(name).await?, guard.downgrade()),
        };
        let hold = Hold::Shared(examined.clone(), guard);
        Ok((Desk { session, name, hold }, examined))
    }
}

impl Session {
    /// The folder open now and what was told when it was opened; none while another is being opened.
    pub fn examined(&self) -> Option<(Bytes, Arc<Examined>)> {
        self.state().selected.as_ref().map(|s| (s.name.clone(), s.examined.clone()))
    }

    /// Takes a place at the folder `name`: beside others if it is open, else as soon as nobody uses another one.
    pub async fn desk<'a>(&'a self, name: &'a [u8]) -> Desk<'a> {
        let open = || self.examined().filter(|(open, _)| open.as_ref() == name).map(|(_, examined)| examined);
        let guard = self.desk.read().await;
        if let Some(examined) = open() {
            return Desk { session: self, name, hold: Hold::Shared(examined, guard) };
        }
        drop(guard);
        let guard = self.desk.write().await;
        let hold = match open() {
            // Somebody else opened it meanwhile.
            Some(examined) => Hold::Shared(examined, guard.downgrade()),
            None => Hold::Alone(guard),
        };
        Desk { session: self, name, hold }
    }

    /// EXAMINE, with CONDSTORE where it is offered.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn examine(&self, name: &[u8]) -> Result<Arc<Examined>> {
        let options = SelectOptions { condstore: self.capabilities().has("CONDSTORE"), qresync: None };
        self.open(name, Access::ReadOnly, &options, &mut Ignore).await
    }

    /// SELECT, with CONDSTORE where it is offered.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn select(&self, name: &[u8]) -> Result<Arc<Examined>> {
        let options = SelectOptions { condstore: self.capabilities().has("CONDSTORE"), qresync: None };
        self.open(name, Access::ReadWrite, &options, &mut Ignore).await
    }

    /// Opens a folder. Changes told in answer to [`SelectOptions::qresync`] go to the receiver
    /// ([`Untagged::Vanished`], [`Untagged::Fetch`]). Commands sent before still concern the folder that was open,
    /// those sent later this one, or none if it cannot be opened.
    ///
    /// # Errors
    /// The connection failed, or the server refused.
    pub async fn open(
        &self,
        name: &[u8],
        access: Access,
        options: &SelectOptions,
        receiver: &mut dyn Receiver,
    ) -> Result<Arc<Examined>> {
        let mut command = Command::new(match access {
            Access::ReadOnly => "EXAMINE",
            Access::ReadWrite => "SELECT",
        })
        .string(&self.wire_name(name));
        if let Some(Resync { uid_validity, modseq, known }) = &options.qresync {
            let known = if known.is_empty() { String::new() } else { format!(" {known}") };
            command = command.syntax(&format!("(QRESYNC ({uid_validity} {modseq}{known}))"));
        } else if options.condstore {
            command = command.syntax("(CONDSTORE)");
        }
        let turn = {
            let mut state = self.state();
            state.selects += 1;
            state.selected = None;
            state.selects
        };
        let mut opening = Opening { told: Examined::default(), receiver };
        let done = self.run(command, &mut opening).await.map_err(WireError::into_error)?;
        let mut told = opening.told;
        done.check(Scope::Folder, "opening a folder")?;
        told.learn(&done.code);
        told.read_only = access == Access::ReadOnly || done.code.is("READ-ONLY");
        let examined = Arc::new(told);
        let mut state = self.state();
        if state.selects == turn {
            state.selected =
                Some(Selected { name: Bytes::copy_from_slice(name), examined: examined.clone() });
        }
        Ok(examined)
    }

    /// Closes the folder without expunging anything: UNSELECT (RFC 3691) where it is offered. Without it nothing is
    /// sent: CLOSE would expunge what is marked `\Deleted` in a folder opened for writing.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn unselect(&self) -> Result<(), WireError> {
        if !self.capabilities().has("UNSELECT") {
            return Ok(());
        }
        {
            let mut state = self.state();
            state.selects += 1;
            state.selected = None;
        }
        self.run(Command::new("UNSELECT"), &mut Ignore).await.map(|_| ())
    }

    /// CLOSE. Expunges what is marked `\Deleted`, unless the folder was opened read-only.
    ///
    /// # Errors
    /// The connection failed. The tagged status is for the caller to look at.
    pub async fn close(&self) -> Result<super::Done, WireError> {
        {
            let mut state = self.state();
            state.selects += 1;
            state.selected = None;
        }
        self.run(Command::new("CLOSE"), &mut Ignore).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Each;
    use super::super::script::{expect, on_a_runtime, send, session};
    use super::*;

    #[test]
    fn what_changed_since_is_told_when_the_folder_is_opened() {
        on_a_runtime(async {
            let (session, _peer) = session(vec![
                expect("SELECT \"x\" (QRESYNC (67890007 20050715194045000 41,43:211))"),
                send("* 314 EXISTS\r\n* OK [UIDVALIDITY 67890007] x\r\n* OK [UIDNEXT 567] x\r\n"),
                send("* OK [HIGHESTMODSEQ 20060115205545359] x\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n"),
                send("* VANISHED (EARLIER) 41,43:116\r\n* 1 FETCH (UID 117 FLAGS () MODSEQ (9))\r\n"),
                send("* OK [MAILBOXID (F1)] x\r\n$ OK [READ-WRITE] done\r\n"),
                expect("EXAMINE \"y\""),
                send("* 1 EXISTS\r\n* OK [NOMODSEQ] x\r\n$ NO [NONEXISTENT] gone\r\n"),
            ]);
            let known = UidSet::of_ranges([(41, 41), (43, 211)]);
            let qresync = Some(Resync { uid_validity: 67_890_007, modseq: 20_050_715_194_045_000, known });
            let options = SelectOptions { condstore: false, qresync };
            let (mut vanished, mut changed) = (UidSet::default(), 0);
            let mut each = Each(|untagged| match untagged {
                Untagged::Vanished { earlier: true, set } => vanished = set,
                Untagged::Fetch(_) => changed += 1,
                _ => {}
            });
            let opened = session.open(b"x", Access::ReadWrite, &options, &mut each).await.expect("opened");
            assert_eq!((vanished.to_string().as_str(), changed), ("41,43:116", 1));
            assert_eq!((opened.exists, opened.uid_next, opened.modseq), (314, 567, 20_060_115_205_545_359));
            assert_eq!(opened.mailbox_id.as_deref(), Some("F1"));
            assert_eq!(opened.permanent_flags.as_ref().map(Vec::len), Some(2));
            assert!(!opened.read_only);
            assert_eq!(session.examined().map(|(name, _)| name), Some(Bytes::from_static(b"x")));
            assert!(session.examine(b"y").await.is_err());
            assert_eq!(session.examined(), None);
        });
    }
}
