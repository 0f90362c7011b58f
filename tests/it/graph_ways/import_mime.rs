//! Write mode `import-mime`: what it keeps, what it leaves to the next mode, and that nothing is lost or doubled by a cut.

use mailwave::mock::graph::Fault;
use mailwave::model::WriteMode;

use super::trials::{cut_after, once, settle, store_with};
use super::*;

const HEADER: &str = "String {00020386-0000-0000-c000-000000000046} Name x-mailwave-stamp";

fn importing() -> GraphOptions {
    GraphOptions { import_mime: true, mail_advanced: true, ..GraphOptions::default() }
}

fn modes(modes: &[WriteMode]) -> GraphSettings {
    GraphSettings { modes: modes.to_vec(), ..settings() }
}

fn both() -> GraphSettings {
    modes(&[WriteMode::ImportMime, WriteMode::Json])
}

#[track_caller]
fn how(outcome: &Outcome) -> (WriteMode, &[&'static str]) {
    match outcome {
        Outcome::Stored { mode, losses, .. } => (*mode, losses),
        other => panic!("not stored: {other:?}"),
    }
}

/// The stamp of a message that is done, and whether its header says the same.
fn stamped(m: &MessageTruth) -> Option<String> {
    let done = m.named.values().find_map(|v| v.strip_suffix("/done"))?;
    let header = m.named.get(HEADER);
    assert!(header.is_none_or(|h| *h == format!("{done}/open")), "{header:?}");
    Some(done.to_owned())
}

fn number(m: &MessageTruth) -> u64 {
    stamped(m).expect("a stamp").parse::<Stamp>().expect("one of ours").number
}

#[tokio::test(start_paused = true)]
async fn messages_keep_their_octets_and_get_flags_and_stamps_by_few_requests() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(both()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    desk.sent();
    let items: Vec<StoreItem> =
        (1..=20).map(|n| item(n, &plain(n), if n % 2 == 0 { "FRS $Forwarded work" } else { "" })).collect();
    let outcomes = store(&mailbox, &gate, &folder, items).await;
    assert!(
        outcomes
            .iter()
            .all(|o| how(o) == (WriteMode::ImportMime, &["received-not-kept", "stamp-header"][..]))
    );
    let sent = desk.sent();
    assert_eq!(sent.len(), 20 + 1 + 1, "20 imports, one proof that the header is found, one batch");
    assert!(sent[0].url.starts_with("https://graph.test/beta/users/") && sent[0].method == "POST");
    let messages = desk.messages();
    assert_eq!(messages.len(), 20);
    for m in &messages {
        let number = number(m);
        let line = format!("x-mailwave-stamp: {}/open\r\n", stamp(number));
        let blanks = " ".repeat((3 - line.len() % 3) % 3);
        let octets = [line.replacen(": ", &format!(":{blanks} "), 1).into_bytes(), plain(number)].concat();
        assert_eq!(
            m.mime_digest.as_deref(),
            Some(blake3::hash(&octets).to_hex().as_str()),
            "octets are kept"
        );
        assert!(!m.is_draft && m.is_read == (number.is_multiple_of(2)));
        assert_eq!(m.flag == "flagged", number.is_multiple_of(2));
        assert_eq!(m.sent, "2015-01-01T00:00:00Z");
    }
    let found = mailbox.find(&all_stamps()).await.expect("complete");
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|c| c.complete && c.flags.answered == (c.stamp.number.is_multiple_of(2))));
    desk.check();
}

#[tokio::test(start_paused = true)]
async fn a_received_date_that_is_not_kept_is_declared_and_one_that_is_is_not() {
    for (keeps_date, patch_dates, declared) in
        [(false, false, true), (true, false, true), (false, true, false), (true, true, false)]
    {
        let options = GraphOptions {
            import_mime_keeps_date: keeps_date,
            patch_dates,
            import_mime_read: false,
            ..importing()
        };
        let desk = Desk::new(options);
        let (mailbox, gate) = desk.open(both()).await;
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        // Received in 2023, and one without a received date: its own Date counts then.
        let undated = StoreItem { received: None, ..item(2, &plain(2), "S") };
        let outcomes = store(&mailbox, &gate, &folder, vec![item(1, &plain(1), ""), undated]).await;
        let lost = |at: usize| how(&outcomes[at]).1.contains(&"received-not-kept");
        assert_eq!((lost(0), lost(1)), (declared, declared && !keeps_date), "{keeps_date} {patch_dates}");
        let truth = desk.messages();
        if patch_dates {
            let dates: Vec<&str> = truth.iter().map(|m| m.received.as_str()).collect();
            assert_eq!(dates, ["2023-11-14T22:13:20Z", "2015-01-01T00:00:00Z"]);
        }
        assert_eq!(truth.iter().map(|m| m.is_read).collect::<Vec<_>>(), [false, true]);
        desk.check();
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_mode_does_not_take_goes_by_the_next_one_and_bare_line_ends_are_mended() {
    let desk = Desk::new(importing());
    let (mailbox, gate) = desk.open(both()).await;
    let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
    let large = [plain(2), b"0123456789abcdef".repeat(200_000)].concat();
    let bare = b"Subject: bare\nDate: Thu, 1 Jan 2015 00:00:00 +0000\n\na\rb\r\nc\n";
    let poison = Fault::Status { status: 400, retry_after: None };
    desk.mock.faults(once("POST", "/importMime", 3, poison));
    let items = vec![
        item(1, &plain(1), "DS"),
        item(2, &large, "S"),
        item(3, bare, "S"),
        item(4, &plain(4), "S"),
        item(5, &plain(5), "S"),
    ];
    let outcomes = store(&mailbox, &gate, &folder, items).await;
    let modes: Vec<WriteMode> = outcomes.iter().map(|o| how(o).0).collect();
    use WriteMode::{ImportMime, Json};
    assert_eq!(modes, [Json, Json, ImportMime, ImportMime, Json], "a draft, too large, …, refused");
    assert!(how(&outcomes[2]).1.contains(&"line-ends-mended"));
    let found = mailbox.find(&all_stamps()).await.expect("complete");
    assert!(found.len() == 5 && found.iter().all(|c| c.complete));
    assert!(desk.messages().iter().all(|m| m.is_draft == (number(m) == 1)));

    let (alone, gate) = desk.open(super::import_mime::modes(&[ImportMime])).await;
    let outcomes = store(&alone, &gate, &folder, vec![item(9, &plain(9), "D")]).await;
    assert!(matches!(&outcomes[0], Outcome::Refused(e) if e.remedy.contains("json")), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn where_the_mode_is_not_there_not_allowed_or_not_found_again_every_message_goes_by_the_next_one() {
    for (options, tries, taken_back) in [
        (GraphOptions { import_mime: false, ..importing() }, 1, 0),
        (GraphOptions { mail_advanced: false, ..importing() }, 1, 0),
        (GraphOptions { mime_keeps_headers: false, ..importing() }, 1, 1),
    ] {
        let desk = Desk::new(options);
        let (mailbox, gate) = desk.open(both()).await;
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        let items = |from: u64| (from..from + 5).map(|n| item(n, &plain(n), "S")).collect::<Vec<_>>();
        let lanes = tokio::join!(
            store(&mailbox, &gate, &folder, items(1)),
            store(&mailbox, &gate, &folder, items(11)),
            store(&mailbox, &gate, &folder, items(21)),
        );
        for outcome in lanes.0.iter().chain(&lanes.1).chain(&lanes.2) {
            assert_eq!(how(outcome).0, WriteMode::Json);
        }
        let imports = desk.sent().iter().filter(|s| s.url.ends_with("/importMime")).count();
        assert_eq!(imports, tries, "it is not tried with every message");
        let truth = desk.truth();
        assert_eq!(truth.folders["Work"].messages.len(), 15);
        assert_eq!(truth.recoverable.len(), taken_back);
        assert_eq!(mailbox.find(&all_stamps()).await.expect("complete").len(), 15);
    }
}

fn flagged(number: u64) -> StoreItem {
    item(number, &plain(number), "FS")
}

#[track_caller]
fn one_whole_copy_each(desk: &Desk, numbers: std::ops::RangeInclusive<u64>, context: &str) {
    let mut stamps: Vec<String> = desk.messages().iter().map(|m| stamped(m).expect("done")).collect();
    stamps.sort();
    let mut meant: Vec<String> = numbers.map(|n| stamp(n).to_string()).collect();
    meant.sort();
    assert_eq!(stamps, meant, "{context}");
    assert!(desk.messages().iter().all(|m| m.is_read && m.flag == "flagged"), "{context}");
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_with_one_request_every_message_ends_with_one_whole_copy() {
    let faults = [
        Fault::Status { status: 429, retry_after: Some(2) },
        Fault::Status { status: 503, retry_after: None },
        Fault::Status { status: 500, retry_after: None },
        Fault::DoneBut { status: 504, retry_after: None },
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::EmptyBody,
        Fault::HtmlBody,
        Fault::Lost,
    ];
    for fault in faults {
        for (method, path, nth) in [
            ("POST", "/importMime", 1),
            ("POST", "/importMime", 3),
            ("GET", "/messages", 1),
            ("PATCH", "/messages/", 2),
        ] {
            let desk = Desk::new(importing());
            let items: Vec<StoreItem> = (1..=6).map(flagged).collect();
            let (context, _) = store_with(&desk, both, &items, (method, path, nth), &fault).await;
            one_whole_copy_each(&desk, 1..=6, &context);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_before_any_request_leaves_what_can_be_found_and_finished() {
    let mut ended = 0;
    for steps in 1..40 {
        let desk = Desk::new(importing());
        let (mailbox, _) = desk.open(both()).await;
        let folder = mailbox.folder(&wanted(&["Work"])).await.expect("a folder");
        let items: Vec<StoreItem> = (1..=3).map(flagged).collect();
        ended += usize::from(cut_after(steps, &desk, both(), &folder, &items).await);
        for item in &items {
            settle(&desk, both(), &folder, item).await;
        }
        one_whole_copy_each(&desk, 1..=3, &format!("cut after {steps}"));
    }
    assert!((1..30).contains(&ended), "some were cut and some were not: {ended}");
}
