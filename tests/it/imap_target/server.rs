//! What a real Dovecot makes of folders, roles, flags, dates and octets.

use std::sync::Arc;

use mailwave::env::Env;
use mailwave::imap::{Credentials, MasterForm};
use mailwave::limit::Gate;
use mailwave::model::{Flags, Outcome, SpecialUse, Timestamp};
use mailwave::target::imap::{ImapTarget, ImapTargetSettings};
use mailwave::target::{FolderWanted, StoreItem, Target, TargetFolderId, TargetMailbox};

use super::{USER, held, names, settings};
use crate::contract_target::{id, item, path, wanted};
use crate::support::dovecot::{Dovecot, Options};

async fn open(settings: ImapTargetSettings) -> Arc<dyn TargetMailbox> {
    let env = Env::system();
    let target = ImapTarget::new(env.clone(), settings).expect("settings");
    target.open(USER, "", Gate::unlimited(&env)).await.expect("open")
}

async fn store(
    mailbox: &Arc<dyn TargetMailbox>,
    folder: &TargetFolderId,
    items: Vec<StoreItem>,
) -> Vec<Outcome> {
    let sizes: Vec<u64> = items.iter().map(|i| i.body.len()).collect();
    let ticket = Gate::unlimited(&Env::system()).reserve(mailbox.cost(&sizes)).await;
    mailbox.store(folder, items, ticket).await
}

fn losses(outcome: &Outcome) -> Vec<&'static str> {
    match outcome {
        Outcome::Stored { losses, .. } => losses.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn folders_keep_their_names_where_the_server_takes_them() {
    let shapes = [('/', ""), ('.', "INBOX."), ('.', ""), ('/', "Mail/")];
    for (separator, prefix) in shapes {
        let options = Options { separator, prefix: prefix.to_owned(), ..Options::default() };
        let Some(dovecot) = Dovecot::with(&options) else { return };
        let mailbox = open(settings(&dovecot)).await;
        let plain: [&[&str]; 9] = [
            &["quote\"d"],
            &["50% Rabatt"],
            &["back\\slash"],
            &[" leading blanks"],
            &["😀 Smile"],
            &["Entwürfe"],
            &["A & B"],
            &["star*"],
            &["one", "two", "three", "vier & fünf"],
        ];
        let mut client = dovecot.client(USER);
        for folder in plain {
            let made = mailbox.folder(&wanted(folder)).await.expect("folder");
            assert_eq!(made.0.as_bytes(), client.wire(folder), "separator {separator}, prefix {prefix:?}");
            let outcome = store(&mailbox, &made, vec![item(1, 1, b"A: 1\r\n\r\n", "", Some(1))]).await;
            id(&outcome[0]);
        }
        let there = names(&mut client);
        for parent in [&["one"][..], &["one", "two"]] {
            let wire = client.wire(parent);
            assert!(!there.contains(&wire), "the way to a folder is not made into one");
        }
        let (subscribed, _) = client.run(&[b"LSUB \"\" \"*\""]);
        assert!(String::from_utf8_lossy(&subscribed).contains("50% Rabatt"));
    }
}

#[tokio::test]
async fn roles_lead_to_the_folders_that_have_them_and_none_is_doubled() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client(USER);
    client.create(&["Sent"]);
    let mailbox = open(settings(&dovecot)).await;
    let special =
        |names: &[&str], role| FolderWanted { path: path(names), special: Some(role), subscribed: None };
    let get = |wanted: FolderWanted| {
        let mailbox = mailbox.clone();
        async move { mailbox.folder(&wanted).await.expect("folder").0 }
    };
    assert_eq!(get(special(&["Gesendete Objekte"], SpecialUse::Sent)).await, "Sent");
    assert_eq!(get(special(&["INBOX", "Sent Items"], SpecialUse::Sent)).await, "Sent");
    assert_eq!(get(special(&["Projekt", "Gesendet"], SpecialUse::Sent)).await, "Projekt/Gesendet");
    // Dovecot gives these roles to folders that are not there yet.
    let drafts = get(special(&["Entwürfe"], SpecialUse::Drafts)).await;
    assert!(drafts == "Drafts" || drafts == "Entw&APw-rfe", "{drafts}");
    assert_eq!(get(special(&["Alles"], SpecialUse::All)).await, "Alles", "a view is no role here");
    assert_eq!(get(special(&["Posteingang"], SpecialUse::Inbox)).await, "INBOX");
    let again = open(settings(&dovecot)).await;
    assert_eq!(again.folder(&special(&["Entwürfe"], SpecialUse::Drafts)).await.expect("folder").0, drafts);
}

#[tokio::test]
async fn a_container_becomes_a_folder_only_when_it_is_wanted_as_one() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mut client = dovecot.client(USER);
    client.create(&["top", "leaf"]);
    let mailbox = open(settings(&dovecot)).await;
    assert!(!names(&mut client).contains(&b"top".to_vec()));
    let top = mailbox.folder(&wanted(&["top"])).await.expect("folder");
    assert_eq!(top.0, "top");
    id(&store(&mailbox, &top, vec![item(1, 1, b"A: 1\r\n\r\n", "", Some(1))]).await[0]);
    assert_eq!(held(&mut client, b"top").len(), 1);
}

#[tokio::test]
async fn dates_are_exact_in_every_zone_and_a_change_by_the_server_is_told() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let dates =
        [(0, 0), (1, 90), (951_782_400, -720), (1_700_000_000, 345), (2_524_608_000, 0), (4_102_444_799, 60)];
    let items: Vec<StoreItem> = (1u64..)
        .zip(dates)
        .map(|(n, (seconds, zone))| {
            let text = format!("Subject: {n}\r\n\r\nx\r\n");
            StoreItem {
                received: Some(Timestamp { seconds, zone }),
                ..item(1, n, text.as_bytes(), "S", None)
            }
        })
        .collect();
    let outcomes = store(&mailbox, &inbox, items).await;
    let held = held(&mut dovecot.client(USER), b"INBOX");
    for ((outcome, (seconds, _)), (_, held)) in outcomes.iter().zip(dates).zip(&held) {
        let changed = held.received != seconds;
        assert_eq!(
            losses(outcome).contains(&"date-changed-by-server"),
            changed,
            "{seconds}: {}",
            held.received
        );
        assert!(seconds > 1_800_000_000 || !changed, "{seconds} became {}", held.received);
    }
}

#[tokio::test]
async fn octets_the_server_changes_are_told_and_all_others_are_kept() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let texts: [&[u8]; 8] = [
        b"Subject: plain\r\n\r\nx\r\n",
        b"Subject: nul\r\n\r\na\0b\r\n",
        b"Subject: bare\r\n\r\na\nb\r\n",
        b"Subject: cr\r\n\r\na\rb\r\n",
        b"Subject: \xe4\xff\r\n\r\nx\r\n",
        b"no header at all",
        b"Subject: no blank line\r\n",
        b"\r\n\r\n",
    ];
    let items = (1u64..).zip(texts).map(|(n, t)| item(1, n, t, "", Some(1_700_000_000))).collect();
    let outcomes = store(&mailbox, &inbox, items).await;
    let held = held(&mut dovecot.client(USER), b"INBOX");
    assert_eq!(held.len(), texts.len());
    for ((outcome, text), (_, held)) in outcomes.iter().zip(texts).zip(&held) {
        let changed = held.octets.as_deref() != Some(text);
        assert_eq!(
            losses(outcome).contains(&"octets-changed-by-server"),
            changed,
            "{text:?} {:?}",
            held.octets
        );
    }
    assert_eq!(losses(&outcomes[0]), Vec::<&str>::new());
}

#[tokio::test]
async fn keywords_arrive_as_they_are_and_what_is_none_is_told() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let long = "k".repeat(200);
    let mut flags = Flags::decode("S $Forwarded $MDNSent NonJunk $label1");
    flags.keywords.insert("not(one".to_owned());
    let items = vec![
        item(1, 1, b"A: 1\r\n\r\n", "S $Forwarded $MDNSent NonJunk $label1", Some(1)),
        StoreItem { flags, ..item(1, 2, b"A: 2\r\n\r\n", "", Some(1)) },
        item(1, 3, b"A: 3\r\n\r\n", &format!("F {long}"), Some(1)),
    ];
    let outcomes = store(&mailbox, &inbox, items).await;
    let held = held(&mut dovecot.client(USER), b"INBOX");
    let four = "S $Forwarded $MDNSent $label1 NonJunk";
    assert_eq!((losses(&outcomes[0]), held[0].1.flags.as_str()), (vec![], four));
    assert_eq!((losses(&outcomes[1]), held[1].1.flags.as_str()), (vec!["keywords"], four));
    let kept = held[2].1.flags.contains(&long);
    assert_eq!(losses(&outcomes[2]).contains(&"keywords"), !kept, "{outcomes:?}");
    assert!(held[2].1.flags.starts_with('F'));
}

#[tokio::test]
async fn many_keywords_in_a_folder_are_kept_as_far_as_they_go() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let items = (1..=60).map(|n| item(1, n, b"A: 1\r\n\r\n", &format!("S key{n}"), Some(1))).collect();
    let outcomes = store(&mailbox, &inbox, items).await;
    let held = held(&mut dovecot.client(USER), b"INBOX");
    for (n, (outcome, (_, held))) in outcomes.iter().zip(&held).enumerate() {
        let kept = held.flags == format!("S key{}", n + 1);
        assert_eq!(losses(outcome).contains(&"keywords"), !kept, "{n}: {} {outcome:?}", held.flags);
    }
}

#[tokio::test]
async fn a_master_user_writes_into_the_mailbox_it_names() {
    let Some(dovecot) = Dovecot::start() else { return };
    let (user, password) = dovecot.master.clone();
    let mut settings = settings(&dovecot);
    settings.server.credentials =
        Credentials::Master { user, password: password.into(), form: MasterForm::AuthorisationId };
    let mailbox = open(settings).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    id(&store(&mailbox, &inbox, vec![item(1, 1, b"A: 1\r\n\r\n", "", Some(1))]).await[0]);
    assert_eq!(held(&mut dovecot.client(USER), b"INBOX").len(), 1);
}

#[tokio::test]
async fn a_steady_stream_of_batches_costs_one_round_trip_each_and_anchors_none() {
    let Some(dovecot) = Dovecot::start() else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let batch = |k: u64| (0..20).map(|n| item(1, k * 100 + n, b"A: 1\r\n\r\nx\r\n", "S", Some(1))).collect();
    for k in 0..2 {
        store(&mailbox, &inbox, batch(k)).await;
    }
    let before = mailbox.round_trips();
    for k in 2..7 {
        mailbox.anchor(&inbox).await.expect("anchor");
        store(&mailbox, &inbox, batch(k)).await;
    }
    assert_eq!(mailbox.round_trips() - before, 5);
    let before = mailbox.round_trips();
    mailbox.marks().await.expect("marks");
    assert_eq!(mailbox.round_trips() - before, 1);
}

#[tokio::test]
async fn a_mailbox_that_is_full_is_told_as_full() {
    let options = Options { quota: Some(3_000), ..Options::default() };
    let Some(dovecot) = Dovecot::with(&options) else { return };
    let mailbox = open(settings(&dovecot)).await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let text = format!("A: 1\r\n\r\n{}\r\n", "x".repeat(500));
    let batch = |from: u64| (from..from + 4).map(|n| item(1, n, text.as_bytes(), "S", Some(1))).collect();
    let first = store(&mailbox, &inbox, batch(0)).await;
    assert!(first.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{first:?}");
    let second = store(&mailbox, &inbox, batch(10)).await;
    for outcome in &second {
        assert!(
            matches!(outcome, Outcome::NotSent(e) if e.kind == mailwave::model::Kind::Quota),
            "{outcome:?}"
        );
    }
    assert_eq!(held(&mut dovecot.client(USER), b"INBOX").len(), 4, "all of a batch or nothing");
}
