//! A folder's messages: EXAMINE, then UID FETCH of windows of UIDs; or only what changed, by the cheapest proof the
//! server offers.
//!
//! | it offers | new ones | flags | what is gone |
//! |---|---|---|---|
//! | QRESYNC | from UIDNEXT on | told when the folder is opened | VANISHED |
//! | CONDSTORE | from UIDNEXT on | CHANGEDSINCE | nothing, if the count proves it; else a search |
//! | neither | from UIDNEXT on | stale, or all of it is listed | as above |
//!
//! Where folders are views of one store ([`labels`]), only CONDSTORE will do, and all items of what changed are asked for:
//! a change of labels can bring a message into a folder's listing, or out of it.
//!
//! All of it is asked at once. Whatever contradicts itself (a modification sequence or a UIDNEXT that went back,
//! NOMODSEQ, a count that cannot be) makes all of the folder be listed.

use std::collections::BTreeMap;

use futures_util::future::{OptionFuture, join4};

use super::labels::{self, Turn};
use super::walk::{self, Entry, Walk, Window};
use crate::imap::{
    Access, Done, Examined, Receiver, Resync, SelectOptions, Session, UidSet, Untagged, WireError,
};
use crate::model::{Error, Kind, Listed, Result, RunSet, Scope, SourceId};
use crate::source::{Counters, Extent, Listing, Since};

/// Messages that may be searched for one by one in one answer, where the server cannot tell them as ranges.
const SEARCHED: u32 = 20_000;

/// Numbers that may be asked for beside the changes; more make a command too long for some servers.
const ALSO: usize = 500;

/// A folder to list.
pub(super) struct Folder<'a> {
    /// Its name on the wire.
    pub name: &'a [u8],
    /// What the list of folders told of it.
    pub counters: Option<Counters>,
    /// About so many messages are asked for in a command.
    pub window: u32,
}

/// Lists a folder, ascending: what changed since, if that can be proven, else all of it. `turn`: it is a view.
pub(super) async fn list(
    session: &Session,
    folder: &Folder<'_>,
    since: Option<&Since<'_>>,
    turn: Option<Turn<'_>>,
    sink: &mut (dyn FnMut(Listed) + Send),
) -> Result<Listing> {
    let mut turn = turn;
    let mut examined = None;
    if let Some(since) = since
        && let Some(asked) = Asked::new(session, folder, since, turn.is_some())
    {
        match changes(session, folder, since, asked, turn.as_mut()).await? {
            Told::Changes(listing, entries) => {
                entries.into_iter().for_each(|(uid, entry)| sink(listed(uid, entry)));
                return Ok(listing);
            }
            Told::Nothing(opened) => examined = opened,
        }
    }
    whole(session, folder, examined, turn, sink).await
}

/// What is asked of each message.
fn items(session: &Session, view: bool) -> &'static str {
    if view { labels::ITEMS } else { walk::items(session) }
}

fn listed(uid: u32, entry: Entry) -> Listed {
    Listed {
        id: SourceId::Number(u64::from(uid)),
        size: entry.size,
        received: entry.received,
        flags: entry.flags,
        object: entry.object,
    }
}

fn listing(examined: &Examined, extent: Extent) -> Result<Listing> {
    if examined.uid_validity == 0 {
        return Err(Error::new(
            Kind::Protocol,
            Scope::Folder,
            "the server gives this folder no UIDVALIDITY, so its messages cannot be named",
        )
        .remedy("let the server's operator repair the folder's index"));
    }
    Ok(Listing {
        epoch: u64::from(examined.uid_validity),
        next: u64::from(examined.uid_next),
        modseq: if examined.no_modseq { 0 } else { examined.modseq },
        messages: u64::from(examined.exists),
        extent,
    })
}

/// Lists all of it.
async fn whole(
    session: &Session,
    folder: &Folder<'_>,
    examined: Option<std::sync::Arc<Examined>>,
    mut turn: Option<Turn<'_>>,
    sink: &mut (dyn FnMut(Listed) + Send),
) -> Result<Listing> {
    let items = items(session, turn.is_some());
    let asked_elsewhere = match &mut turn {
        Some(turn) => turn.ask_earlier(session, folder.window).await?,
        None => false,
    };
    let examined = examined.filter(|_| !asked_elsewhere);
    let mut tell = |uid: u32, entry: Entry| {
        let ours = match &mut turn {
            Some(turn) => turn.claim(entry),
            None => Some(entry),
        };
        if let Some(entry) = ours {
            sink(listed(uid, entry));
        }
    };
    // A small folder takes one round trip: its messages are asked for while it is being opened.
    let guess = folder.counters.filter(|c| examined.is_none() && c.messages <= u64::from(folder.window));
    let guess = guess.and_then(|c| u32::try_from(c.next.saturating_sub(1)).ok()).filter(|last| *last > 0);
    let (examined, mut first) = match (examined, guess) {
        (Some(examined), _) => (examined, None),
        (None, None) => (session.examine(folder.name).await?, None),
        (None, Some(last)) => {
            let mut window = Window::new(1, last);
            let set = UidSet::range(1, last);
            let fetch = session.uid_fetch(&set, items, &mut window);
            let (examined, done) = futures_util::join!(session.examine(folder.name), fetch);
            let examined = examined?;
            let complete = heeded(done)?.ok() && window.is_complete();
            (examined, complete.then_some((last, window)))
        }
    };
    let mut listing = listing(&examined, Extent::Whole)?;
    let mut walk = Walk::new(&examined, folder.window, items);
    while examined.exists > 0
        && let Some((from, to)) = walk.next_range()
    {
        let entries = match first.take() {
            Some((last, window)) if (from, to) == (1, last) => walk.take(window),
            _ => walk.window(session, from, to).await?,
        };
        walk.found(entries.len());
        entries.into_iter().for_each(|(uid, entry)| tell(uid, entry));
    }
    if walk.is_short() {
        walk.noop(session).await?; // expunges are often told only now
    }
    if walk.is_short() && walk.last < u32::MAX {
        // A wrong UIDNEXT hides messages: look beyond it.
        let entries = walk.window(session, walk.last + 1, u32::MAX).await?;
        walk.found(entries.len());
        for (uid, entry) in entries {
            listing.next = listing.next.max(u64::from(uid) + 1);
            tell(uid, entry);
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
    if let Some(turn) = &mut turn {
        turn.is_whole();
        if turn.is_contested() {
            listing.modseq = 0;
        }
    }
    Ok(listing)
}

/// What is asked for beside opening the folder, and how changes are proven.
struct Asked {
    then: Counters,
    uid_validity: u32,
    /// The last UID known; 0 for none.
    last: u32,
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Resync,
    ChangedSince,
    CountsOnly,
}

impl Asked {
    /// `None`: nothing but the whole folder proves what is wanted.
    fn new(session: &Session, folder: &Folder<'_>, since: &Since<'_>, view: bool) -> Option<Asked> {
        let then = since.counters;
        let (offer, now) = (session.capabilities(), folder.counters);
        let went_back = now.is_some_and(|c| c.modseq > 0 && c.modseq < then.modseq);
        if went_back || since.also.len() > ALSO {
            return None;
        }
        let keeps_modseq = then.modseq > 0;
        let way = match keeps_modseq {
            true if view && (offer.has("CONDSTORE") || offer.has("QRESYNC")) => Way::ChangedSince,
            _ if view => return None,
            true if offer.has("QRESYNC") => Way::Resync,
            true if offer.has("CONDSTORE") => Way::ChangedSince,
            _ if since.flags_may_be_stale => Way::CountsOnly,
            _ => return None,
        };
        let usable = then.epoch > 0 && then.next > 0 && now.is_none_or(|c| c.epoch == then.epoch);
        if !usable {
            return None;
        }
        let last = u32::try_from(then.next - 1).ok().filter(|last| *last < u32::MAX)?;
        Some(Asked { then, uid_validity: u32::try_from(then.epoch).ok()?, last, way })
    }
}

/// How a command ended that was only a guess: its refusal means no more than that it is asked again, unless the server
/// says how long it wants to be left alone.
fn heeded(done: Result<Done, WireError>) -> Result<Done> {
    let done = done.map_err(WireError::into_error)?;
    if done.backoff.is_some() {
        return Err(done.refusal(Scope::Mailbox, "listing a folder"));
    }
    Ok(done)
}

/// What was told.
enum Told {
    Changes(Listing, BTreeMap<u32, Entry>),
    /// It cannot be relied on. The folder is open, unless the server did not take how it was asked.
    Nothing(Option<std::sync::Arc<Examined>>),
}

/// Asks for what changed, in one round trip where nothing went and not much came.
async fn changes(
    session: &Session,
    folder: &Folder<'_>,
    since: &Since<'_>,
    asked: Asked,
    turn: Option<&mut Turn<'_>>,
) -> Result<Told> {
    let Asked { then, uid_validity, last, way } = asked;
    let items = items(session, turn.is_some());
    let changed = if turn.is_some() { items } else { "(UID FLAGS)" };
    let mut resynced = Changed::default();
    let mut options = SelectOptions { condstore: session.capabilities().has("CONDSTORE"), qresync: None };
    let mut way = way;
    if way == Way::Resync {
        if walk::resync_enabled(session).await? && last > 0 {
            let known = UidSet::range(1, last);
            options.qresync = Some(Resync { uid_validity, modseq: then.modseq, known });
        } else {
            way = Way::ChangedSince;
        }
    }
    // What is likely to be wanted is asked for at once; what came is little if the list of folders said so.
    let came = folder.counters.map_or(0, |c| c.next.saturating_sub(then.next));
    let guessed = came > 0 && came <= u64::from(folder.window);
    let ask_flags =
        way == Way::ChangedSince && last > 0 && folder.counters.is_none_or(|c| c.modseq != then.modseq);
    let also: UidSet = since.also.iter().filter_map(|n| u32::try_from(*n).ok()).collect();
    let known = UidSet::range(1, last.max(1));
    let fresh = UidSet::range(last + 1, u32::MAX);
    let (mut flags, mut asked_for, mut new) =
        (Window::new(1, last.max(1)), Window::new(1, u32::MAX), Window::new(last + 1, u32::MAX));
    let (opened, flags_done, also_done, new_done) = join4(
        session.open(folder.name, Access::ReadOnly, &options, &mut resynced),
        OptionFuture::from(
            ask_flags.then(|| session.uid_fetch_since(&known, changed, then.modseq, false, &mut flags)),
        ),
        OptionFuture::from((!also.is_empty()).then(|| session.uid_fetch(&also, items, &mut asked_for))),
        OptionFuture::from(guessed.then(|| session.uid_fetch(&fresh, items, &mut new))),
    )
    .await;
    let examined = match opened {
        Ok(examined) => examined,
        // Some offer QRESYNC and do not take it.
        Err(_) if options.qresync.is_some() && !session.is_broken() => return Ok(Told::Nothing(None)),
        Err(error) => return Err(error),
    };
    let mut complete = !resynced.unreadable;
    for (done, window) in [(flags_done, &flags), (also_done, &asked_for), (new_done, &new)] {
        if let Some(done) = done {
            complete &= heeded(done)?.ok() && window.is_complete();
        }
    }
    complete &= resynced.entries.values().chain(flags.entries.values()).all(|e| e.flags_told);
    if [&flags, &asked_for, &new].iter().any(|window| window.saw_expunges()) {
        return Ok(Told::Nothing(None)); // the count it was opened with is over
    }
    let next = examined.uid_next;
    let modseq_kept = way == Way::CountsOnly || (!examined.no_modseq && examined.modseq >= then.modseq);
    let same = examined.uid_validity == uid_validity && next > last && modseq_kept;
    if !same || !complete {
        return Ok(Told::Nothing(Some(examined)));
    }
    let mut entries = resynced.entries;
    entries.retain(|uid, _| *uid <= last);
    for (uid, entry) in flags.entries {
        entries.insert(uid, entry);
    }
    // What came after the folder was opened is the next pass's.
    let mut fresh: BTreeMap<u32, Entry> = new.entries;
    fresh.retain(|uid, _| *uid < next);
    let walked = !guessed && next > last + 1;
    if walked {
        let mut walk = Walk::from(last + 1, &examined, folder.window, items);
        while let Some((from, to)) = walk.next_range() {
            let some = walk.window(session, from, to).await?;
            walk.found(some.len());
            fresh.extend(some);
        }
    }
    let mut vanished = match way {
        Way::Resync => resynced.vanished,
        Way::ChangedSince | Way::CountsOnly => {
            let should = then.messages + fresh.len() as u64;
            match should.checked_sub(u64::from(examined.exists)) {
                Some(0) => RunSet::default(),
                Some(_) => match gone(session, &examined, last).await? {
                    Some(gone) => gone,
                    None => return Ok(Told::Nothing(Some(examined))),
                },
                None => return Ok(Told::Nothing(Some(examined))),
            }
        }
    };
    entries.extend(fresh);
    entries.extend(asked_for.entries);
    let mut contested = false;
    if let Some(turn) = turn {
        turn.ask_named(session, folder.window, entries.values()).await?;
        let told = std::mem::take(&mut entries);
        for (uid, entry) in told {
            match turn.claim(entry) {
                Some(entry) => drop(entries.insert(uid, entry)),
                None => vanished.insert(u64::from(uid), u64::from(uid)),
            }
        }
        contested = turn.is_contested();
    }
    let extent = Extent::Changes { vanished, stale_flags: way == Way::CountsOnly };
    let mut listing = listing(&examined, extent)?;
    if contested {
        listing.modseq = 0;
    }
    Ok(Told::Changes(listing, entries))
}

/// The UIDs up to `last` that are not there. `None`: the server could only tell them in one unbounded answer.
async fn gone(session: &Session, examined: &Examined, last: u32) -> Result<Option<RunSet>> {
    if last == 0 {
        return Ok(Some(RunSet::default()));
    }
    if !session.capabilities().has("ESEARCH") && examined.exists > SEARCHED {
        return Ok(None);
    }
    let there = session.uid_search(&UidSet::range(1, last), "ALL").await?;
    let mut gone = RunSet::default();
    let mut from = 1u64;
    for (first, end) in there.all.ranges() {
        gone.insert(from, u64::from(*first).saturating_sub(1).min(u64::from(last)));
        from = u64::from(*end) + 1;
    }
    gone.insert(from, u64::from(last));
    Ok(Some(gone))
}

/// What is told of changes when a folder is opened (RFC 7162 §3.2.5).
#[derive(Default)]
struct Changed {
    vanished: RunSet,
    entries: BTreeMap<u32, Entry>,
    unreadable: bool,
}

impl Receiver for Changed {
    fn untagged(&mut self, response: Untagged) {
        match response {
            Untagged::Vanished { earlier: true, set } => {
                set.ranges().iter().for_each(|(a, b)| self.vanished.insert(u64::from(*a), u64::from(*b)));
            }
            Untagged::Fetch(items) => match items.uid {
                Some(uid) => self.entries.entry(uid).or_default().learn(*items),
                None => self.unreadable = true,
            },
            Untagged::Unreadable("FETCH" | "VANISHED") => self.unreadable = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::script::{Script, close, expect, on_a_runtime, send, session, session_with};

    const EXAMINED: &str = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n* OK [HIGHESTMODSEQ 5] x\r\n$ OK [READ-ONLY] x\r\n";

    /// Lists a folder of a server that does as `script` says.
    fn run(script: Vec<Script>) -> Result<(Listing, Vec<Listed>)> {
        on_a_runtime(async move {
            let (session, peer) = session(script);
            let mut found = Vec::new();
            let folder = Folder { name: b"x", counters: None, window: 100 };
            let listing = list(&session, &folder, None, None, &mut |l| found.push(l)).await;
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

    const THEN: Counters = Counters { epoch: 7, next: 9, messages: 3, modseq: 5 };

    /// What changed since [`THEN`], at a server that offers `capabilities`, told `now` with the list of folders.
    fn since(
        capabilities: &str,
        now: Option<Counters>,
        also: &[u64],
        script: Vec<Script>,
    ) -> Result<(Listing, Vec<Listed>)> {
        on_a_runtime(async move {
            let (session, peer) = session_with(capabilities, script);
            let mut found = Vec::new();
            let folder = Folder { name: b"x", counters: now, window: 100 };
            let since = Since { counters: THEN, also, flags_may_be_stale: true };
            let listing = list(&session, &folder, Some(&since), None, &mut |l| found.push(l)).await;
            drop(session);
            peer.await.expect("the peer saw what it expected");
            listing.map(|l| (l, found))
        })
    }

    fn examined(exists: u32, next: u32, modseq: &str, more: &str, tag: u32) -> Script {
        send(&format!(
            "* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT {next}] x\r\n* OK [{modseq}] x\r\n{more}${tag} OK x\r\n"
        ))
    }

    fn vanished(listing: &Listing) -> (Vec<u64>, bool) {
        match &listing.extent {
            Extent::Changes { vanished, stale_flags } => (vanished.iter().collect(), *stale_flags),
            Extent::Whole => panic!("all of it was listed"),
        }
    }

    #[test]
    fn with_qresync_all_changes_are_asked_for_at_once() {
        let now = Counters { next: 11, messages: 3, modseq: 8, ..THEN };
        let script = vec![
            expect("ENABLE QRESYNC"),
            send("* ENABLED QRESYNC\r\n$ OK\r\n"),
            expect("EXAMINE \"x\" (QRESYNC (7 5 1:8))"),
            expect("UID FETCH 3 (UID FLAGS INTERNALDATE RFC822.SIZE EMAILID)"),
            expect("UID FETCH 9:4294967295 (UID FLAGS"),
            examined(
                3,
                11,
                "HIGHESTMODSEQ 8",
                "* VANISHED (EARLIER) 1,4:5\r\n* 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (7))\r\n",
                2,
            ),
            send("* 2 FETCH (UID 3 FLAGS () RFC822.SIZE 7)\r\n$3 OK\r\n"),
            send(
                "* 3 FETCH (UID 10 FLAGS () RFC822.SIZE 9 EMAILID (M1))\r\n* 4 FETCH (UID 11 RFC822.SIZE 1)\r\n$4 OK\r\n",
            ),
        ];
        let (listing, found) =
            since("QRESYNC ENABLE CONDSTORE OBJECTID", Some(now), &[3], script).expect("listed");
        assert_eq!(numbers(&found), [2, 3, 10].map(SourceId::Number), "what came later is the next pass's");
        assert!(found[0].flags.seen && found[2].object != 0);
        assert_eq!(vanished(&listing), (vec![1, 4, 5], false));
        assert_eq!((listing.next, listing.modseq, listing.messages), (11, 8, 3));
    }

    #[test]
    fn with_condstore_a_search_is_made_only_if_the_count_tells_that_something_went() {
        let now = Counters { next: 10, modseq: 8, ..THEN };
        let asked = |exists: u32| {
            vec![
                expect("EXAMINE \"x\" (CONDSTORE)"),
                expect("UID FETCH 1:8 (UID FLAGS) (CHANGEDSINCE 5)"),
                expect("UID FETCH 9:4294967295 "),
                examined(exists, 10, "HIGHESTMODSEQ 8", "", 1),
                send("* 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (7))\r\n$2 OK\r\n"),
                send("* 3 FETCH (UID 9 FLAGS () RFC822.SIZE 9)\r\n$3 OK\r\n"),
            ]
        };
        let (listing, found) = since("CONDSTORE", Some(now), &[], asked(4)).expect("listed");
        assert_eq!(
            (numbers(&found), vanished(&listing)),
            ([2, 9].map(SourceId::Number).to_vec(), (vec![], false))
        );
        let mut script = asked(3);
        script.extend([expect("UID SEARCH UID 1:8 ALL"), send("* SEARCH 2 8\r\n$ OK\r\n")]);
        let (listing, _) = since("CONDSTORE", Some(now), &[], script).expect("listed");
        assert_eq!(vanished(&listing), (vec![1, 3, 4, 5, 6, 7], false));
    }

    #[test]
    fn without_either_flags_are_declared_stale_and_the_count_proves_the_rest() {
        let now = Counters { modseq: 0, ..THEN };
        let script = vec![expect("EXAMINE \"x\""), examined(3, 9, "UNSEEN 1", "", 1)];
        let (listing, found) = since("", Some(now), &[], script).expect("listed");
        assert_eq!((found.len(), vanished(&listing)), (0, (vec![], true)));
        let script = vec![
            expect("EXAMINE \"x\""),
            examined(2, 9, "UNSEEN 1", "", 1),
            expect("UID SEARCH RETURN (ALL COUNT MIN MAX) UID 1:8 ALL"),
            send("* ESEARCH (TAG \"m2\") UID ALL 1,3:4\r\n$ OK\r\n"),
        ];
        let (listing, _) = since("ESEARCH", Some(now), &[], script).expect("listed");
        assert_eq!(vanished(&listing), (vec![2, 5, 6, 7, 8], true));
    }

    #[test]
    fn a_server_that_contradicts_itself_has_all_of_the_folder_listed() {
        let all = || {
            vec![
                expect("UID FETCH 1:8 (UID FLAGS INTERNALDATE RFC822.SIZE)"),
                send(
                    "* 1 FETCH (UID 2 RFC822.SIZE 1)\r\n* 2 FETCH (UID 5 RFC822.SIZE 1)\r\n* 3 FETCH (UID 8 RFC822.SIZE 1)\r\n$ OK\r\n",
                ),
            ]
        };
        for (exists, modseq) in [(3, "HIGHESTMODSEQ 4"), (3, "NOMODSEQ"), (4, "HIGHESTMODSEQ 5")] {
            let mut script = vec![
                expect("EXAMINE \"x\" (CONDSTORE)"),
                expect("UID FETCH 1:8 (UID FLAGS) (CHANGEDSINCE 5)"),
                examined(exists, 9, modseq, "", 1),
                send("$2 OK\r\n"),
            ];
            script.extend(all());
            let short = exists > 3;
            if short {
                script.extend([expect("NOOP"), send("* 4 EXPUNGE\r\n$ OK\r\n")]);
            }
            let (listing, found) = since("CONDSTORE", None, &[], script).expect("listed");
            assert_eq!((listing.extent, found.len()), (Extent::Whole, 3), "{modseq}");
        }
    }

    #[test]
    fn a_server_that_does_not_take_the_qresync_it_offers_has_all_of_the_folder_listed() {
        let script = vec![
            expect("ENABLE QRESYNC"),
            send("* ENABLED QRESYNC\r\n$ OK\r\n"),
            expect("EXAMINE \"x\" (QRESYNC"),
            send("$ BAD what?\r\n"),
            expect("EXAMINE \"x\""),
            send(&EXAMINED.replace("* 3", "* 1")),
            expect("UID FETCH 1:8 "),
            send("* 1 FETCH (UID 8 RFC822.SIZE 1)\r\n$ OK\r\n"),
        ];
        let (listing, found) = since("QRESYNC ENABLE", None, &[], script).expect("listed");
        assert_eq!((listing.extent, found.len()), (Extent::Whole, 1));
    }

    #[test]
    fn a_small_folder_is_opened_and_listed_in_one_go() {
        on_a_runtime(async {
            let script = vec![
                expect("EXAMINE \"x\""),
                expect("UID FETCH 1:8 (UID"),
                send(&EXAMINED.replace('$', "$1")),
                send(
                    "* 1 FETCH (UID 2 RFC822.SIZE 1)\r\n* 2 FETCH (UID 3 RFC822.SIZE 1)\r\n* 3 FETCH (UID 8 RFC822.SIZE 1)\r\n$2 OK\r\n",
                ),
            ];
            let (session, _peer) = session_with("", script);
            let folder = Folder { name: b"x", counters: Some(THEN), window: 100 };
            let mut found = Vec::new();
            list(&session, &folder, None, None, &mut |l| found.push(l)).await.expect("listed");
            assert_eq!((found.len(), session.round_trips()), (3, 1));
        });
    }
}
