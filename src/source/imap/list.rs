//! A folder's messages: EXAMINE, then UID FETCH of windows of UIDs.

use std::collections::BTreeMap;

use crate::imap::{Command, Examined, FetchItems, Receiver, Session, UidSet, Untagged, WireError};
use crate::model::{Error, Kind, Listed, Result, Scope, SourceId};
use crate::source::{Extent, Listing};

/// Times a window is asked for again when the server says that messages vanished under it.
const TRIES: u32 = 3;

/// What is asked of each message.
const ITEMS: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE)";

/// Lists a folder, about `window` messages a command, ascending.
pub(super) async fn list(
    session: &Session,
    name: &[u8],
    window: u32,
    sink: &mut (dyn FnMut(Listed) + Send),
) -> Result<Listing> {
    let examined = session.examine(name).await?;
    if examined.uid_validity == 0 {
        return Err(Error::new(
            Kind::Protocol,
            Scope::Folder,
            "the server gives this folder no UIDVALIDITY, so its messages cannot be named",
        )
        .remedy("let the server's operator repair the folder's index"));
    }
    let mut listing = Listing {
        epoch: u64::from(examined.uid_validity),
        next: u64::from(examined.uid_next),
        modseq: examined.modseq,
        messages: u64::from(examined.exists),
        extent: Extent::Whole,
    };
    if examined.exists == 0 {
        return Ok(listing);
    }
    let mut walk = Walk::new(&examined, window);
    while let Some((from, to)) = walk.next_range() {
        let entries = walk.window(session, from, to).await?;
        walk.listed += entries.len() as u64;
        walk.adapt(entries.len());
        entries.into_iter().for_each(|(uid, items)| sink(listed(uid, items)));
    }
    if walk.is_short() {
        // Expunges are often told only now.
        session
            .run(Command::new("NOOP"), &mut Expunged(&mut walk.expunged))
            .await
            .map_err(WireError::into_error)?;
    }
    if walk.is_short() && walk.last < u32::MAX {
        // A wrong UIDNEXT hides messages: look beyond it.
        let entries = walk.window(session, walk.last + 1, u32::MAX).await?;
        walk.listed += entries.len() as u64;
        for (uid, items) in entries {
            listing.next = listing.next.max(u64::from(uid) + 1);
            sink(listed(uid, items));
        }
    }
    if walk.is_short() {
        return Err(Error::temporary(
            Kind::Protocol,
            Scope::Folder,
            format!(
                "the server says the folder holds {} messages but lists only {}",
                examined.exists, walk.listed
            ),
        )
        .remedy("let the server's operator repair the folder's index"));
    }
    Ok(listing)
}

fn listed(uid: u32, items: FetchItems) -> Listed {
    Listed {
        id: SourceId::Number(u64::from(uid)),
        size: items.size,
        received: items.received,
        flags: items.flags.unwrap_or_default(),
        object: 0,
    }
}

/// The way through the UIDs of a folder. UIDs may be sparse (a folder of ten messages can have UIDNEXT 4 billion), so
/// the width of the windows follows what they hold.
struct Walk {
    exists: u64,
    window: u32,
    width: u32,
    /// `None`: done.
    from: Option<u32>,
    last: u32,
    listed: u64,
    expunged: u64,
}

impl Walk {
    fn new(examined: &Examined, window: u32) -> Walk {
        let known_end = examined.uid_next > 0;
        let whole = !known_end || examined.exists <= window;
        Walk {
            exists: u64::from(examined.exists),
            window,
            width: if whole { u32::MAX } else { window },
            from: (examined.uid_next != 1).then_some(1),
            last: if known_end { examined.uid_next - 1 } else { u32::MAX },
            listed: 0,
            expunged: 0,
        }
    }

    fn is_short(&self) -> bool {
        self.listed + self.expunged < self.exists
    }

    fn next_range(&mut self) -> Option<(u32, u32)> {
        let from = self.from?;
        let to = from.saturating_add(self.width - 1).min(self.last);
        self.from = to.checked_add(1).filter(|next| *next <= self.last);
        Some((from, to))
    }

    fn adapt(&mut self, found: usize) {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found == 0 {
            self.width = self.width.saturating_mul(16);
        } else if found < self.window / 2 {
            self.width = self.width.saturating_mul(2);
        } else if found > self.window {
            self.width = (self.width / 2).max(self.window);
        }
    }

    async fn window(&mut self, session: &Session, from: u32, to: u32) -> Result<BTreeMap<u32, FetchItems>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut seen = Window { from, to, entries: BTreeMap::new(), expunged: 0, unreadable: false };
            let done = session
                .uid_fetch(&UidSet::range(from, to), ITEMS, &mut seen)
                .await
                .map_err(WireError::into_error)?;
            self.expunged += seen.expunged;
            if !done.ok() && done.code.is("EXPUNGEISSUED") && tries < TRIES {
                // Messages vanished under the command; what is left of the window can be listed afresh.
                session
                    .run(Command::new("NOOP"), &mut Expunged(&mut self.expunged))
                    .await
                    .map_err(WireError::into_error)?;
                continue;
            }
            done.check(Scope::Folder, "listing a folder")?;
            if seen.unreadable {
                return Err(Error::temporary(
                    Kind::Protocol,
                    Scope::Folder,
                    "the server lists a message in a way that cannot be read",
                ));
            }
            return Ok(seen.entries);
        }
    }
}

/// Gathers one window.
struct Window {
    from: u32,
    to: u32,
    entries: BTreeMap<u32, FetchItems>,
    expunged: u64,
    unreadable: bool,
}

impl Receiver for Window {
    fn untagged(&mut self, response: Untagged) {
        match response {
            Untagged::Fetch(items) => match items.uid {
                Some(uid) if (self.from..=self.to).contains(&uid) => {
                    let known = self.entries.entry(uid).or_default();
                    // A change of flags told on the side comes as a second, shorter response.
                    known.size = items.size.or(known.size);
                    known.received = items.received.or(known.received);
                    known.flags = items.flags.or(known.flags.take());
                }
                Some(_) => {} // not asked for
                // An answer to our question, as its size shows, about a message we cannot name.
                None => self.unreadable |= items.size.is_some(),
            },
            Untagged::Expunge => self.expunged += 1,
            Untagged::Unreadable("FETCH") => self.unreadable = true,
            _ => {}
        }
    }
}

/// Counts expunges.
struct Expunged<'a>(&'a mut u64);

impl Receiver for Expunged<'_> {
    fn untagged(&mut self, response: Untagged) {
        *self.0 += u64::from(response == Untagged::Expunge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::script::{Script, close, expect, on_a_runtime, send, session};

    const EXAMINED: &str = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n* OK [HIGHESTMODSEQ 5] x\r\n$ OK [READ-ONLY] x\r\n";

    /// Lists a folder of a server that does as `script` says.
    fn run(script: Vec<Script>) -> Result<(Listing, Vec<Listed>)> {
        on_a_runtime(async move {
            let (session, peer) = session(script);
            let mut found = Vec::new();
            let listing = list(&session, b"x", 100, &mut |l| found.push(l)).await;
            drop(session);
            peer.await.expect("the peer saw what it expected");
            listing.map(|l| (l, found))
        })
    }

    fn opened() -> Vec<Script> {
        vec![
            expect("EXAMINE \"x\""),
            send(EXAMINED),
            expect("UID FETCH 1:8 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
        ]
    }

    fn numbers(found: &[Listed]) -> Vec<SourceId> {
        found.iter().map(|l| l.id.clone()).collect()
    }

    #[test]
    fn a_listing_is_ascending_and_takes_flag_changes_told_on_the_side() {
        let mut script = opened();
        script.push(send(
            "* 3 FETCH (UID 8 FLAGS () RFC822.SIZE 10)\r\n* 7 EXISTS\r\n* 1 FETCH (UID 2 FLAGS (\\Deleted) INTERNALDATE \"01-Jan-1970 00:00:01 +0000\" RFC822.SIZE 20)\r\n* 2 FETCH (RFC822.SIZE 30 UID 5 FLAGS ())\r\n* 2 FETCH (UID 5 FLAGS (\\Seen))\r\n* 4 FETCH (UID 12 FLAGS () RFC822.SIZE 1)\r\n* 1 FETCH (FLAGS ())\r\n$ OK done\r\n",
        ));
        let (listing, found) = run(script).expect("listed");
        assert_eq!(listing, Listing { epoch: 7, next: 9, modseq: 5, messages: 3, extent: Extent::Whole });
        assert_eq!(numbers(&found), [2, 5, 8].map(SourceId::Number));
        assert!(found[0].flags.deleted && found[0].received == Some(crate::model::Timestamp::utc(1)));
        assert!(found[1].flags.seen && found[1].size == Some(30));
    }

    #[test]
    fn a_listing_that_ends_badly_is_an_error() {
        let one = "* 1 FETCH (UID 2 FLAGS () RFC822.SIZE 20)\r\n";
        for end in [
            "$ NO Some messages could not be FETCHed\r\n",
            "$ BAD throttled\r\n",
            "* BYE going down\r\n",
            "",
            "* 2 FETCH (UID x)\r\n$ OK done\r\n",
            "* 2 FETCH (FLAGS () RFC822.SIZE 7)\r\n$ OK done\r\n",
        ] {
            let mut script = opened();
            script.extend([send(&format!("{one}{end}")), close()]);
            assert!(run(script).is_err_and(|e| e.may_pass()), "{end}");
        }
    }

    #[test]
    fn messages_the_server_keeps_silent_about_are_noticed() {
        let three = "* 1 FETCH (UID 2 RFC822.SIZE 1)\r\n* 2 FETCH (UID 3 RFC822.SIZE 1)\r\n";
        let mut script = opened();
        script.extend([send(&format!("{three}$ OK done\r\n")), expect("NOOP"), send("$ OK\r\n")]);
        let mut silent = script.clone();
        silent.extend([expect("UID FETCH 9:4294967295"), send("$ OK done\r\n")]);
        assert!(run(silent).is_err_and(|e| e.what.contains("3 messages but lists only 2")));
        // A wrong UIDNEXT.
        let mut beyond = script.clone();
        beyond.extend([
            expect("UID FETCH 9:4294967295"),
            send("* 3 FETCH (UID 11 RFC822.SIZE 1)\r\n$ OK done\r\n"),
        ]);
        let (listing, found) = run(beyond).expect("listed");
        assert_eq!((listing.next, found.len()), (12, 3));
        // Expunged meanwhile.
        script.pop();
        script.push(send("* 3 EXPUNGE\r\n$ OK\r\n"));
        assert_eq!(run(script).expect("listed").1.len(), 2);
    }

    #[test]
    fn a_window_under_which_messages_vanish_is_listed_afresh() {
        let mut script = opened();
        script.extend([
            send("* 1 FETCH (UID 2 RFC822.SIZE 1)\r\n$ NO [EXPUNGEISSUED] gone\r\n"),
            expect("NOOP"),
            send("* 2 EXPUNGE\r\n* 2 EXPUNGE\r\n$ OK\r\n"),
            expect("UID FETCH 1:8"),
            send("* 1 FETCH (UID 2 RFC822.SIZE 1)\r\n$ OK\r\n"),
        ]);
        assert_eq!(numbers(&run(script).expect("listed").1), [SourceId::Number(2)]);
    }

    #[test]
    fn a_folder_without_uidvalidity_cannot_be_listed() {
        let script = vec![expect("EXAMINE"), send("* 3 EXISTS\r\n* OK [UIDNEXT 9] x\r\n$ OK\r\n")];
        assert!(run(script).is_err_and(|e| e.kind == Kind::Protocol && !e.may_pass()));
    }

    fn ranges(exists: u32, uid_next: u32, per_window: usize) -> Vec<(u32, u32)> {
        let examined = Examined { exists, uid_validity: 1, uid_next, ..Examined::default() };
        let mut walk = Walk::new(&examined, 1000);
        let mut ranges = Vec::new();
        while let Some(range) = walk.next_range() {
            ranges.push(range);
            walk.adapt(per_window);
            assert!(ranges.len() < 10_000);
        }
        ranges
    }

    #[test]
    fn small_folders_take_one_command_and_sparse_ones_few() {
        assert_eq!(ranges(10, 4_000_000_000, 10), [(1, 3_999_999_999)]);
        assert_eq!(ranges(10, 0, 10), [(1, u32::MAX)]);
        assert_eq!(ranges(0, 1, 0), []);
        assert_eq!(ranges(3000, 3001, 1000), [(1, 1000), (1001, 2000), (2001, 3000)]);
        let sparse = ranges(5000, u32::MAX, 0);
        assert!(sparse.len() < 12, "{} windows", sparse.len());
        assert_eq!(sparse.last().map(|r| r.1), Some(u32::MAX - 1));
        assert!(sparse.windows(2).all(|w| w[0].1 + 1 == w[1].0));
    }
}
