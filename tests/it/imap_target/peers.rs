//! Servers that offer less than Dovecot, or refuse.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::env::Env;
use mailwave::imap::{Credentials, Server, TlsMode};
use mailwave::limit::Gate;
use mailwave::model::{Kind, Outcome, Scope, Status};
use mailwave::target::imap::{ImapTarget, ImapTargetSettings};
use mailwave::target::{CopyIds, CopyRef, StoreItem, Target, TargetFolderId, TargetMailbox};

use super::peer::{Mail, Manner, Peer};
use crate::contract_target::{id, item, wanted};

pub const ALL: &str = "UIDPLUS MULTIAPPEND LITERAL+ MOVE";

pub struct Desk {
    pub peer: Peer,
    pub mailbox: Arc<dyn TargetMailbox>,
    pub inbox: TargetFolderId,
}

pub async fn desk(manner: Manner) -> Desk {
    desk_with(manner, |_| {}).await
}

async fn desk_with(manner: Manner, change: impl FnOnce(&mut ImapTargetSettings)) -> Desk {
    let peer = Peer::start(manner);
    let mut settings = ImapTargetSettings::of(Server {
        port: peer.port,
        tls: TlsMode::Plain,
        ..Server::new("127.0.0.1", Credentials::Fixed { password: "x".into() })
    });
    change(&mut settings);
    let env = Env::system();
    let target = ImapTarget::new(env.clone(), settings).expect("settings");
    let mailbox = target.open("anna", "", Gate::unlimited(&env)).await.expect("open");
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    Desk { peer, mailbox, inbox }
}

impl Desk {
    pub async fn store(&self, items: Vec<StoreItem>) -> Vec<Outcome> {
        self.store_in(&self.inbox, items).await
    }

    async fn store_in(&self, folder: &TargetFolderId, items: Vec<StoreItem>) -> Vec<Outcome> {
        let sizes: Vec<u64> = items.iter().map(|i| i.body.len()).collect();
        let ticket = Gate::unlimited(&Env::system()).reserve(self.mailbox.cost(&sizes)).await;
        self.mailbox.store(folder, items, ticket).await
    }

    /// Each stored message lies under its id.
    fn check(&self, items: &[StoreItem], outcomes: &[Outcome]) {
        let mail = self.peer.mail("INBOX");
        for (item, outcome) in items.iter().zip(outcomes) {
            let uid = id(outcome).split('.').nth(1).expect("a UID").parse::<u32>().expect("a number");
            let found = mail.iter().find(|m| m.uid == uid).expect("it is there");
            assert_eq!(found.octets, item.body.bytes().expect("octets"));
        }
        assert_eq!(mail.len(), items.len());
    }
}

pub fn some(n: u64) -> Vec<StoreItem> {
    (1..=n)
        .map(|k| item(1, k, format!("Subject: {}\r\n\r\nx\r\n", k / 2).as_bytes(), "S", Some(1_700_000_000)))
        .collect()
}

pub fn holds(mail: &[Mail], text: &str) -> bool {
    mail.iter().any(|m| m.octets.windows(text.len()).any(|w| w == text.as_bytes()))
}

#[tokio::test]
async fn what_is_offered_is_used_and_what_is_not_is_done_without() {
    // Offers, and how many APPENDs ten messages take.
    for (offer, appends) in [
        (ALL, 1),
        ("UIDPLUS MULTIAPPEND LITERAL-", 1),
        ("UIDPLUS MULTIAPPEND", 1),
        ("UIDPLUS LITERAL+", 10),
        ("UIDPLUS", 10),
        ("MULTIAPPEND LITERAL+", 1),
        ("LITERAL+", 10),
        ("", 10),
    ] {
        let desk = desk(Manner::offering(offer)).await;
        let items = some(10);
        let outcomes = desk.store(items.clone()).await;
        desk.check(&items, &outcomes);
        assert_eq!(desk.peer.count("APPEND"), appends, "{offer}");
        assert_eq!(desk.mailbox.capabilities().moves, offer.contains("UIDPLUS"), "{offer}");
    }
}

#[tokio::test]
async fn a_server_that_keeps_quiet_about_uids_it_promised_is_looked_at() {
    let desk = desk(Manner { tells: false, ..Manner::offering(ALL) }).await;
    // Somebody else's mail comes in between: the sizes alone do not tell.
    {
        let mut state = desk.peer.state.lock().expect("state");
        let inbox = state.folders.get_mut("INBOX").expect("inbox");
        let octets = some(1)[0].body.bytes().expect("octets").to_vec();
        let date = "14-Nov-2023 22:13:20 +0000".to_owned();
        inbox.mail.push(Mail {
            uid: 1,
            flags: String::new(),
            date,
            octets: [&octets[..], b"more\r\n"].concat(),
        });
        inbox.next = 2;
    }
    let outcomes = desk.store(some(4)).await;
    let ids: BTreeSet<String> = outcomes.iter().map(id).collect();
    assert_eq!(ids, ["7.2", "7.3", "7.4", "7.5"].map(str::to_owned).into());
}

#[tokio::test]
async fn of_a_batch_refused_for_one_message_only_that_one_stays_behind() {
    for answer in ["NO [TOOBIG] no", "NO no", "BAD what", "NO [CANNOT] Message contains NUL characters"] {
        let manner = Manner::offering(ALL)
            .judging(move |_, mail| holds(mail, "Subject: 2\r").then(|| answer.to_owned()));
        let desk = desk(manner).await;
        let outcomes = desk.store(some(6)).await; // 4 and 5 have subject 2
        let refused: Vec<usize> = (0..6).filter(|n| matches!(&outcomes[*n], Outcome::Refused(_))).collect();
        assert_eq!(refused, [3, 4], "{answer}: {outcomes:?}");
        assert_eq!(desk.peer.mail("INBOX").len(), 4);
        let Outcome::Refused(error) = &outcomes[3] else { panic!("refused") };
        let kind = if answer.contains("TOOBIG") { Kind::TooLarge } else { Kind::Refused };
        assert_eq!((error.kind, error.scope), (kind, Scope::Message));
        assert!(!error.remedy.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_takes_no_bare_line_ends_gets_crlf_and_it_is_told() {
    let bare =
        |mail: &[Mail]| mail.iter().any(|m| m.octets.windows(2).any(|w| w[1] == b'\n' && w[0] != b'\r'));
    let manner = Manner::offering(ALL)
        .judging(move |_, mail| bare(mail).then(|| "NO Message contains bare newlines".to_owned()));
    let desk = desk(manner).await;
    let items = vec![
        item(1, 1, b"A: 1\r\n\r\nx\r\n", "S", Some(1)),
        item(1, 2, b"A: 2\n\nx\ry\n", "S work", Some(1)),
    ];
    let outcomes = desk.store(items).await;
    let told = |n: usize| match &outcomes[n] {
        Outcome::Stored { losses, .. } => losses.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((told(0), told(1)), (vec![], vec!["line-ends"]));
    let mail = desk.peer.mail("INBOX");
    assert_eq!(mail[1].octets, b"A: 2\r\n\r\nx\ry\r\n");
    assert_eq!(mail[1].flags, "\\Seen work");
}

#[tokio::test]
async fn a_server_that_refuses_everything_without_a_reason_has_trouble_and_no_message_is_to_blame() {
    let desk = desk(Manner::offering(ALL).judging(|_, _| Some("NO no".to_owned()))).await;
    let outcomes = desk.store(some(20)).await;
    assert!(
        outcomes.iter().all(|o| matches!(o, Outcome::NotSent(e) if e.status == Status::Temporary)),
        "{outcomes:?}"
    );
    // A message that is alone in its folder is given up after some tries.
    let mut last = Vec::new();
    for _ in 0..3 {
        last = desk.store(vec![item(1, 99, b"Subject: alone\r\n\r\n", "", None)]).await;
    }
    assert!(matches!(&last[..], [Outcome::Refused(_)]), "{last:?}");
}

#[tokio::test]
async fn a_lie_about_multiappend_is_remembered() {
    let manner = Manner::offering(ALL).judging(|_, mail| (mail.len() > 1).then(|| "BAD what".to_owned()));
    let desk = desk(manner).await;
    for _ in 0..2 {
        let outcomes = desk.store(some(5)).await;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{outcomes:?}");
    }
    // Once as it is, once with literals that are asked about, then each alone.
    assert_eq!(desk.peer.count("APPEND"), 2 + 5 + 5);
}

#[tokio::test]
async fn a_full_mailbox_stops_the_batch_and_loses_nothing() {
    let manner = Manner::offering("UIDPLUS LITERAL+")
        .judging(|_, mail| holds(mail, "Subject: 2\r").then(|| "NO [OVERQUOTA] full".to_owned()));
    let desk = desk(manner).await;
    let outcomes = desk.store(some(40)).await;
    assert_eq!(outcomes.len(), 40);
    let error = match &outcomes[3] {
        Outcome::NotSent(error) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!((error.kind, error.scope, error.status), (Kind::Quota, Scope::Mailbox, Status::Temporary));
    assert!(error.remedy.contains("more space"));
    let stored = outcomes.iter().filter(|o| matches!(o, Outcome::Stored { .. })).count();
    assert_eq!(desk.peer.mail("INBOX").len(), stored);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. } | Outcome::NotSent(_))));
}

#[tokio::test]
async fn a_server_that_is_asked_too_much_is_left_alone() {
    let manner = Manner::offering(ALL).judging(|_, _| {
        Some("NO Request is throttled. Suggested Backoff Time: 7000 milliseconds".to_owned())
    });
    let desk = desk(manner).await;
    for outcome in desk.store(some(3)).await {
        let Outcome::NotSent(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!(
            (error.status, error.retry_after),
            (Status::Throttled, Some(std::time::Duration::from_secs(7)))
        );
    }
    assert_eq!(desk.peer.count("APPEND"), 1);
}

#[tokio::test]
async fn a_folder_that_is_gone_is_made_again_when_asked_for() {
    let desk = desk(Manner::offering(ALL)).await;
    let work = desk.mailbox.folder(&wanted(&["Work"])).await.expect("folder");
    desk.peer.state.lock().expect("state").folders.remove("Work");
    for outcome in desk.store_in(&work, some(2)).await {
        let Outcome::NotSent(error) = outcome else { panic!("{outcome:?}") };
        assert_eq!((error.kind, error.scope), (Kind::NotFound, Scope::Folder));
    }
    assert_eq!(desk.mailbox.folder(&wanted(&["Work"])).await.expect("folder"), work);
    let outcomes = desk.store_in(&work, some(2)).await;
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{outcomes:?}");
}

#[tokio::test]
async fn keywords_a_folder_does_not_keep_are_left_out_and_told() {
    let manner = Manner { permanent: "\\Seen $forwarded".to_owned(), ..Manner::offering(ALL) };
    let desk = desk(manner).await;
    let items = vec![
        item(1, 1, b"A: 1\r\n\r\n", "FS $Forwarded work", Some(1)),
        item(1, 2, b"A: 2\r\n\r\n", "S $Forwarded", Some(1)),
    ];
    let outcomes = desk.store(items).await;
    let losses = |n: usize| match &outcomes[n] {
        Outcome::Stored { losses, .. } => losses.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((losses(0), losses(1)), (vec!["flags", "keywords"], vec![]));
    let flags: Vec<String> = desk.peer.mail("INBOX").into_iter().map(|m| m.flags).collect();
    assert_eq!(flags, ["\\Seen $forwarded", "\\Seen $forwarded"]);
}

#[tokio::test]
async fn keywords_a_folder_has_no_room_for_are_left_out_where_they_do_not_fit() {
    let manner = Manner::offering(ALL).judging(|_, mail| {
        mail.iter().any(|m| m.flags.contains("new")).then(|| "NO [LIMIT] too many keywords".to_owned())
    });
    let desk = desk(manner).await;
    let items =
        vec![item(1, 1, b"A: 1\r\n\r\n", "S old", Some(1)), item(1, 2, b"A: 2\r\n\r\n", "S new", Some(1))];
    let outcomes = desk.store(items).await;
    let lost = |n: usize| matches!(&outcomes[n], Outcome::Stored { losses, .. } if losses == &["keywords"]);
    assert!(!lost(0) && lost(1), "{outcomes:?}");
    let flags: Vec<String> = desk.peer.mail("INBOX").into_iter().map(|m| m.flags).collect();
    assert_eq!(flags, ["\\Seen old", "\\Seen"]);
}

#[tokio::test]
async fn a_goodbye_leaves_unknown_what_was_sent_and_nothing_else() {
    let left = Arc::new(AtomicUsize::new(1));
    let counter = left.clone();
    let manner = Manner::offering("UIDPLUS LITERAL+").judging(move |_, mail| {
        let now = holds(mail, "Subject: 1\r")
            && counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        now.then(|| "BYE shutting down".to_owned())
    });
    let desk = desk(manner).await;
    let outcomes = desk.store(some(40)).await;
    assert!(matches!(&outcomes[0], Outcome::Stored { .. }));
    assert!(matches!(&outcomes[1], Outcome::Unknown(_)), "{outcomes:?}");
    // Those sent behind it are unknown too; those that never left are not.
    assert!(matches!(&outcomes[39], Outcome::NotSent(_)), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|o| matches!(o, Outcome::Unknown(_) | Outcome::NotSent(_))));
    let again = desk.store(vec![item(1, 50, b"Subject: after\r\n\r\n", "", None)]).await;
    assert!(matches!(&again[..], [Outcome::Stored { .. }]), "a new session serves the next batch");
}

async fn moved(desk: &Desk) -> (TargetFolderId, Vec<CopyRef>, Vec<mailwave::model::Result<String>>) {
    let work = desk.mailbox.folder(&wanted(&["Work"])).await.expect("folder");
    let copies: Vec<CopyRef> =
        desk.store(some(4)).await.iter().map(|o| CopyRef { folder: desk.inbox.clone(), id: id(o) }).collect();
    let results = desk.mailbox.relocate(&[copies[0].clone(), copies[2].clone()], &work).await;
    (work, copies, results)
}

#[tokio::test]
async fn moves_work_without_move_and_without_a_word_about_where() {
    for (offer, tells) in [(ALL, true), (ALL, false), ("UIDPLUS", true), ("MOVE", true)] {
        let desk = desk(Manner { tells, ..Manner::offering(offer) }).await;
        let (work, copies, results) = moved(&desk).await;
        let ids: Vec<String> = results.into_iter().map(|r| r.expect("moved")).collect();
        assert_eq!(ids, ["9.1", "9.2"], "{offer}");
        let there: Vec<Vec<u8>> = desk.peer.mail("Work").into_iter().map(|m| m.octets).collect();
        let items = some(4);
        assert_eq!(there, [0, 2].map(|n| items[n].body.bytes().expect("octets").to_vec()), "{offer}");
        assert_eq!(desk.peer.mail("INBOX").len(), 2, "{offer}");
        let new = CopyRef { folder: work, id: ids[0].clone() };
        let seen = desk.mailbox.look(&[copies[0].clone(), new]).await.expect("look");
        assert!(seen[0].is_none() && seen[1].is_some(), "{offer}");
    }
}

#[tokio::test]
async fn removed_copies_go_to_the_trash_or_are_expunged_and_others_marks_are_not_touched() {
    for expunge in [false, true] {
        let desk = desk_with(Manner::offering(ALL), |s| s.expunge_removed = expunge).await;
        let mut items = some(3);
        items[1].flags.deleted = true; // marked by its owner, and not ours to expunge
        let outcomes = desk.store(items).await;
        let copy = |n: usize| CopyRef { folder: desk.inbox.clone(), id: id(&outcomes[n]) };
        assert!(desk.mailbox.remove(&[copy(0)]).await[0].is_ok());
        let left: Vec<u32> = desk.peer.mail("INBOX").iter().map(|m| m.uid).collect();
        assert_eq!(left, [2, 3]);
        let trash = desk.peer.state.lock().expect("state").folders.get("Trash").map_or(0, |f| f.mail.len());
        assert_eq!(trash, usize::from(!expunge));
        assert_eq!(desk.peer.count("EXPUNGE") + desk.peer.count("CLOSE"), 0, "no plain EXPUNGE");
    }
    // Without UIDPLUS nothing can be expunged alone: it is marked.
    let desk = desk_with(Manner::offering(""), |s| s.expunge_removed = true).await;
    let outcomes = desk.store(some(1)).await;
    let copy = CopyRef { folder: desk.inbox.clone(), id: id(&outcomes[0]) };
    assert!(desk.mailbox.remove(&[copy]).await[0].is_ok());
    assert_eq!(desk.peer.mail("INBOX")[0].flags, "\\Seen \\Deleted");
}

#[tokio::test]
async fn a_message_larger_than_the_server_says_is_not_sent() {
    let desk = desk(Manner::offering(&format!("{ALL} APPENDLIMIT=100"))).await;
    assert_eq!(desk.mailbox.capabilities().max_message_bytes, 100);
    let text = format!("Subject: big\r\n\r\n{}\r\n", "x".repeat(100));
    let outcomes = desk.store(vec![item(1, 1, text.as_bytes(), "", None)]).await;
    assert!(matches!(&outcomes[..], [Outcome::Refused(e)] if e.kind == Kind::TooLarge));
    assert_eq!(desk.peer.count("APPEND"), 0);
}

#[tokio::test]
async fn a_folder_numbered_anew_is_a_conflict() {
    let desk = desk(Manner::offering(ALL)).await;
    let anchor = desk.mailbox.anchor(&desk.inbox).await.expect("anchor");
    let outcomes = desk.store(some(2)).await;
    desk.peer.state.lock().expect("state").folders.get_mut("INBOX").expect("inbox").validity = 8;
    desk.mailbox.release().await; // an open folder would not tell
    let since = desk.mailbox.stored_since(&desk.inbox, &anchor, &CopyIds::default()).await;
    assert_eq!(since.expect_err("numbered anew").kind, Kind::Conflict);
    let copies: Vec<CopyRef> =
        outcomes.iter().map(|o| CopyRef { folder: desk.inbox.clone(), id: id(o) }).collect();
    assert_eq!(desk.mailbox.look(&copies).await.expect_err("numbered anew").kind, Kind::Conflict);
    let flags = mailwave::model::Flags::decode("F");
    let results = desk.mailbox.set_flags(&[(copies[0].clone(), flags)]).await;
    assert_eq!(results[0].as_ref().expect_err("gone").kind, Kind::NotFound);
    assert!(
        desk.peer.mail("INBOX").iter().all(|m| !m.flags.contains("Flagged")),
        "no other message is touched"
    );
}
