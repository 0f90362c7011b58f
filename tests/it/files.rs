//! The file backends end to end: Maildir and mbox in, Maildir out, and what can go wrong on a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use mailwave::env::{Env, Step, StepObserver};
use mailwave::limit::Gate;
use mailwave::model::{
    Bodies, Body, Error, Flags, FolderId, FolderPath, Form, Kind, Listed, MailboxKey, Outcome, Scope,
    SourceId, Stamp, StampPrefix, Timestamp,
};
use mailwave::source::maildir::{Layout, MaildirSettings, MaildirSource, Received};
use mailwave::source::mbox::{MboxSettings, MboxSource, Quoting};
use mailwave::source::{Fetched, Source, Wanted};
use mailwave::target::maildir::{Fsync, MaildirTarget, MaildirTargetSettings};
use mailwave::target::{CopyRef, FolderWanted, StoreItem, Target, TargetMailbox};

use crate::contract_source::{find, list, read_all};
use crate::contract_target::{hostile_names, item, message_files, source_name, stamp, wanted};

type Everything = BTreeMap<Vec<String>, Vec<(Vec<u8>, String, i64)>>;

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn maildir(root: &Path) -> MaildirSource {
    let settings = MaildirSettings { root: text(root), ..MaildirSettings::default() };
    MaildirSource::new(Env::system(), settings).expect("settings")
}

fn mbox(root: &Path, quoting: Quoting) -> MboxSource {
    let settings = MboxSettings { root: text(root), quoting, ..MboxSettings::default() };
    MboxSource::new(Env::system(), settings).expect("settings")
}

/// A target that leaves the disk to the system: these tests cut no power.
fn target(root: &Path, layout: Layout, env: &Env) -> MaildirTarget {
    let fsync = Fsync::Never;
    let settings =
        MaildirTargetSettings { root: text(root), layout, fsync, ..MaildirTargetSettings::default() };
    MaildirTarget::new(env.clone(), settings).expect("settings")
}

fn bodies(memory_limit: u64) -> Bodies {
    Bodies { memory_limit, max: 1 << 40, spool: std::env::temp_dir() }
}

fn want(id: &SourceId) -> Wanted {
    Wanted { number: 1, id: id.clone(), size: None }
}

async fn opened(target: &MaildirTarget, mailbox: &str) -> Arc<dyn TargetMailbox> {
    target.open(mailbox, "", Gate::unlimited(&Env::system())).await.expect("open")
}

/// Stores a mailbox's messages, as the engine would.
async fn store_all(mailbox: &Arc<dyn TargetMailbox>, everything: &Everything) {
    let gate = Gate::unlimited(&Env::system());
    for (folder, (names, messages)) in everything.iter().enumerate() {
        let path = FolderPath::new(names.clone()).expect("names");
        let id =
            mailbox.folder(&FolderWanted { path, special: None, subscribed: None }).await.expect("folder");
        let items: Vec<StoreItem> = messages
            .iter()
            .enumerate()
            .map(|(n, (octets, flags, received))| {
                item(folder as u32, n as u64 + 1, octets, flags, Some(*received))
            })
            .collect();
        let outcomes = mailbox.store(&id, items, gate.reserve(mailbox.cost(&[])).await).await;
        assert_eq!(outcomes.len(), messages.len());
        for outcome in outcomes {
            assert!(matches!(&outcome, Outcome::Stored { losses, .. } if losses.is_empty()), "{outcome:?}");
        }
    }
}

/// Reads back what the target wrote.
async fn read_back(root: &Path, layout: Layout, mailbox: &str) -> Everything {
    let settings =
        MaildirSettings { root: text(root), layout, escape: Some('\\'), ..MaildirSettings::default() };
    read_all(&MaildirSource::new(Env::system(), settings).expect("settings"), mailbox).await
}

fn quickstart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quickstart")
}

async fn quickstart_mailbox(name: &str, endpoint: &str) -> Everything {
    match endpoint {
        "archive" => {
            let root = text(&quickstart().join("maildir"));
            let settings = MaildirSettings { root, received: Received::Name, ..MaildirSettings::default() };
            read_all(&MaildirSource::new(Env::system(), settings).expect("settings"), name).await
        }
        "exports" => read_all(&mbox(&quickstart().join("mbox"), Quoting::Auto), name).await,
        other => panic!("no endpoint {other}"),
    }
}

#[tokio::test]
async fn the_quickstart_mailboxes_come_out_of_a_maildir_target_as_they_went_in() {
    let dir = tempfile::tempdir().expect("dir");
    let rows = fs::read_to_string(quickstart().join("mailboxes.csv")).expect("csv");
    let (mut messages, mut octets) = (0, BTreeSet::new());
    for row in rows.lines().skip(1) {
        let [source, to, endpoint] = row.split(',').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let everything = quickstart_mailbox(source, endpoint).await;
        messages += everything.values().map(Vec::len).sum::<usize>();
        octets.extend(everything.values().flatten().map(|(o, ..)| o.clone()));
        for layout in [Layout::PlusPlus, Layout::Fs] {
            let root = dir.path().join(format!("{layout:?}"));
            fs::create_dir_all(&root).expect("dir");
            store_all(&opened(&target(&root, layout, &Env::system()), to).await, &everything).await;
            let back = read_back(&root, layout, to).await;
            assert!(
                back == everything,
                "{source} in {layout:?}: {:?} and {:?}",
                back.keys(),
                everything.keys()
            );
        }
    }
    assert!((280..=320).contains(&messages), "{messages} messages");
    assert!(octets.len() < messages, "there are twins");
}

#[tokio::test]
async fn the_quickstart_maildirs_have_their_folders_flags_and_dates() {
    let everything = quickstart_mailbox("reception@example.org", "archive").await;
    let folders: Vec<String> = everything.keys().map(|names| names.join("/")).collect();
    for folder in ["INBOX", "Sent", "Work/2026/Rota", "Ärzte & Pflege"] {
        assert!(folders.iter().any(|f| f == folder), "{folder} is not in {folders:?}");
    }
    let inbox = &everything[&vec!["INBOX".to_owned()]];
    assert!(
        inbox.iter().any(|(.., received)| *received == 0) && inbox.iter().any(|(.., r)| *r == 4_102_444_800)
    );
    let all: Vec<&String> = everything.values().flatten().map(|(_, flags, _)| flags).collect();
    for flag in ["Urgent", "$Label1", "$Forwarded"] {
        assert!(all.iter().any(|f| f.split(' ').any(|w| w == flag)), "{flag}");
    }
    assert!(
        everything
            .values()
            .flatten()
            .all(|(o, ..)| !String::from_utf8_lossy(o).replace("\r\n", "").contains('\n'))
    );
    let office = quickstart_mailbox("office@example.org", "archive").await;
    assert_eq!(office[&vec!["Empty".to_owned()]].len(), 0);
    assert!(office.contains_key(&vec!["R&D".to_owned()]) && office.contains_key(&vec!["100%".to_owned()]));
}

#[tokio::test]
async fn a_gmail_export_becomes_folders_flags_and_keywords() {
    let everything = quickstart_mailbox("export@example.org", "exports").await;
    let folders: Vec<String> = everything.keys().map(|names| names.join("/")).collect();
    let meant = ["Archive", "Drafts", "INBOX", "Junk", "Orders", "Sent", "Trash", "Work/Plans", "日本語"];
    assert_eq!(folders, meant, "every message has one folder");
    assert_eq!(everything.values().map(Vec::len).sum::<usize>(), 30);
    for (octets, flags, received) in everything.values().flatten() {
        let text = String::from_utf8_lossy(octets);
        assert!(!text.contains("X-Gmail-Labels") && text.contains("X-GM-THRID"));
        assert!(*received > 0, "the date of the From_ line");
        assert!(!flags.contains("Opened"));
    }
    assert!(
        everything[&vec!["Work".to_owned(), "Plans".to_owned()]].iter().any(|(_, f, _)| f.starts_with("FS"))
    );
    assert!(everything[&vec!["Junk".to_owned()]].iter().all(|(_, f, _)| !f.contains('S')));
    assert!(everything[&vec!["Orders".to_owned()]].iter().all(|(_, f, _)| f.contains("Category_Updates")));
}

#[tokio::test]
async fn a_message_exported_under_two_labels_counts_once_and_twins_stay_two() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("a@example.org");
    fs::create_dir(&root).expect("dir");
    let one = |subject: &str, labels: &str| {
        format!(
            "From 1@xxx Thu Mar 04 10:11:12 +0000 2021\nX-GM-THRID: 1\nX-Gmail-Labels: {labels}\nSubject: {subject}\n\nx\n\n"
        )
    };
    let (twin, other) = (one("twin", "Work,Opened"), one("other", "Inbox"));
    fs::write(root.join("Work.mbox"), format!("{twin}{twin}")).expect("write");
    fs::write(root.join("All.mbox"), format!("{twin}{other}{twin}")).expect("write");
    let everything = read_all(&mbox(dir.path(), Quoting::Auto), "a@example.org").await;
    let counts: Vec<(String, usize)> = everything.iter().map(|(n, m)| (n.join("/"), m.len())).collect();
    assert_eq!(counts, [("INBOX".to_owned(), 1), ("Work".to_owned(), 2)]);
}

fn mboxrd(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(b"From x@example.org Thu Mar  4 10:11:12 2021\n");
        for line in message.split_inclusive(|b| *b == b'\n') {
            let marks = line.iter().take_while(|b| **b == b'>').count();
            if line[marks..].starts_with(b"From ") {
                out.push(b'>');
            }
            out.extend_from_slice(line);
        }
        out.push(b'\n');
    }
    out
}

#[tokio::test]
async fn any_messages_come_out_of_an_mboxrd_as_they_went_in() {
    let pieces: [&[u8]; 12] = [
        b"From here\n",
        b">From there\n",
        b">>From\n",
        b"\n",
        b"\n\n",
        b"A: 1\n",
        b"From a@b Thu Mar  4 10:11:12 2021\n",
        b"text \xff\0\n",
        b"> quoted\n",
        b"From ",
        b"x\n",
        b"\r\n",
    ];
    for seed in 0..60u64 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let messages: Vec<Vec<u8>> = (0..dice.usize(1..12))
            .map(|_| {
                let mut octets: Vec<u8> = (0..dice.usize(0..9))
                    .flat_map(|_| pieces[dice.usize(0..pieces.len())].to_vec())
                    .collect();
                if octets.last().is_some_and(|b| *b != b'\n') {
                    octets.push(b'\n'); // the format cannot say that a last line has no end
                }
                octets
            })
            .collect();
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("a.mbox"), mboxrd(&messages)).expect("write");
        let everything = read_all(&mbox(dir.path(), Quoting::Mboxrd), "a.mbox").await;
        let mut got: Vec<Vec<u8>> = everything.values().flatten().map(|(o, ..)| o.clone()).collect();
        let mut meant: Vec<Vec<u8>> = messages
            .iter()
            .map(|m| {
                let mut crlf = Vec::new();
                for (i, b) in m.iter().enumerate() {
                    if *b == b'\n' && (i == 0 || m[i - 1] != b'\r') {
                        crlf.push(b'\r');
                    }
                    crlf.push(*b);
                }
                crlf
            })
            .collect();
        got.sort();
        meant.sort();
        assert_eq!(got, meant, "seed {seed}");
    }
}

#[tokio::test]
async fn each_quoting_is_undone_by_its_own_rule() {
    let body = "From a\n>From b\n>>From c\n\nFrom x@y Thu Mar  4 10:11:12 2021\n";
    let file = |body: &str, length: bool| {
        let header = if length { format!("Content-Length: {}\n", body.len()) } else { String::new() };
        format!("From x@example.org Thu Mar  4 10:11:12 2021\n{header}Subject: s\n\n{body}\n")
    };
    let mboxo = body.replace("\nFrom ", "\n>From ").replacen("From a", ">From a", 1);
    for (content, quoting, meant) in [
        (file(body, true), Quoting::Auto, body.to_owned()),
        (file(body, true), Quoting::Mboxcl2, body.to_owned()),
        (file(&mboxo, true), Quoting::Mboxcl, body.replace("\n>From b", "\nFrom b")),
        (file(&mboxo, false), Quoting::Mboxo, body.replace("\n>From b", "\nFrom b")),
        (file(&mboxo, false), Quoting::None, mboxo.clone()),
    ] {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("a"), content).expect("write");
        let everything = read_all(&mbox(dir.path(), quoting), "a").await;
        let got: Vec<&Vec<u8>> = everything.values().flatten().map(|(o, ..)| o).collect();
        let meant = format!("Subject: s\n\n{meant}").replace('\n', "\r\n");
        assert_eq!(got.len(), 1, "{quoting:?}");
        assert_eq!(String::from_utf8_lossy(got[0]), meant, "{quoting:?}");
    }
}

#[tokio::test]
async fn a_servers_own_message_in_an_mbox_is_no_mail() {
    let dir = tempfile::tempdir().expect("dir");
    let from = "From MAILER-DAEMON Thu Mar  4 10:11:12 2021\n";
    let pseudo = format!(
        "{from}Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1614852672 0000000001\nStatus: RO\n\nThis text is part of the internal format.\n\n"
    );
    fs::write(dir.path().join("a"), format!("{pseudo}{from}Subject: mail\n\nx\n\n{pseudo}")).expect("write");
    let everything = read_all(&mbox(dir.path(), Quoting::Auto), "a").await;
    let all: Vec<_> = everything.values().flatten().collect();
    assert_eq!(all.len(), 2, "only the first message of a file can be the server's");
}

#[tokio::test]
async fn an_mbox_that_changes_between_listing_and_fetch_is_a_conflict_that_may_pass() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("a");
    fs::write(&file, mboxrd(&[b"A: 1\n\nx\n".to_vec(), b"A: 2\n\ny\n".to_vec()])).expect("write");
    let mut mailbox = mbox(dir.path(), Quoting::Auto).open("a").await.expect("open");
    let folders = mailbox.folders().await.expect("folders");
    let (listed, listing) = list(&mut mailbox, &folders[0]).await;
    let mut append = fs::OpenOptions::new().append(true).open(&file).expect("open");
    append.write_all(&mboxrd(&[b"A: 3\n\nz\n".to_vec()])).expect("write");
    let all: Vec<Wanted> = listed.iter().map(|l| want(&l.id)).collect();
    let e = mailbox.fetch(&folders[0], listing.epoch, &all, &bodies(1000)).await.expect_err("changed");
    assert!(e.kind == Kind::Conflict && e.may_pass() && e.scope == Scope::Folder, "{e}");
    let (again, _) = list(&mut mailbox, &folders[0]).await;
    assert_eq!(again[..2], listed[..], "the old ones keep their names");
    assert_eq!(again.len(), 3);
    assert_eq!(mailbox.fetch(&folders[0], 0, &all, &bodies(1000)).await.expect("fetch").len(), 2);
}

#[tokio::test]
async fn a_large_message_goes_through_the_spool_from_file_to_file() {
    let dir = tempfile::tempdir().expect("dir");
    let line = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\n";
    let big = format!("Subject: big\n\n{}", line.repeat((60 << 20) / line.len() + 1));
    let root = dir.path().join("a/cur");
    fs::create_dir_all(&root).expect("dir");
    fs::write(root.join("1700000000.M1P1.host:2,S"), &big).expect("write");
    fs::write(dir.path().join("b"), mboxrd(&[big.clone().into_bytes()])).expect("write");
    let crlf = big.replace('\n', "\r\n");
    let sources: [(Box<dyn Source>, &str); 2] =
        [(Box::new(maildir(dir.path())), "a"), (Box::new(mbox(dir.path(), Quoting::Auto)), "b")];
    for (number, (source, name)) in sources.into_iter().enumerate() {
        let mut mailbox = source.open(name).await.expect("open");
        let folders = mailbox.folders().await.expect("folders");
        let (listed, _) = list(&mut mailbox, &folders[0]).await;
        let fetched =
            mailbox.fetch(&folders[0], 0, &[want(&listed[0].id)], &bodies(1 << 20)).await.expect("fetch");
        let Fetched::Message { body, .. } = &fetched[0] else { panic!("not a message") };
        assert!(body.is_spooled() && body.len() == crlf.len() as u64);
        assert_eq!(body.digest(), mailwave::model::Digest::of(crlf.as_bytes()));

        let out = dir.path().join("out");
        let target = opened(&target(&out, Layout::PlusPlus, &Env::system()), name).await;
        let inbox = target.folder(&wanted(&["INBOX"])).await.expect("inbox");
        let stored = StoreItem {
            stamp: stamp(1, number as u64),
            body: body.clone(),
            form: Form::Mime,
            flags: Flags::default(),
            received: Some(Timestamp::utc(1)),
        };
        let ticket = Gate::unlimited(&Env::system()).reserve(target.cost(&[body.len()])).await;
        let outcomes = target.store(&inbox, vec![stored], ticket).await;
        assert!(matches!(outcomes[0], Outcome::Stored { .. }), "{outcomes:?}");
        let files = message_files(&out.join(name));
        assert_eq!(fs::read(&files[0]).expect("read"), crlf.as_bytes());
    }
}

#[tokio::test]
async fn links_fifos_and_strange_directories_in_a_maildir_are_named_not_followed() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("a");
    fs::create_dir_all(root.join("cur")).expect("dir");
    fs::create_dir_all(root.join("cur/directory")).expect("dir");
    fs::create_dir_all(dir.path().join("elsewhere/cur")).expect("dir");
    fs::write(dir.path().join("elsewhere/cur/1.a.h:2,"), "secret").expect("write");
    fs::write(root.join("cur/1.a.h:2,S"), "A: 1\n\nx\n").expect("write");
    symlink("/etc/hostname", root.join("cur/2.a.h:2,S")).expect("link");
    symlink("nowhere", root.join("cur/3.a.h:2,S")).expect("link");
    assert!(Command::new("mkfifo").arg(root.join("cur/4.a.h:2,S")).status().expect("mkfifo").success());
    symlink(dir.path().join("elsewhere"), root.join(".Linked")).expect("link");
    let mut mailbox = maildir(dir.path()).open("a").await.expect("open");
    let folders = mailbox.folders().await.expect("folders");
    let (listed, _) = list(&mut mailbox, find(&folders, &["INBOX"])).await;
    assert_eq!(listed.len(), 4, "what may be mail is listed");
    let all: Vec<Wanted> = listed.iter().map(|l| want(&l.id)).collect();
    let fetched = mailbox.fetch(&folders[0], 0, &all, &bodies(1000)).await.expect("fetch");
    let failed: Vec<&Error> = fetched
        .iter()
        .filter_map(|f| match f {
            Fetched::Failed(e) => Some(e),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|e| e.kind == Kind::Denied && e.scope == Scope::Message && !e.may_pass()));
    let linked = mailbox.list(find(&folders, &["Linked"]), None, &mut |_| ()).await.expect_err("a link");
    assert_eq!((linked.kind, linked.scope), (Kind::Denied, Scope::Folder));

    // A mailbox that is itself a link out of the root.
    symlink("/etc", dir.path().join("b")).expect("link");
    let Err(e) = maildir(dir.path()).open("b").await else { panic!("followed") };
    assert_eq!((e.kind, e.scope), (Kind::Denied, Scope::Mailbox));
    let Err(e) = mbox(dir.path(), Quoting::Auto).open("b").await else { panic!("followed") };
    assert_eq!((e.kind, e.scope), (Kind::Denied, Scope::Mailbox));
}

#[tokio::test]
async fn files_of_one_base_name_are_one_message_if_they_are_the_same_octets() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("a");
    ["cur", "new"].iter().for_each(|sub| fs::create_dir_all(root.join(sub)).expect("dir"));
    // Half way from new to cur; twice in cur by a restored backup; different octets under one name.
    fs::write(root.join("new/1.a.h"), "same\n").expect("write");
    fs::hard_link(root.join("new/1.a.h"), root.join("cur/1.a.h:2,S")).expect("link");
    fs::write(root.join("cur/2.a.h:2,"), "same\n").expect("write");
    fs::write(root.join("cur/2.a.h:2,FS"), "same\n").expect("write");
    fs::write(root.join("cur/3.a.h:2,"), "one\n").expect("write");
    fs::write(root.join("cur/3.a.h:2,S"), "two\n").expect("write");
    let everything = read_all(&maildir(dir.path()), "a").await;
    let all: Vec<(String, String)> = everything
        .values()
        .flatten()
        .map(|(o, f, _)| (String::from_utf8_lossy(o).trim().to_owned(), f.clone()))
        .collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(o, f)| (o.as_str(), f.as_str())).collect();
    assert_eq!(all, [("one", ""), ("same", "FS"), ("same", "S"), ("two", "S")]);
}

#[tokio::test]
async fn a_wrong_place_is_an_error_and_never_an_empty_mailbox() {
    let dir = tempfile::tempdir().expect("dir");
    fs::create_dir(dir.path().join("empty")).expect("dir");
    fs::write(dir.path().join("text"), "not mail\n").expect("write");
    for source in [&maildir(dir.path()) as &dyn Source, &mbox(dir.path(), Quoting::Auto)] {
        for name in ["empty", "missing"] {
            let Err(e) = source.open(name).await else { panic!("{name} was opened") };
            assert_eq!((e.kind, e.scope), (Kind::NotFound, Scope::Mailbox), "{e}");
            assert!(!e.remedy.is_empty());
        }
    }
    let gone = dir.path().join("not mounted");
    for source in [&maildir(&gone) as &dyn Source, &mbox(&gone, Quoting::Auto)] {
        let Err(e) = source.open("a").await else { panic!("opened") };
        assert_eq!(e.scope, Scope::Endpoint, "{e}");
    }
    let mailbox = mbox(dir.path(), Quoting::Auto).open("text").await.expect("a file");
    let folders = mailbox.folders().await.expect("folders");
    let e = mailbox.list(&folders[0], None, &mut |_| ()).await.expect_err("no mbox");
    assert_eq!((e.kind, e.scope), (Kind::Protocol, Scope::Folder));
}

#[tokio::test]
async fn an_mbox_tree_keeps_its_folders_apart() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().join("a");
    let mail = mboxrd(&[b"A: 1\n\nx\n".to_vec()]);
    for name in [
        "Inbox",
        "INBOX.mbox",
        "Work.mbox",
        "Work.sbd/Plans",
        "Entw&APw-rfe",
        "Apple.mbox/mbox",
        "deep/er/x.mbox",
    ] {
        fs::create_dir_all(root.join(name).parent().expect("parent")).expect("dir");
        fs::write(root.join(name), &mail).expect("write");
    }
    for (name, content) in [("Work.msf", "index"), (".hidden", "x"), ("notes.txt", "text"), ("Empty", "")] {
        fs::write(root.join(name), content).expect("write");
    }
    let everything = read_all(&mbox(dir.path(), Quoting::Auto), "a").await;
    let counts: BTreeMap<String, usize> = everything.iter().map(|(n, m)| (n.join("/"), m.len())).collect();
    let meant = [
        ("Apple", 1),
        ("Empty", 0),
        ("Entwürfe", 1),
        ("INBOX", 1),
        ("INBOX~2", 1),
        ("Work", 1),
        ("Work/Plans", 1),
        ("deep/er/x", 1),
    ];
    assert_eq!(counts, meant.iter().map(|(n, c)| ((*n).to_owned(), *c)).collect());
}

#[tokio::test]
async fn hostile_folder_names_survive_the_target_and_come_back() {
    for layout in [Layout::PlusPlus, Layout::Fs] {
        let dir = tempfile::tempdir().expect("dir");
        let everything: Everything = hostile_names()
            .into_iter()
            .filter(|names| names.iter().all(|n| n.len() < 40)) // longer ones come back with a hash in their names
            .enumerate()
            .map(|(n, names)| (names, vec![(format!("A: {n}\r\n\r\n").into_bytes(), "S".to_owned(), 5)]))
            .collect();
        let target = opened(&target(dir.path(), layout, &Env::system()), "a").await;
        store_all(&target, &everything).await;
        let mut back = read_back(dir.path(), layout, "a").await;
        back.remove(&vec!["INBOX".to_owned()]);
        assert!(back == everything, "{layout:?}");
    }
}

#[tokio::test]
async fn the_target_looks_like_dovecots_own() {
    let dir = tempfile::tempdir().expect("dir");
    fs::create_dir_all(dir.path().join("a")).expect("dir");
    fs::write(dir.path().join("a/subscriptions"), "V\t2\n\nOld\n").expect("write");
    let mailbox = opened(&target(dir.path(), Layout::PlusPlus, &Env::system()), "a").await;
    for names in [&["INBOX"][..], &["Work", "Übung"], &["Work", "Übung"]] {
        mailbox.folder(&wanted(names)).await.expect("folder");
    }
    let work = dir.path().join("a/.Work.&ANw-bung");
    for at in [dir.path().join("a"), work.clone()] {
        for sub in ["cur", "new", "tmp"] {
            assert_eq!(at.join(sub).metadata().expect("dir").permissions().mode() & 0o777, 0o700);
        }
    }
    assert!(work.join("maildirfolder").is_file());
    let subscriptions = fs::read_to_string(dir.path().join("a/subscriptions")).expect("read");
    assert_eq!(subscriptions, "V\t2\n\nOld\nWork\t&ANw-bung\n");
    let folder = mailbox.folder(&wanted(&["Work", "Übung"])).await.expect("folder");
    let ticket = Gate::unlimited(&Env::system()).lookup();
    let items = vec![item(1, 1, b"x", "", Some(9)), item(1, 2, b"yy", "FS k $Forwarded", Some(-5))];
    mailbox
        .store(&folder, items, ticket)
        .await
        .iter()
        .for_each(|o| assert!(matches!(o, Outcome::Stored { .. })));
    let names: Vec<String> =
        message_files(&work).iter().map(|p| text(p.strip_prefix(&work).expect("below"))).collect();
    assert_eq!(names, [format!("cur/0.{},S=2:2,FPSa", stamp(1, 2)), format!("new/9.{},S=1", stamp(1, 1))]);
    assert_eq!(fs::read_to_string(work.join("dovecot-keywords")).expect("read"), "0 k\n");
    assert_eq!(message_files(&work)[0].metadata().expect("seen").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(work.join("tmp")).expect("dir").count(), 0);
}

#[tokio::test]
async fn more_keywords_than_letters_is_a_declared_loss() {
    let dir = tempfile::tempdir().expect("dir");
    let mailbox = opened(&target(dir.path(), Layout::PlusPlus, &Env::system()), "a").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let many: String = (0..27).map(|n| format!(" k{n:02}")).collect();
    let items = vec![
        item(1, 1, b"x", &many, Some(1)),
        item(1, 2, b"x", " k00 k25", Some(1)),
        item(1, 3, b"x", " k26", Some(1)),
    ];
    let outcomes = mailbox.store(&inbox, items, Gate::unlimited(&Env::system()).lookup()).await;
    let losses: Vec<Vec<&str>> = outcomes
        .iter()
        .map(|o| match o {
            Outcome::Stored { losses, .. } => losses.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(losses, [vec!["keywords"], vec![], vec!["keywords"]]);
}

#[tokio::test]
async fn a_linked_folder_at_the_target_is_not_written_through() {
    let dir = tempfile::tempdir().expect("dir");
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("cur")).expect("dir");
    let out = dir.path().join("out");
    fs::create_dir(&out).expect("dir");
    let mailbox = opened(&target(&out, Layout::PlusPlus, &Env::system()), "a").await;
    symlink(&outside, out.join("a/.Work")).expect("link");
    let e = mailbox.folder(&wanted(&["Work"])).await.expect_err("a link");
    assert_eq!((e.kind, e.scope), (Kind::Denied, Scope::Folder));
    symlink(&outside, out.join("b")).expect("link");
    let gate = Gate::unlimited(&Env::system());
    let Err(e) = target(&out, Layout::PlusPlus, &Env::system()).open("b", "", gate).await else {
        panic!("followed")
    };
    assert_eq!((e.kind, e.scope), (Kind::Denied, Scope::Mailbox));
    assert_eq!(fs::read_dir(&outside).expect("dir").count(), 1, "nothing was written through a link");
}

/// Freezes the world at the n-th step.
struct Cut {
    at: usize,
    passed: AtomicUsize,
}

impl StepObserver for Cut {
    fn pass(&self, _: Step) -> bool {
        self.passed.fetch_add(1, Ordering::SeqCst) < self.at
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_cut_at_any_step_leaves_whole_copies_or_none() {
    let octets = |n: u64| format!("Subject: {n}\r\n\r\n{}", "x".repeat(5000)).into_bytes();
    let mut cut_short = 0;
    for at in 0.. {
        let dir = tempfile::tempdir().expect("dir");
        let cut = Arc::new(Cut { at, passed: AtomicUsize::new(0) });
        let env = Env::simulated(7, 1_700_000_000_000, Arc::clone(&cut) as Arc<dyn StepObserver>);
        let work = async {
            let mailbox =
                target(dir.path(), Layout::PlusPlus, &env).open("a", "", Gate::unlimited(&env)).await?;
            let inbox = mailbox.folder(&wanted(&["INBOX"])).await?;
            let items: Vec<StoreItem> = (1..=4).map(|n| item(1, n, &octets(n), "S k", Some(1))).collect();
            let outcomes = mailbox.store(&inbox, items, Gate::unlimited(&env).lookup()).await;
            let ids: Vec<CopyRef> = outcomes
                .iter()
                .map(|o| CopyRef { folder: inbox.clone(), id: crate::contract_target::id(o) })
                .collect();
            let moved = mailbox.relocate(&ids[..1], &mailbox.folder(&wanted(&["B"])).await?).await;
            mailbox.remove(&ids[1..2]).await;
            moved.into_iter().collect::<Result<Vec<_>, Error>>()
        };
        let done = env.within(std::time::Duration::from_secs(60), work).await;

        // A new process: what is there is whole, and storing the rest gives each message once.
        let mailbox = opened(&target(dir.path(), Layout::PlusPlus, &Env::system()), "a").await;
        let source = source_name();
        let all = StampPrefix::mailbox(&source, &MailboxKey::of(&source, "anna"));
        let held: BTreeSet<Stamp> =
            mailbox.find(&all).await.expect("find").into_iter().map(|c| c.stamp).collect();
        for file in message_files(&dir.path().join("a")) {
            let content = fs::read(&file).expect("read");
            assert!((1..=4).any(|n| content == octets(n)), "cut at {at}: a copy is whole");
        }
        let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
        let rest =
            (1..=4).filter(|n| !held.contains(&stamp(1, *n))).map(|n| item(1, n, &octets(n), "S k", Some(1)));
        let outcomes = mailbox.store(&inbox, rest.collect(), Gate::unlimited(&Env::system()).lookup()).await;
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })));
        assert_eq!(mailbox.find(&all).await.expect("find").len(), 4, "cut at {at}");
        if let Some(done) = done {
            assert!(done.is_ok() && at > 8, "{done:?} after {at} steps");
            break;
        }
        cut_short += 1;
    }
    assert!(cut_short > 8, "every step was cut");
}

#[tokio::test]
async fn storing_a_copy_again_after_a_lost_answer_is_one_copy() {
    let dir = tempfile::tempdir().expect("dir");
    let settings = MaildirTargetSettings {
        root: text(dir.path()),
        fsync: Fsync::Always,
        ..MaildirTargetSettings::default()
    };
    let mailbox = opened(&MaildirTarget::new(Env::system(), settings).expect("settings"), "a").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let gate = Gate::unlimited(&Env::system());
    let first = mailbox.store(&inbox, vec![item(1, 1, b"x", "S", Some(1))], gate.lookup()).await;
    let second = mailbox.store(&inbox, vec![item(1, 1, b"x", "S", Some(1))], gate.lookup()).await;
    let other = mailbox.store(&inbox, vec![item(1, 1, b"y", "S", Some(1))], gate.lookup()).await;
    assert!(matches!(first[0], Outcome::Stored { .. }) && first == second, "{second:?}");
    assert!(matches!(other[0], Outcome::Refused(_)), "other octets under the same name are not written over");
    assert_eq!(message_files(&dir.path().join("a")).len(), 1);
}

#[tokio::test]
async fn a_removed_copy_can_be_had_back() {
    let dir = tempfile::tempdir().expect("dir");
    let mailbox = opened(&target(dir.path(), Layout::PlusPlus, &Env::system()), "a").await;
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    let gate = Gate::unlimited(&Env::system());
    let stored = mailbox.store(&inbox, vec![item(1, 1, b"precious", "S", Some(1))], gate.lookup()).await;
    let copy = CopyRef { folder: inbox.clone(), id: crate::contract_target::id(&stored[0]) };
    mailbox.remove(&[copy]).await[0].as_ref().expect("removed");
    let kept: Vec<PathBuf> = fs::read_dir(dir.path().join("a/mailwave-removed/cur"))
        .expect("dir")
        .map(|e| e.expect("entry").path())
        .collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(fs::read(&kept[0]).expect("read"), b"precious");
    let everything = read_back(dir.path(), Layout::PlusPlus, "a").await;
    assert_eq!(everything.keys().collect::<Vec<_>>(), [&vec!["INBOX".to_owned()]], "it is no folder");
}

#[tokio::test]
async fn names_nobody_chose_for_messages_are_read_too() {
    let dir = tempfile::tempdir().expect("dir");
    let cur = dir.path().join("a/cur");
    fs::create_dir_all(&cur).expect("dir");
    use std::os::unix::ffi::OsStrExt;
    let names: [&[u8]; 5] = [b"plain", b"\xff\xfe:2,S", b"a:2,ZZZ\x1b", b"100%25:2,", "ü:2,F".as_bytes()];
    for (n, name) in names.iter().enumerate() {
        fs::write(cur.join(std::ffi::OsStr::from_bytes(name)), format!("A: {n}\n\n")).expect("write");
    }
    fs::write(cur.join(".not-a-message"), "x").expect("write");
    let everything = read_all(&maildir(dir.path()), "a").await;
    assert_eq!(everything.values().map(Vec::len).sum::<usize>(), 5);
}

#[tokio::test]
async fn errors_and_debug_texts_name_no_person_and_no_folder() {
    let dir = tempfile::tempdir().expect("dir");
    fs::create_dir_all(dir.path().join("person@example.org/.Secret-Folder/cur")).expect("dir");
    let mailbox = maildir(dir.path()).open("person@example.org").await.expect("open");
    let folders = mailbox.folders().await.expect("folders");
    let folder = find(&folders, &["Secret-Folder"]).clone();
    fs::remove_dir_all(dir.path().join("person@example.org/.Secret-Folder")).expect("remove");
    let e = mailbox.list(&folder, None, &mut |_: Listed| ()).await.expect_err("gone");
    for text in [format!("{e} {e:?}"), format!("{folder:?}")] {
        assert!(!text.contains("person") && !text.contains("Secret"), "{text}");
    }
    let body = Body::from_bytes(Bytes::from_static(b"private words"));
    assert!(!format!("{body:?}").contains("private"));
    assert_eq!(FolderId(1).to_string(), "folder 1");
}
