//! What every source promises, checked through the trait alone. A backend joins with a [`SourceHarness`].

pub mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::model::{Bodies, Flags, FolderPath, Kind, Listed, Scope, SourceId, SpecialUse, Timestamp};
use mailwave::source::maildir::{Layout, MaildirSettings, MaildirSource, Numbers, Received};
use mailwave::source::mbox::{MboxSettings, MboxSource};
use mailwave::source::{
    Counters, Extent, Fetched, Listing, Since, Source, SourceFolder, SourceMailbox, Wanted,
};

/// A message as it lies at the source, in the octets it must come out with.
#[derive(Debug, Clone)]
pub struct Planted {
    pub octets: Vec<u8>,
    pub flags: Flags,
    pub received: i64,
}

pub fn planted(octets: impl Into<Vec<u8>>, flags: &str, received: i64) -> Planted {
    Planted { octets: octets.into(), flags: Flags::decode(flags), received }
}

/// One backend with one mailbox, which the suite may change behind its back. What a store cannot do answers `false`,
/// and the suite leaves out what needs it.
#[async_trait]
pub trait SourceHarness: Send {
    fn source(&self) -> Arc<dyn Source>;
    /// The mailbox, as an operator names it. It need not exist before the first `plant`.
    fn mailbox(&self) -> String;
    /// Adds messages to a folder, which is made if missing.
    async fn plant(&mut self, folder: &[&str], messages: &[Planted]);
    /// Takes away the first message with these octets.
    async fn expunge(&mut self, folder: &[&str], octets: &[u8]);
    /// Gives the first message with these octets other flags.
    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool;
    /// Makes one message unreadable, its neighbours not.
    async fn spoil(&mut self, folder: &[&str], octets: &[u8]) -> bool;
    /// Numbers the folder anew.
    async fn renumber(&mut self, folder: &[&str]) -> bool;
    /// Everything the store holds, to see that reading wrote nothing.
    async fn fingerprint(&self) -> String;
    /// Does the store know who has a mailbox? Some make one for whoever asks.
    fn knows_its_mailboxes(&self) -> bool {
        true
    }
    /// Can such a store hold these octets, and give them out as they are? The suite leaves out what it cannot.
    fn holds(&self, _: &[u8]) -> bool {
        true
    }
}

pub const DEEP: [&str; 2] = ["Projekte", "Ärger & 日本 📁"];

fn bodies(memory_limit: u64, max: u64) -> Bodies {
    Bodies { memory_limit, max, spool: std::env::temp_dir() }
}

fn wanted(listed: &[Listed]) -> Vec<Wanted> {
    let number = |(at, l): (usize, &Listed)| Wanted {
        number: match &l.id {
            SourceId::Number(n) => *n,
            SourceId::Name(_) => at as u64 + 1,
        },
        id: l.id.clone(),
        size: l.size,
    };
    listed.iter().enumerate().map(number).collect()
}

pub async fn list(mailbox: &mut Box<dyn SourceMailbox>, folder: &SourceFolder) -> (Vec<Listed>, Listing) {
    let mut listed = Vec::new();
    let listing = mailbox.list(folder, None, &mut |l| listed.push(l)).await.expect("a listing");
    (listed, listing)
}

/// Lists once more after an error that may pass: a server that finds its own files gone may say NO first.
async fn list_at_last(mailbox: &mut Box<dyn SourceMailbox>, folder: &SourceFolder) -> Listing {
    for _ in 0..3 {
        match mailbox.list(folder, None, &mut |_| ()).await {
            Ok(listing) => return listing,
            Err(e) => assert!(e.may_pass(), "{e}"),
        }
    }
    panic!("the folder cannot be listed any more");
}

fn octets(fetched: &Fetched) -> Vec<u8> {
    match fetched {
        Fetched::Message { body, .. } => body.bytes().expect("octets").to_vec(),
        other => panic!("not a message: {other:?}"),
    }
}

fn sorted(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.sort();
    all
}

pub fn find<'a>(folders: &'a [SourceFolder], names: &[&str]) -> &'a SourceFolder {
    folders
        .iter()
        .find(|f| f.path.names().iter().map(String::as_str).eq(names.iter().copied()))
        .unwrap_or_else(|| panic!("no folder {names:?}"))
}

/// Reads a whole mailbox: folder names → messages with flags and date, sorted.
pub async fn read_all(
    source: &dyn Source,
    mailbox: &str,
) -> BTreeMap<Vec<String>, Vec<(Vec<u8>, String, i64)>> {
    let mut mailbox = source.open(mailbox).await.expect("open");
    let mut out = BTreeMap::new();
    for folder in mailbox.folders().await.expect("folders").iter().filter(|f| f.selectable) {
        let (listed, listing) = list(&mut mailbox, folder).await;
        let mut messages = Vec::new();
        for (batch, facts) in wanted(&listed).chunks(50).zip(listed.chunks(50)) {
            let fetched =
                mailbox.fetch(folder, listing.epoch, batch, &bodies(1 << 20, 1 << 40)).await.expect("fetch");
            for (fetched, listed) in fetched.iter().zip(facts) {
                let received = listed.received.map_or(0, |t| t.seconds);
                messages.push((octets(fetched), listed.flags.encode(), received));
            }
        }
        messages.sort();
        out.insert(folder.path.names().to_vec(), messages);
    }
    out
}

const FIRST: &[u8] = b"Subject: one\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nfirst\r\n";
const NEW: &[u8] = b"Subject: new\r\n\r\nnew\r\n";

/// The contract.
pub async fn suite(mut harness: impl SourceHarness) {
    let big = format!("Subject: big\r\n\r\n{}", "0123456789abcdef\r\n".repeat(8000));
    let mut inbox = vec![
        planted(FIRST, "", 1_700_000_001),
        planted("Subject: twin\r\n\r\nsame\r\n", "S", 1_700_000_002),
        planted("Subject: twin\r\n\r\nsame\r\n", "FS", 1_700_000_003),
        planted("", "", 1_700_000_004),
        planted("no header at all\r\n", "", 1_700_000_005),
        planted(&b"Subject: \xe4\xf6\r\n\r\n8 bit \xff\xfe\r\n"[..], "R", 1_700_000_006),
        planted(&b"Subject: nul\r\n\r\n\0nul\r\n"[..], "R", 1_700_000_009),
        planted(big.as_bytes(), "D", 1_700_000_007),
        planted("Subject: quoted\r\n\r\nFrom here\r\n>From there\r\n>>From x\r\n.\r\n", "T", 1_700_000_008),
        planted("Subject: header only\r\n", "S", 0),
    ];
    let deep = vec![
        planted("A: 1\r\n\r\nx\r\n", "S work", 1_600_000_000),
        planted("A: 2\r\n\r\ny\r\n", "", 1_600_000_001),
    ];
    inbox.retain(|p| harness.holds(&p.octets));
    harness.plant(&["INBOX"], &inbox).await;
    harness.plant(&DEEP, &deep).await;
    let before = harness.fingerprint().await;

    // The same folders in the same order, no path twice, one inbox.
    let source = harness.source();
    let mut mailbox = source.open(&harness.mailbox()).await.expect("open");
    let folders = mailbox.folders().await.expect("folders");
    assert!(folders == mailbox.folders().await.expect("folders again"), "the folders stay the same");
    let paths: BTreeSet<&FolderPath> = folders.iter().map(|f| &f.path).collect();
    assert_eq!(paths.len(), folders.len(), "no path is listed twice");
    let at = find(&folders, &["INBOX"]).clone();
    assert_eq!(at.special, Some(SpecialUse::Inbox));
    assert!(at.selectable);
    assert_eq!(folders.iter().filter(|f| f.special == Some(SpecialUse::Inbox)).count(), 1);
    let below = find(&folders, &DEEP).clone();

    // A complete listing, the same one twice, ids unique, numbers ascending.
    let (listed, listing) = list(&mut mailbox, &at).await;
    let (again, listing_again) = list(&mut mailbox, &at).await;
    assert_eq!((&listed, &listing), (&again, &listing_again), "listing twice gives the same");
    assert_eq!(listed.len(), inbox.len());
    let ids: BTreeSet<&SourceId> = listed.iter().map(|l| &l.id).collect();
    assert_eq!(ids.len(), listed.len(), "ids are unique");
    let numbers: Vec<u64> = listed
        .iter()
        .filter_map(|l| match l.id {
            SourceId::Number(n) => Some(n),
            SourceId::Name(_) => None,
        })
        .collect();
    assert!(numbers.is_sorted(), "numbers ascend");
    assert!(listing.next == 0 || numbers.iter().all(|n| *n < listing.next));
    if mailbox.capabilities().names {
        assert!(numbers.is_empty());
    }

    // Exactly one entry per wanted message, in the order wanted; flags and dates as planted.
    let all = wanted(&listed);
    let roomy = bodies(1 << 20, 1 << 40);
    let fetched = mailbox.fetch(&at, listing.epoch, &all, &roomy).await.expect("fetch");
    assert_eq!(fetched.len(), all.len());
    let got: Vec<Vec<u8>> = fetched.iter().map(octets).collect();
    assert_eq!(
        sorted(got.clone()),
        sorted(inbox.iter().map(|p| p.octets.clone()).collect()),
        "octets are exact"
    );
    let row = |l: &Listed, f: &Fetched, o: &[u8]| {
        let (flags, received) = match f {
            Fetched::Message { flags, received, .. } => (flags.clone(), *received),
            _ => (None, None),
        };
        let received = received.or(l.received).map(|t| t.seconds);
        (o.to_vec(), flags.unwrap_or_else(|| l.flags.clone()).encode(), received)
    };
    let mut facts: Vec<_> = listed.iter().zip(&fetched).zip(&got).map(|((l, f), o)| row(l, f, o)).collect();
    let mut meant: Vec<_> =
        inbox.iter().map(|p| (p.octets.clone(), p.flags.encode(), Some(p.received))).collect();
    facts.sort();
    meant.sort();
    assert_eq!(facts, meant, "flags and received dates are as planted");

    // Any order, with one that is not there; through the spool; above the limit.
    let mut odd: Vec<Wanted> = all.iter().rev().cloned().collect();
    let nobody = match all[0].id {
        SourceId::Number(_) => SourceId::Number(4_000_000_000),
        SourceId::Name(_) => SourceId::Name("nobody".to_owned()),
    };
    odd.insert(2, Wanted { number: 4_000_000_000, id: nobody, size: None });
    let fetched = mailbox.fetch(&at, listing.epoch, &odd, &bodies(100, 1 << 40)).await.expect("fetch");
    assert_eq!(fetched.len(), odd.len());
    assert!(matches!(fetched[2], Fetched::Gone), "what is not there is gone");
    for (w, f) in odd.iter().zip(&fetched).filter(|(_, f)| !matches!(f, Fetched::Gone)) {
        let at = all.iter().position(|a| a.id == w.id).expect("known");
        assert_eq!(octets(f), got[at], "in the order wanted, also through the spool");
    }
    let fetched = mailbox.fetch(&at, listing.epoch, &all, &bodies(100, 1000)).await.expect("fetch");
    for (f, o) in fetched.iter().zip(&got) {
        match f {
            Fetched::Failed(e) => {
                assert!(o.len() > 1000, "only the large one fails");
                assert_eq!((e.kind, e.scope), (Kind::TooLarge, Scope::Message));
            }
            f => assert_eq!(octets(f), *o),
        }
    }

    // Given back in the middle of a folder, and taken again by itself.
    mailbox.fetch(&at, listing.epoch, &all[..3], &roomy).await.expect("fetch");
    mailbox.release().await;
    let fetched = mailbox.fetch(&at, listing.epoch, &all[3..], &roomy).await.expect("fetch after release");
    assert_eq!(fetched.iter().map(octets).collect::<Vec<_>>(), got[3..]);
    mailbox.release().await;
    assert_eq!(list(&mut mailbox, &at).await.0, listed);

    // The other folder, with its keywords.
    let (listed_below, _) = list(&mut mailbox, &below).await;
    let flags: BTreeSet<String> = listed_below.iter().map(|l| l.flags.encode()).collect();
    assert_eq!(flags, BTreeSet::from(["S work".to_owned(), String::new()]));

    // Another epoch is a conflict, never other messages.
    let wrong = mailbox.fetch(&at, listing.epoch + 1, &all, &roomy).await.expect_err("another epoch");
    assert_eq!(wrong.kind, Kind::Conflict);
    assert_eq!(harness.fingerprint().await, before, "the source was only read");

    deltas(&mut harness).await;
    changes(&mut harness, &at).await;
    strangers(&harness, &at).await;
}

/// A listing since another one tells what the two differ by, or is whole.
async fn deltas(harness: &mut impl SourceHarness) {
    let note = |n: u8| format!("Subject: note {n}\r\n\r\nnote {n}\r\n").into_bytes();
    harness.plant(&["INBOX"], &[1, 2, 3].map(|n| planted(note(n), "", 1_700_000_050 + i64::from(n)))).await;
    let mut mailbox = harness.source().open(&harness.mailbox()).await.expect("open");
    let folders = mailbox.folders().await.expect("folders");
    let (before, then) = list(&mut mailbox, find(&folders, &["INBOX"])).await;
    let counters =
        Counters { epoch: then.epoch, next: then.next, messages: then.messages, modseq: then.modseq };
    if let Some(told) = find(&folders, &["INBOX"]).counters {
        assert_eq!(told, counters, "the list of folders tells what a listing tells");
    }
    for step in 0..4 {
        match step {
            1 => harness.plant(&["INBOX"], &[planted(note(4), "S", 1_700_000_060)]).await,
            2 => drop(harness.reflag(&["INBOX"], &note(2), "FS").await),
            3 => harness.expunge(&["INBOX"], &note(1)).await,
            _ => {}
        }
        for flags_may_be_stale in [true, false] {
            let fresh = mailbox.folders().await.expect("folders");
            let at = find(&fresh, &["INBOX"]);
            let (now, whole) = list(&mut mailbox, at).await;
            let last = before.iter().filter_map(number).max().unwrap_or(0);
            let also = [last];
            let since = Since { counters, also: &also, flags_may_be_stale };
            let mut told = Vec::new();
            let listing = mailbox.list(at, Some(&since), &mut |l| told.push(l)).await.expect("a listing");
            assert_eq!((listing.epoch, listing.messages), (whole.epoch, whole.messages));
            assert!(told.is_sorted_by_key(number), "numbers ascend");
            let Extent::Changes { vanished, stale_flags } = &listing.extent else {
                assert_eq!(told, now, "step {step}");
                continue;
            };
            assert!(flags_may_be_stale || !stale_flags);
            assert!(last == 0 || told.iter().any(|l| number(l) == Some(last) && l.size.is_some()));
            let mut merged: BTreeMap<Option<u64>, Listed> = before
                .iter()
                .filter(|l| number(l).is_some_and(|n| !vanished.contains(n)))
                .map(|l| (number(l), l.clone()))
                .collect();
            for one in told {
                let known = merged.remove(&number(&one));
                let received = one.received.or_else(|| known.as_ref().and_then(|k| k.received));
                let size = one.size.or_else(|| known.as_ref().and_then(|k| k.size));
                let object = one.object.max(known.map_or(0, |k| k.object));
                merged.insert(number(&one), Listed { received, size, object, ..one });
            }
            let merged: Vec<Listed> = merged.into_values().collect();
            let plain = |list: &[Listed]| -> Vec<Listed> {
                let flags = |l: &Listed| if *stale_flags { Flags::default() } else { l.flags.clone() };
                list.iter().map(|l| Listed { flags: flags(l), ..l.clone() }).collect()
            };
            assert_eq!(plain(&merged), plain(&now), "step {step}: what was plus what changed is what is");
        }
    }
}

fn number(listed: &Listed) -> Option<u64> {
    match listed.id {
        SourceId::Number(n) => Some(n),
        SourceId::Name(_) => None,
    }
}

/// What happens at the source while it is read.
async fn changes(harness: &mut impl SourceHarness, at: &SourceFolder) {
    let roomy = bodies(1 << 20, 1 << 40);
    let mut mailbox = harness.source().open(&harness.mailbox()).await.expect("open");
    let (listed, listing) = list(&mut mailbox, at).await;
    let all = wanted(&listed);

    // Expunged between listing and fetch: gone, or the whole call says that the folder changed.
    harness.expunge(&["INBOX"], FIRST).await;
    match mailbox.fetch(at, listing.epoch, &all, &roomy).await {
        Ok(fetched) => {
            assert_eq!(fetched.len(), all.len());
            assert_eq!(fetched.iter().filter(|f| matches!(f, Fetched::Gone)).count(), 1);
        }
        Err(e) => assert!(e.kind == Kind::Conflict && e.may_pass(), "{e}"),
    }
    let (after, _) = list(&mut mailbox, at).await;
    assert_eq!(after.len(), listed.len() - 1);
    let ids = |listed: &[Listed]| listed.iter().map(|l| l.id.clone()).collect::<BTreeSet<_>>();
    assert!(ids(&after).is_subset(&ids(&listed)), "the others keep their names");

    // New mail takes nobody's name.
    harness.plant(&["INBOX"], &[planted(NEW, "", 1_700_000_100)]).await;
    let (more, _) = list(&mut mailbox, at).await;
    assert!(ids(&after).is_subset(&ids(&more)) && more.len() == after.len() + 1);

    // Other flags, found again by the old name.
    let all = wanted(&more);
    if harness.reflag(&["INBOX"], NEW, "FRS").await {
        if let Ok(fetched) = mailbox.fetch(at, listing.epoch, &all, &roomy).await {
            assert!(fetched.iter().all(|f| matches!(f, Fetched::Message { .. })), "flags lose nobody");
        }
        let (reflagged, _) = list(&mut mailbox, at).await;
        assert_eq!(ids(&reflagged), ids(&more), "flags change no names");
        assert_eq!(reflagged.iter().filter(|l| l.flags.encode() == "FRS").count(), 1);
    }

    if harness.spoil(&["INBOX"], NEW).await {
        let (listed, listing) = list(&mut mailbox, at).await;
        let fetched = mailbox
            .fetch(at, listing.epoch, &wanted(&listed), &roomy)
            .await
            .expect("the neighbours are fine");
        let failed: Vec<_> = fetched
            .iter()
            .filter_map(|f| match f {
                Fetched::Failed(e) => Some(e),
                _ => None,
            })
            .collect();
        assert_eq!(failed.len(), 1, "one is told to have failed, none is missing");
        assert_eq!(failed[0].scope, Scope::Message);
        assert!(!failed[0].remedy.is_empty());
    }

    mailbox.release().await;
    if harness.renumber(&["INBOX"]).await {
        let renumbered = list_at_last(&mut mailbox, at).await;
        assert_ne!(renumbered.epoch, listing.epoch, "a new numbering is a new epoch");
        let fresh = harness.source().open(&harness.mailbox()).await.expect("open");
        let old = fresh.fetch(at, listing.epoch, &all, &roomy).await.expect_err("the old epoch");
        assert_eq!(old.kind, Kind::Conflict);
    }
}

/// Names nobody gave.
async fn strangers(harness: &impl SourceHarness, at: &SourceFolder) {
    let source = harness.source();
    // Credentials that were right once are not given up for a few names that are wrong.
    let mailbox = source.open(&harness.mailbox()).await.expect("open");
    for name in ["nobody@example.org", "../other", "/etc", "a/../../b", "", "x\0y"] {
        if name.starts_with("nobody") && !harness.knows_its_mailboxes() {
            continue;
        }
        let Err(e) = source.open(name).await else { panic!("{name:?} was opened") };
        assert_eq!(e.scope, Scope::Mailbox, "{e}");
        assert!(name.is_empty() || !e.to_string().contains(name), "an error names nobody: {e}");
    }
    for handle in ["nowhere", "../..", "/etc", "//x"] {
        let folder = SourceFolder { handle: handle.to_owned(), ..at.clone() };
        let e = mailbox.list(&folder, None, &mut |_| ()).await.expect_err("a folder that is not there");
        assert_eq!(e.scope, Scope::Folder, "{e}");
    }
}

/// Every file below a directory with its octets and times, as one text.
pub fn fingerprint(root: &Path) -> String {
    let mut out = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).expect("dir") {
            let path = entry.expect("entry").path();
            let seen = path.symlink_metadata().expect("seen");
            if seen.is_dir() {
                todo.push(path.clone());
            }
            let content = if seen.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
            out.push(format!("{path:?} {:?} {}", seen.modified().expect("time"), blake3::hash(&content)));
        }
    }
    out.sort();
    out.join("\n")
}

/// A Dovecot list: validity, next number, numbers with base names.
type List = (u64, u64, Vec<(u64, String)>);

/// A Maildir on disk, with LF line ends, written without the code under test.
pub struct MaildirHarness {
    pub dir: tempfile::TempDir,
    pub settings: MaildirSettings,
    /// Dovecot's lists, by folder directory.
    lists: BTreeMap<PathBuf, List>,
    made: u64,
}

const USER: &str = "anna@example.org";

impl MaildirHarness {
    pub fn new(layout: Layout, numbers: Numbers) -> MaildirHarness {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().join("mail/{domain}/{user}/Maildir").to_string_lossy().into_owned();
        let settings = MaildirSettings { root, layout, numbers, ..MaildirSettings::default() };
        let me = MaildirHarness { dir, settings, lists: BTreeMap::new(), made: 0 };
        fs::create_dir_all(me.root()).expect("dir");
        me
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mail/example.org/anna/Maildir")
    }

    pub fn folder(&self, names: &[&str]) -> PathBuf {
        // Modified UTF-7 of the names the suite uses, by hand.
        let coded: Vec<String> = names
            .iter()
            .map(|n| n.replace('&', "&-").replace('Ä', "&AMQ-").replace("日本 📁", "&ZeVnLA- &2D3cwQ-"))
            .collect();
        match (names, self.settings.layout) {
            (["INBOX"], _) => self.root(),
            (_, Layout::PlusPlus) => self.root().join(format!(".{}", coded.join("."))),
            (_, Layout::Fs) => self.root().join(coded.join("/")),
        }
    }

    /// The first file with these octets.
    fn file(&self, names: &[&str], octets: &[u8]) -> PathBuf {
        let lf = String::from_utf8_lossy(octets).replace("\r\n", "\n");
        let mut files: Vec<PathBuf> = ["cur", "new"]
            .iter()
            .flat_map(|sub| fs::read_dir(self.folder(names).join(sub)).expect("dir"))
            .map(|e| e.expect("entry").path())
            .collect();
        files.sort();
        let same = |p: &PathBuf| p.is_file() && String::from_utf8_lossy(&fs::read(p).expect("read")) == lf;
        files.into_iter().find(same).expect("the message is there")
    }

    fn write_list(&mut self, dir: &Path) {
        if self.settings.numbers == Numbers::Uidlist {
            let (validity, next, rows) = &self.lists[dir];
            let mut text = format!("3 V{validity} N{next} Gabc\n");
            rows.iter().for_each(|(n, base)| text.push_str(&format!("{n} W10 :{base}:2,S\n")));
            fs::write(dir.join("dovecot-uidlist"), text).expect("write");
        }
    }
}

fn letters(flags: &Flags) -> String {
    let mut letters = flags.letters();
    if flags.keywords.contains("work") {
        letters.push('b');
    }
    letters
}

#[async_trait]
impl SourceHarness for MaildirHarness {
    fn source(&self) -> Arc<dyn Source> {
        Arc::new(MaildirSource::new(Env::system(), self.settings.clone()).expect("settings"))
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        let dir = self.folder(folder);
        ["cur", "new", "tmp"].iter().for_each(|sub| fs::create_dir_all(dir.join(sub)).expect("dir"));
        fs::write(dir.join("dovecot-keywords"), "0 other\n1 work\n").expect("write");
        for message in messages {
            self.made += 1;
            let base = format!("{}.M{}P1.host", message.received, self.made);
            let flags = letters(&message.flags);
            let path = if flags.is_empty() && self.made.is_multiple_of(2) {
                dir.join("new").join(&base)
            } else {
                dir.join("cur").join(format!("{base}:2,{flags}"))
            };
            let mut file = fs::File::create(path).expect("file");
            // LF where that is exact, as on any Unix server.
            let mut octets = Vec::new();
            for (i, b) in message.octets.iter().enumerate() {
                if !(*b == b'\r' && message.octets.get(i + 1) == Some(&b'\n')) {
                    octets.push(*b);
                }
            }
            file.write_all(&octets).expect("write");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(message.received as u64);
            file.set_modified(time).expect("time");
            let (_, next, rows) = self.lists.entry(dir.clone()).or_insert((1_500_000_000, 100, Vec::new()));
            rows.push((*next, base));
            *next += 3;
        }
        self.write_list(&dir);
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        fs::remove_file(self.file(folder, octets)).expect("remove");
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        let from = self.file(folder, octets);
        let name = from.file_name().expect("name").to_string_lossy().into_owned();
        let base = name.split(':').next().expect("base");
        let to = self.folder(folder).join("cur").join(format!("{base}:2,{}", letters(&Flags::decode(flags))));
        fs::rename(from, to).expect("rename");
        true
    }

    async fn spoil(&mut self, folder: &[&str], octets: &[u8]) -> bool {
        // A link in the message's place is not followed; taking away rights would not stop root.
        let file = self.file(folder, octets);
        fs::remove_file(&file).expect("remove");
        std::os::unix::fs::symlink("/etc/hostname", &file).expect("link");
        true
    }

    async fn renumber(&mut self, folder: &[&str]) -> bool {
        let dir = self.folder(folder);
        if let Some(list) = self.lists.get_mut(&dir) {
            list.0 += 1;
        }
        self.write_list(&dir);
        self.settings.numbers == Numbers::Uidlist
    }

    async fn fingerprint(&self) -> String {
        fingerprint(self.dir.path())
    }
}

/// Files in mboxrd form with LF line ends, written without the code under test.
pub struct MboxHarness {
    pub dir: tempfile::TempDir,
    folders: BTreeMap<PathBuf, Vec<Planted>>,
    crlf: bool,
}

impl MboxHarness {
    pub fn new(crlf: bool) -> MboxHarness {
        MboxHarness { dir: tempfile::tempdir().expect("dir"), folders: BTreeMap::new(), crlf }
    }

    fn file(&self, names: &[&str]) -> PathBuf {
        let mut path = self.dir.path().join(USER);
        path.extend(names);
        path.set_extension("mbox");
        path
    }

    fn write(&self, path: &Path) {
        let mut out = Vec::new();
        for message in &self.folders[path] {
            let (y, m, d, h, min, s) = Timestamp::utc(message.received).civil();
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
                [m as usize - 1];
            out.extend_from_slice(
                format!("From x@example.org Mon {month} {d:2} {h:02}:{min:02}:{s:02} {y}\n").as_bytes(),
            );
            let mut header = String::new();
            let flags = &message.flags;
            if flags.seen {
                header.push_str("Status: RO\n");
            }
            let x: String =
                [(flags.answered, 'A'), (flags.flagged, 'F'), (flags.draft, 'T'), (flags.deleted, 'D')]
                    .iter()
                    .filter_map(|(on, c)| on.then_some(*c))
                    .collect();
            if !x.is_empty() {
                header.push_str(&format!("X-Status: {x}\n"));
            }
            if !flags.keywords.is_empty() {
                let all: Vec<&str> = flags.keywords.iter().map(String::as_str).collect();
                header.push_str(&format!("X-Keywords: {}\n", all.join(" ")));
            }
            out.extend_from_slice(header.as_bytes());
            for line in message.octets.split_inclusive(|b| *b == b'\n') {
                let marks = line.iter().take_while(|b| **b == b'>').count();
                if line[marks..].starts_with(b"From ") {
                    out.push(b'>');
                }
                out.extend(line.iter().filter(|b| **b != b'\r'));
            }
            out.push(b'\n');
        }
        if self.crlf {
            out = out.iter().flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] }).collect();
        }
        fs::create_dir_all(path.parent().expect("parent")).expect("dir");
        // As a mail program rewrites its mbox: a new file, so that its identity changes.
        let beside = path.with_extension("tmp");
        fs::write(&beside, out).expect("write");
        fs::rename(beside, path).expect("rename");
    }

    fn change(&mut self, folder: &[&str], change: impl FnOnce(&mut Vec<Planted>)) {
        let path = self.file(folder);
        change(self.folders.entry(path.clone()).or_default());
        self.write(&path);
    }
}

#[async_trait]
impl SourceHarness for MboxHarness {
    fn source(&self) -> Arc<dyn Source> {
        let root = self.dir.path().to_string_lossy().into_owned();
        Arc::new(
            MboxSource::new(Env::system(), MboxSettings { root, ..MboxSettings::default() })
                .expect("settings"),
        )
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn plant(&mut self, folder: &[&str], messages: &[Planted]) {
        self.change(folder, |all| all.extend_from_slice(messages));
    }

    async fn expunge(&mut self, folder: &[&str], octets: &[u8]) {
        self.change(folder, |all| {
            let at = all.iter().position(|p| p.octets == octets).expect("there");
            all.remove(at);
        });
    }

    async fn reflag(&mut self, folder: &[&str], octets: &[u8], flags: &str) -> bool {
        self.change(folder, |all| {
            let at = all.iter().position(|p| p.octets == octets).expect("there");
            all[at].flags = Flags::decode(flags);
        });
        true
    }

    async fn spoil(&mut self, _: &[&str], _: &[u8]) -> bool {
        false
    }

    async fn renumber(&mut self, _: &[&str]) -> bool {
        false
    }

    async fn fingerprint(&self) -> String {
        fingerprint(self.dir.path())
    }
}

#[tokio::test]
async fn maildir_plus_plus_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::PlusPlus, Numbers::Ledger)).await;
}

#[tokio::test]
async fn maildir_in_nested_directories_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::Fs, Numbers::Ledger)).await;
}

#[tokio::test]
async fn maildir_with_dovecots_numbers_keeps_the_contract() {
    suite(MaildirHarness::new(Layout::PlusPlus, Numbers::Uidlist)).await;
    suite(MaildirHarness::new(Layout::Fs, Numbers::Uidlist)).await;
}

#[tokio::test]
async fn maildir_with_dates_in_its_names_keeps_the_contract() {
    let mut harness = MaildirHarness::new(Layout::PlusPlus, Numbers::Ledger);
    harness.settings.received = Received::Name;
    suite(harness).await;
}

#[tokio::test]
async fn mbox_keeps_the_contract() {
    suite(MboxHarness::new(false)).await;
}

#[tokio::test]
async fn mbox_with_crlf_keeps_the_contract() {
    suite(MboxHarness::new(true)).await;
}
