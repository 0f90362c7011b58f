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
