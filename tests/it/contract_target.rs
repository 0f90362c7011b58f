//! What every target promises, checked through the trait alone. A backend joins with a [`TargetHarness`].

pub mod anchored;
pub mod ews;
mod graph;
pub mod mocked;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mailwave::env::Env;
use mailwave::limit::Gate;
use mailwave::model::{
    Body, Flags, FolderId, FolderPath, Form, Kind, MailboxKey, Outcome, SourceName, SpecialUse, Stamp,
    StampPrefix, Timestamp,
};
use mailwave::target::maildir::{Layout, LineEnds, MaildirTarget, MaildirTargetSettings};
use mailwave::target::{Copy, CopyRef, FolderWanted, StoreItem, Target, TargetFolderId, TargetMailbox};

/// A message the target truly holds, seen without the code under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its stamp's text; `None` for mail of others.
    pub stamp: Option<String>,
    /// Its octets, if the target keeps them as they came.
    pub octets: Option<Vec<u8>>,
    /// As [`Flags::encode`].
    pub flags: String,
    /// Seconds since 1970.
    pub received: i64,
}

/// One backend with one mailbox.
#[async_trait]
pub trait TargetHarness: Send {
    fn env(&self) -> Env;
    fn target(&self) -> Arc<dyn Target>;
    /// The mailbox, as an operator names it.
    fn mailbox(&self) -> String;
    /// Puts a message of someone else into the inbox. `open` was called before.
    async fn foreign(&mut self, octets: &[u8]);
    /// Everything in the mailbox but what was removed.
    async fn truth(&self) -> Vec<Held>;
    /// Makes the mailbox anew, empty; `false` if the backend cannot.
    async fn remake(&mut self) -> bool;
    /// Fails if anything was written outside of the mailbox.
    async fn check_confined(&self);
    /// Can it hold a message without any octets?
    fn takes_nothing(&self) -> bool;
    /// An id as the target gives them, of no message.
    fn nobody(&self) -> String {
        "nobody".to_owned()
    }
}

pub fn path(names: &[&str]) -> FolderPath {
    FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).expect("names")
}

pub fn wanted(names: &[&str]) -> FolderWanted {
    let path = path(names);
    let special = path.is_inbox().then_some(SpecialUse::Inbox);
    FolderWanted { path, special, subscribed: None }
}

pub fn source_name() -> SourceName {
    "contract".parse().expect("a name")
}

pub fn stamp(folder: u32, number: u64) -> Stamp {
    let source = source_name();
    Stamp { mailbox: MailboxKey::of(&source, "anna"), source, folder: FolderId(folder), epoch: 7, number }
}

pub fn item(folder: u32, number: u64, octets: &[u8], flags: &str, received: Option<i64>) -> StoreItem {
    StoreItem {
        stamp: stamp(folder, number),
        body: Body::from_bytes(Bytes::copy_from_slice(octets)),
        form: Form::Mime,
        flags: Flags::decode(flags),
        received: received.map(Timestamp::utc),
    }
}

pub fn id(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stored { id, .. } => id.clone(),
        other => panic!("not stored: {other:?}"),
    }
}

pub async fn open(harness: &impl TargetHarness, place: &str) -> Arc<dyn TargetMailbox> {
    let gate = Gate::unlimited(&harness.env());
    harness.target().open(&harness.mailbox(), place, gate).await.expect("open")
}

pub async fn store(
    harness: &impl TargetHarness,
    mailbox: &Arc<dyn TargetMailbox>,
    folder: &TargetFolderId,
    items: Vec<StoreItem>,
) -> Vec<Outcome> {
    let sizes: Vec<u64> = items.iter().map(|i| i.body.len()).collect();
    let ticket = Gate::unlimited(&harness.env()).reserve(mailbox.cost(&sizes)).await;
    mailbox.store(folder, items, ticket).await
}

fn by_stamp(copies: Vec<Copy>) -> BTreeMap<String, Copy> {
    let n = copies.len();
    let map: BTreeMap<String, Copy> = copies.into_iter().map(|c| (c.stamp.to_string(), c)).collect();
    assert_eq!(map.len(), n, "a stamp is found once");
    map
}

/// The contract.
pub async fn suite(mut harness: impl TargetHarness) {
    let mailbox = open(&harness, "").await;
    assert!(!mailbox.identity().is_empty());
    assert_eq!(mailbox.identity(), open(&harness, "").await.identity(), "the identity stays");
    let can = mailbox.capabilities().clone();
    assert!(can.lanes >= 1 && can.lanes <= 64 && can.batch_messages >= 1 && can.batch_bytes >= 1);
    let foreign = b"Subject: not ours\r\n\r\nhands off\r\n";
    harness.foreign(foreign).await;
    assert!(mailbox.find(&everything()).await.expect("find").is_empty(), "mail of others has no stamp");

    let (inbox, work) = folders(&harness, &mailbox).await;
    let stored = stores(&harness, &mailbox, &inbox).await;
    finds(&mailbox, &inbox, &stored).await;
    let nobody = harness.nobody();
    flags(&mailbox, &nobody).await;
    moves(&mailbox, &inbox, &work, &nobody).await;
    renames(&mailbox, &work).await;
    lanes(&harness, &mailbox, &inbox).await;

    // A folder that is not there: one outcome each, nothing stored, nothing unknown.
    let nowhere = TargetFolderId("0".repeat(32));
    let outcomes =
        store(&harness, &mailbox, &nowhere, vec![item(9, 1, b"x", "", None), item(9, 2, b"y", "", None)])
            .await;
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().all(|o| matches!(o, Outcome::NotSent(_) | Outcome::Refused(_))));

    // Another place of the same mailbox.
    let placed = open(&harness, "Old mail").await;
    assert_eq!(placed.identity(), mailbox.identity());
    let below = placed.folder(&wanted(&["Work"])).await.expect("folder");
    assert_ne!(below, work, "a place has folders of its own");
    let twin = store(&harness, &placed, &below, vec![item(8, 1, b"A: 1\r\n\r\n", "S", None)]).await;
    id(&twin[0]);

    let others = harness.truth().await.into_iter().filter(|h| h.stamp.is_none()).count();
    assert_eq!(others, 1, "mail of others is untouched");
    harness.check_confined().await;
    let before = mailbox.identity().to_owned();
    if harness.remake().await {
        let again = open(&harness, "").await;
        assert_ne!(again.identity(), before, "a mailbox made anew is noticed");
        assert!(again.find(&everything()).await.expect("find").is_empty());
    }
}

fn everything() -> StampPrefix {
    StampPrefix::mailbox(&source_name(), &MailboxKey::of(&source_name(), "anna"))
}

/// Names nobody should use, and everybody does.
pub fn hostile_names() -> Vec<Vec<String>> {
    let long = "x".repeat(4096);
    let leaf = [
        "..",
        ".",
        "/etc",
        "../../escape",
        "a/b",
        "a.b",
        "a\0b",
        "\u{1b}[2J",
        "~root",
        "cur",
        "new",
        "tmp",
        "a",
        "A",
        "Ä",
        "台北",
        "ελληνικά",
        "العربية",
        "📁",
        "%2e",
        "\\2e",
        "&",
        "&-",
        "mailwave-removed",
        "dovecot-uidlist",
        "subscriptions",
        "con",
        "name.",
        " name",
        "name ",
        "\u{202e}evil",
        "a\nb",
    ];
    let mut all: Vec<Vec<String>> = leaf.iter().map(|n| vec![(*n).to_owned()]).collect();
    all.extend(leaf.iter().map(|n| vec!["a".to_owned(), (*n).to_owned()]));
    all.extend([vec![long.clone()], vec![format!("{long}y")], vec!["a".to_owned(), long]]);
    all
}

pub async fn folders(
    harness: &impl TargetHarness,
    mailbox: &Arc<dyn TargetMailbox>,
) -> (TargetFolderId, TargetFolderId) {
    let inbox = mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox");
    assert_eq!(inbox, mailbox.folder(&wanted(&["INBOX"])).await.expect("inbox"), "a folder is found again");
    let work = mailbox.folder(&wanted(&["Work", "2026"])).await.expect("folder");
    let mut seen = BTreeMap::from([(inbox.clone(), vec!["INBOX".to_owned()]), (work.clone(), vec![])]);
    let names = hostile_names();
    for names in &names {
        let folder = FolderWanted {
            path: FolderPath::new(names.clone()).expect("names"),
            special: None,
            subscribed: None,
        };
        let id = mailbox.folder(&folder).await.unwrap_or_else(|e| panic!("{names:?}: {e}"));
        let other = seen.insert(id, names.clone());
        assert_eq!(other, None, "{names:?} has a folder of its own");
    }
    // The same ids, asked in another order by another client.
    let again = open(harness, "").await;
    for (id, names) in seen.iter().rev().filter(|(_, n)| !n.is_empty()) {
        let special = (*id == inbox).then_some(SpecialUse::Inbox);
        let folder =
            FolderWanted { path: FolderPath::new(names.clone()).expect("names"), special, subscribed: None };
        assert_eq!(again.folder(&folder).await.expect("folder"), *id, "{names:?}");
    }
    (inbox, work)
}

async fn stores(
    harness: &impl TargetHarness,
    mailbox: &Arc<dyn TargetMailbox>,
    inbox: &TargetFolderId,
) -> BTreeMap<String, String> {
    let dated = b"Date: Thu, 1 Jan 2015 00:00:00 +0000\r\nSubject: dated\r\n\r\nx\r\n";
    let mut items = vec![
        item(1, 1, b"Subject: a\r\n\r\na\r\n", "", Some(1_700_000_000)),
        item(1, 2, b"Subject: twin\r\n\r\nsame\r\n", "S", Some(1_700_000_001)),
        item(1, 3, b"Subject: twin\r\n\r\nsame\r\n", "FRS $Forwarded later work", Some(1_700_000_001)),
        item(1, 4, b"Subject: 1970\r\n\r\nx\r\n", "DS", Some(0)),
        item(1, 5, b"Subject: future\r\n\r\nx\r\n", "S", Some(4_000_000_000)),
        item(1, 6, dated, "S", None),
        item(1, 7, b"Subject: \xe4\r\n\r\n\0 8 bit \xff\r\n", "ST", Some(1_700_000_002)),
    ];
    let nothing = item(1, 8, b"", "S", Some(1_700_000_003));
    if harness.takes_nothing() {
        items.push(nothing);
    } else {
        let refused = store(harness, mailbox, inbox, vec![nothing]).await;
        assert!(matches!(&refused[..], [Outcome::Refused(e)] if !e.remedy.is_empty()), "{refused:?}");
    }
    // More than one request's worth for targets that have such a thing: one copy all the same, and complete.
    let line = format!("{}\r\n", "QUJD".repeat(18)).repeat(45_000);
    let large = format!(
        "Subject: large\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{line}"
    );
    items.push(item(1, 9, large.as_bytes(), "FS", Some(1_700_000_004)));
    let outcomes = store(harness, mailbox, inbox, items.clone()).await;
    assert_eq!(outcomes.len(), items.len(), "exactly one outcome per message");
    outcomes.iter().for_each(|o| drop(id(o)));
    let can = mailbox.capabilities();
    let truth: BTreeMap<String, Held> =
        harness.truth().await.into_iter().filter_map(|h| Some((h.stamp.clone()?, h))).collect();
    assert_eq!(truth.len(), items.len(), "two equal messages stay two");
    let mut ids = BTreeMap::new();
    for (item, outcome) in items.iter().zip(&outcomes) {
        let held = &truth[&item.stamp.to_string()];
        if can.keeps_octets {
            assert_eq!(
                held.octets.as_deref(),
                Some(&item.body.bytes().expect("octets")[..]),
                "octets are kept"
            );
        }
        if can.keeps_received {
            let meant = item.received.map_or(1_420_070_400, |t| t.seconds);
            assert_eq!(held.received, meant, "the received date is kept, or the message's own is used");
        }
        let mut meant = item.flags.clone();
        if !can.keeps_keywords {
            meant.keywords.clear();
        }
        if matches!(outcome, Outcome::Stored { losses, .. } if losses.contains(&"deleted-flag")) {
            meant.deleted = false; // the one flag a target may lack, if it says so
        }
        assert_eq!(held.flags, meant.encode());
        ids.insert(item.stamp.to_string(), id(outcome));
    }
    ids
}

async fn finds(mailbox: &Arc<dyn TargetMailbox>, inbox: &TargetFolderId, stored: &BTreeMap<String, String>) {
    let source = source_name();
    let key = MailboxKey::of(&source, "anna");
    for prefix in [everything(), StampPrefix::folder(&source, &key, FolderId(1))] {
        let found = by_stamp(mailbox.find(&prefix).await.expect("find"));
        assert_eq!(found.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
        for (stamp, copy) in &found {
            assert!(copy.complete && copy.folder == *inbox);
            assert!(stored[stamp].is_empty() || stored[stamp] == copy.id, "the id is the one that was told");
        }
    }
    let one = mailbox.find(&StampPrefix::exactly(&stamp(1, 3))).await.expect("find");
    assert_eq!(one.len(), 1);
    assert!(one[0].flags.seen && one[0].flags.flagged && one[0].flags.answered);
    for none in [StampPrefix::exactly(&stamp(1, 99)), StampPrefix::folder(&source, &key, FolderId(2))] {
        assert!(mailbox.find(&none).await.expect("find").is_empty());
    }
}

async fn copy(mailbox: &Arc<dyn TargetMailbox>, number: u64) -> Copy {
    let mut found = mailbox.find(&StampPrefix::exactly(&stamp(1, number))).await.expect("find");
    assert_eq!(found.len(), 1, "one copy of number {number}");
    found.remove(0)
}

/// A copy that is not there.
fn nowhere(beside: &Copy, nobody: &str) -> CopyRef {
    CopyRef { id: nobody.to_owned(), ..beside.to_ref() }
}

async fn flags(mailbox: &Arc<dyn TargetMailbox>, nobody: &str) {
    let (a, b) = (copy(mailbox, 1).await, copy(mailbox, 2).await);
    let missing = mailbox.capabilities().keeps_keywords;
    let new = Flags::decode("FS");
    let changes =
        [(a.to_ref(), new.clone()), (nowhere(&a, nobody), new.clone()), (b.to_ref(), Flags::default())];
    let results = mailbox.set_flags(&changes).await;
    assert_eq!(results.len(), 3);
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(results[1].as_ref().expect_err("gone").kind, Kind::NotFound);
    assert_eq!((copy(mailbox, 1).await.flags, copy(mailbox, 2).await.flags), (new, Flags::default()));
    if missing {
        assert!(
            mailbox.set_flags(&[(copy(mailbox, 1).await.to_ref(), Flags::decode("S work"))]).await[0].is_ok()
        );
        assert_eq!(copy(mailbox, 1).await.flags.encode(), "S work");
    }
}

async fn moves(
    mailbox: &Arc<dyn TargetMailbox>,
    inbox: &TargetFolderId,
    work: &TargetFolderId,
    nobody: &str,
) {
    if mailbox.capabilities().moves {
        let third = copy(mailbox, 3).await;
        let ids = [third.to_ref(), nowhere(&third, nobody), copy(mailbox, 4).await.to_ref()];
        let before = copy(mailbox, 3).await.flags;
        let results = mailbox.relocate(&ids, work).await;
        assert_eq!(results.len(), 3);
        assert_eq!(results[1].as_ref().expect_err("gone").kind, Kind::NotFound);
        let moved = copy(mailbox, 3).await;
        assert_eq!((&moved.folder, Some(&moved.id)), (work, results[0].as_ref().ok()));
        assert_eq!(moved.flags, before, "flags and keywords move along");
        let again = mailbox.relocate(&[moved.to_ref()], work).await;
        assert_eq!(again[0].as_ref().ok(), Some(&moved.id), "moving what is there succeeds");
        let back = mailbox.relocate(&[moved.to_ref()], inbox).await;
        assert_eq!(back[0].as_ref().ok(), Some(&copy(mailbox, 3).await.id));
    }
    let gone = copy(mailbox, 5).await.to_ref();
    for _ in 0..2 {
        let results =
            mailbox.remove(&[gone.clone(), CopyRef { id: nobody.to_owned(), ..gone.clone() }]).await;
        assert!(results.len() == 2 && results.iter().all(Result::is_ok), "removing what is gone succeeds");
    }
    assert!(mailbox.find(&StampPrefix::exactly(&stamp(1, 5))).await.expect("find").is_empty());
}

async fn renames(mailbox: &Arc<dyn TargetMailbox>, work: &TargetFolderId) {
    let before: BTreeSet<String> =
        mailbox.find(&everything()).await.expect("find").into_iter().map(|c| c.stamp.to_string()).collect();
    for _ in 0..2 {
        mailbox.rename_folder(work, &wanted(&["Done", "Late", "2026"])).await.expect("rename, twice");
    }
    assert_eq!(mailbox.folder(&wanted(&["Done", "Late", "2026"])).await.expect("folder"), *work);
    let after = mailbox.find(&everything()).await.expect("find");
    assert!(after.iter().any(|c| c.folder == *work), "its copies came along");
    assert_eq!(after.into_iter().map(|c| c.stamp.to_string()).collect::<BTreeSet<_>>(), before);
    mailbox.folder(&wanted(&["Taken"])).await.expect("folder");
    let taken = mailbox.rename_folder(work, &wanted(&["Taken"])).await.expect_err("taken");
    assert_eq!(taken.kind, Kind::Conflict);
}

async fn lanes(harness: &impl TargetHarness, mailbox: &Arc<dyn TargetMailbox>, inbox: &TargetFolderId) {
    let batch = |lane: u64| {
        let items = (0..5u64).map(move |n| item(3, lane * 10 + n, b"A: 1\r\n\r\nlane\r\n", "S", Some(1)));
        store(harness, mailbox, inbox, items.collect())
    };
    let done = futures_util::future::join_all((1..=4).map(batch)).await;
    assert!(done.iter().flatten().all(|o| matches!(o, Outcome::Stored { .. })));
    let prefix = StampPrefix::folder(&source_name(), &MailboxKey::of(&source_name(), "anna"), FolderId(3));
    assert_eq!(mailbox.find(&prefix).await.expect("find").len(), 20);
}

/// A Maildir target, looked at as plain files.
pub struct MaildirHarness {
    pub dir: tempfile::TempDir,
    pub settings: MaildirTargetSettings,
    env: Env,
    outside: String,
}

impl MaildirHarness {
    pub fn new(layout: Layout, line_ends: LineEnds) -> MaildirHarness {
        let dir = tempfile::tempdir().expect("dir");
        fs::create_dir(dir.path().join("target")).expect("dir");
        fs::write(dir.path().join("canary"), "untouched").expect("write");
        fs::create_dir(dir.path().join("target/other")).expect("dir");
        let root = dir.path().join("target").to_string_lossy().into_owned();
        let settings = MaildirTargetSettings { root, layout, line_ends, ..MaildirTargetSettings::default() };
        let outside = outside(dir.path());
        MaildirHarness { dir, settings, env: Env::system(), outside }
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("target/anna@example.org")
    }
}

/// Everything but the mailbox.
fn outside(dir: &Path) -> String {
    let mut names: Vec<String> = Vec::new();
    for at in [dir.to_path_buf(), dir.join("target"), dir.join("target/other")] {
        let entries = fs::read_dir(at).expect("dir").map(|e| e.expect("entry").path());
        names.extend(
            entries.map(|p| p.to_string_lossy().into_owned()).filter(|p| !p.ends_with("/anna@example.org")),
        );
    }
    names.sort();
    names.join("\n")
}

/// Message files below a Maildir root: directory of the folder, file name.
pub fn message_files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).expect("dir") {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            if path.is_dir() && !name.contains("mailwave-removed") {
                todo.push(path);
            } else if path.parent().is_some_and(|p| p.ends_with("cur") || p.ends_with("new")) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

#[async_trait]
impl TargetHarness for MaildirHarness {
    fn env(&self) -> Env {
        self.env.clone()
    }

    fn target(&self) -> Arc<dyn Target> {
        Arc::new(MaildirTarget::new(self.env.clone(), self.settings.clone()).expect("settings"))
    }

    fn mailbox(&self) -> String {
        "anna@example.org".to_owned()
    }

    async fn foreign(&mut self, octets: &[u8]) {
        fs::create_dir_all(self.root().join("cur")).expect("dir");
        fs::write(self.root().join("cur/1600000000.M1P1.host:2,S"), octets).expect("write");
    }

    async fn truth(&self) -> Vec<Held> {
        let held = |path: PathBuf| {
            let name = path.file_name().expect("name").to_string_lossy().into_owned();
            let (base, letters) = name.split_once(":2,").unwrap_or((&name, ""));
            let folder = path.parent().and_then(Path::parent).expect("folder");
            let keywords = fs::read_to_string(folder.join("dovecot-keywords")).unwrap_or_default();
            let mut flags = Flags::decode(&letters.replace(|c: char| c.is_ascii_lowercase(), ""));
            if letters.contains('P') {
                flags.add("$Forwarded");
            }
            for line in keywords.lines() {
                let (index, keyword) = line.split_once(' ').expect("a keyword line");
                let letter = char::from(b'a' + index.parse::<u8>().expect("index"));
                if letters.contains(letter) {
                    flags.add(keyword);
                }
            }
            Held {
                stamp: base
                    .split_once(".mw1.")
                    .map(|(_, rest)| format!("mw1.{}", rest.split(',').next().expect("stamp"))),
                octets: Some(fs::read(&path).expect("read")),
                flags: flags.encode(),
                received: path.metadata().expect("seen").mtime(),
            }
        };
        message_files(&self.root()).into_iter().map(held).collect()
    }

    async fn remake(&mut self) -> bool {
        fs::remove_dir_all(self.root()).expect("remove");
        true
    }

    async fn check_confined(&self) {
        assert_eq!(outside(self.dir.path()), self.outside, "nothing was written outside of the mailbox");
        assert_eq!(fs::read_to_string(self.dir.path().join("canary")).expect("canary"), "untouched");
    }

    fn takes_nothing(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn maildir_plus_plus_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::PlusPlus, LineEnds::Keep)).await;
}

#[tokio::test]
async fn maildir_in_nested_directories_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::Fs, LineEnds::Keep)).await;
}

#[tokio::test]
async fn maildir_with_lf_line_ends_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::PlusPlus, LineEnds::Lf)).await;
}
