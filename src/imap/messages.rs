//! The typed verbs that concern the messages of the open folder.

use super::answer::{Each, Ignore, Receiver};
use super::folders::unreadable;
use super::{Code, Command, CopyUid, Done, Found, Session, UidSet, Untagged, WireError};
use crate::model::{Result, Scope};

/// What becomes of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// These are added.
    Add,
    /// These are taken away.
    Remove,
    /// These are put in the place of all others.
    Replace,
}

/// How a copy or a move ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The tagged status.
    pub done: Done,
    /// Where the messages went, if the server told (UIDPLUS).
    pub to: Option<CopyUid>,
}

impl Session {
    /// UID FETCH `set` `items`.
    ///
    /// # Errors
    /// The connection failed. The tagged status is for the caller to look at; so it is with the verbs below.
    pub async fn uid_fetch(
        &self,
        set: &UidSet,
        items: &'static str,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        self.run(Command::new("UID FETCH").set(set).fixed(items), receiver).await
    }

    /// UID FETCH of what changed since `modseq` (RFC 7162 §3.1.4); with `vanished` also what is gone
    /// ([`Untagged::Vanished`]), for which `ENABLE QRESYNC` must have been sent.
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_fetch_since(
        &self,
        set: &UidSet,
        items: &'static str,
        modseq: u64,
        vanished: bool,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        let vanished = if vanished { " VANISHED" } else { "" };
        let since = format!("(CHANGEDSINCE {modseq}{vanished})");
        self.run(Command::new("UID FETCH").set(set).fixed(items).syntax(&since), receiver).await
    }

    /// UID FETCH of `len` bytes of one message from `offset`.
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_fetch_part(
        &self,
        uid: u32,
        offset: u64,
        len: u64,
        receiver: &mut dyn Receiver,
    ) -> Result<Done, WireError> {
        let items = format!("(UID BODY.PEEK[]<{offset}.{len}>)");
        self.run(Command::new("UID FETCH").set(&UidSet::range(uid, uid)).syntax(&items), receiver).await
    }

    /// UID SEARCH `criteria` within `set`: as a compact set with ESEARCH (RFC 4731) where that is offered.
    ///
    /// # Errors
    /// The connection failed, the server refused or sent what cannot be read.
    pub async fn uid_search(&self, set: &UidSet, criteria: &'static str) -> Result<Found> {
        let mut command = Command::new("UID SEARCH");
        if self.capabilities().has("ESEARCH") {
            command = command.fixed("RETURN (ALL COUNT MIN MAX)");
        }
        let (mut found, mut bad) = (Found::default(), false);
        let mut each = Each(|response| match response {
            Untagged::Search(search) => found = search,
            Untagged::Unreadable("SEARCH") => bad = true,
            _ => {}
        });
        let command = command.fixed("UID").set(set).fixed(criteria);
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Folder, "searching a folder")?;
        if bad {
            return Err(unreadable("a search").scoped(Scope::Folder));
        }
        if found.count.is_none() {
            let ranges = found.all.ranges();
            (found.min, found.max) = (ranges.first().map(|r| r.0), ranges.last().map(|r| r.1));
            found.count = u32::try_from(found.all.len()).ok();
        }
        Ok(found)
    }

    /// UID STORE, silently: what the flags are now is not told. With `unchanged_since` only messages that did not
    /// change since are changed (RFC 7162 §3.1.3).
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_store<'a>(
        &self,
        set: &UidSet,
        change: Change,
        flags: impl IntoIterator<Item = &'a str>,
        unchanged_since: Option<u64>,
    ) -> Result<Done, WireError> {
        let mut command = Command::new("UID STORE").set(set);
        if let Some(modseq) = unchanged_since {
            command = command.syntax(&format!("(UNCHANGEDSINCE {modseq})"));
        }
        let command = command.fixed(match change {
            Change::Add => "+FLAGS.SILENT",
            Change::Remove => "-FLAGS.SILENT",
            Change::Replace => "FLAGS.SILENT",
        });
        self.run(command.flags(flags), &mut Ignore).await
    }

    /// UID COPY to the folder `name`.
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_copy(&self, set: &UidSet, name: &[u8]) -> Result<Copied, WireError> {
        self.run_copy(Command::new("UID COPY").set(set).string(&self.wire_name(name))).await
    }

    /// UID MOVE to the folder `name` (RFC 6851); the server must offer MOVE.
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_move(&self, set: &UidSet, name: &[u8]) -> Result<Copied, WireError> {
        self.run_copy(Command::new("UID MOVE").set(set).string(&self.wire_name(name))).await
    }

    async fn run_copy(&self, command: Command) -> Result<Copied, WireError> {
        let mut to = None;
        // MOVE tells it untagged (RFC 6851 §4.3), and may do so in several parts.
        let mut each = Each(|response| {
            if let Untagged::Status(Done { code: Code::CopyUid(part), .. }) = response {
                join(&mut to, part);
            }
        });
        let done = self.run(command, &mut each).await?;
        if let Code::CopyUid(part) = &done.code {
            join(&mut to, part.clone());
        }
        Ok(Copied { done, to })
    }

    /// UID EXPUNGE (RFC 4315); the server must offer UIDPLUS. Only these messages go, and only if they are marked
    /// `\Deleted`.
    ///
    /// # Errors
    /// As [`Session::uid_fetch`].
    pub async fn uid_expunge(&self, set: &UidSet) -> Result<Done, WireError> {
        self.run(Command::new("UID EXPUNGE").set(set), &mut Ignore).await
    }
}

fn join(to: &mut Option<CopyUid>, part: CopyUid) {
    match to {
        Some(all) if all.uid_validity == part.uid_validity => all.pairs.extend(part.pairs),
        _ => *to = Some(part),
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{expect, on_a_runtime, send, session, session_with};
    use super::*;

    #[test]
    fn a_search_is_compact_where_the_server_can_and_the_same_where_it_cannot() {
        let compact = [
            expect("UID SEARCH RETURN (ALL COUNT MIN MAX) UID 1:9 UNDELETED"),
            send("* ESEARCH (TAG \"m1\") UID MIN 2 MAX 5 COUNT 3 ALL 2,4:5\r\n$ OK\r\n"),
        ];
        let plain = [expect("UID SEARCH UID 1:9 UNDELETED"), send("* SEARCH 4 2 5\r\n$ OK\r\n")];
        let found = [("ESEARCH", compact), ("", plain)].map(|(capabilities, script)| {
            on_a_runtime(async {
                let (session, _peer) = session_with(capabilities, script.to_vec());
                session.uid_search(&UidSet::range(1, 9), "UNDELETED").await.expect("found")
            })
        });
        assert_eq!(found[0], found[1]);
        assert_eq!((found[0].count, found[0].min, found[0].max), (Some(3), Some(2), Some(5)));
    }

    #[test]
    fn where_moved_messages_went_is_told_in_parts_or_at_the_end() {
        on_a_runtime(async {
            let (session, _peer) = session(vec![
                expect("UID MOVE 1:2 \"x\""),
                send("* OK [COPYUID 7 1 11] x\r\n* OK [COPYUID 7 2 12] x\r\n* VANISHED 1:2\r\n$ OK\r\n"),
                expect("UID COPY 3 \"x\""),
                send("$ OK [COPYUID 7 3 13] x\r\n"),
                expect("UID COPY 4 \"x\""),
                send("$ NO [TRYCREATE] x\r\n"),
            ]);
            let moved = session.uid_move(&UidSet::range(1, 2), b"x").await.expect("answered");
            assert_eq!(moved.to.map(|to| to.pairs), Some(vec![(1, 11), (2, 12)]));
            let copied = session.uid_copy(&UidSet::range(3, 3), b"x").await.expect("answered");
            assert_eq!(copied.to.map(|to| to.pairs), Some(vec![(3, 13)]));
            let refused = session.uid_copy(&UidSet::range(4, 4), b"x").await.expect("answered");
            assert!(refused.to.is_none() && refused.done.code.is("TRYCREATE"));
        });
    }

    #[test]
    fn flags_are_stored_silently_and_only_what_is_a_flag_is_sent() {
        on_a_runtime(async {
            let (session, _peer) = session(vec![
                expect("UID STORE 1 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\\Seen work)"),
                send("$ OK\r\n"),
            ]);
            let one = UidSet::range(1, 1);
            let stored = session.uid_store(&one, Change::Add, ["\\Seen", "work"], Some(9)).await;
            assert!(stored.expect("answered").ok());
            let refused = session.uid_store(&one, Change::Add, ["a b"], None).await;
            assert_eq!(refused, Err(WireError::Unsendable));
            assert!(!session.is_broken());
        });
    }
}
