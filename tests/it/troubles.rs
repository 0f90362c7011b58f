//! The troubles of real migrations over IMAP, one behaviour each, as whole passes: `TROUBLES.md` names these tests.

mod changes;
mod folders;
mod identity;
mod messages;
mod microsoft;
mod network;
mod sources;
mod target;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use mailwave::mock::imap::{ImapMock, ImapOptions, InternalDate};

use crate::bad_input::desk::{Desk, Imap, MAILDIR_TARGET, Ran, mail, tree};

const USER: &str = "canary.ann";
const PASSWORD: &str = "password = { file = \"pw\" }";
/// When every message was received that a test puts somewhere without a date.
const RECEIVED: i64 = 1_200_000_000;

/// One mailbox of a mock IMAP server on its way into a Maildir.
struct Way {
    imap: Imap,
    desk: Desk,
}

/// A copy at the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    /// The directory of its folder; empty for the inbox.
    folder: String,
    octets: Vec<u8>,
    /// Letters of the file name.
    flags: String,
    received: i64,
}

impl Way {
    fn new() -> Way {
        Way::from(ImapOptions::default())
    }

    fn from(options: ImapOptions) -> Way {
        Way::with(options, "", "")
    }

    /// `source` and `target` are further lines of their tables.
    fn with(options: ImapOptions, source: &str, target: &str) -> Way {
        let imap = Imap::start(options);
        imap.mock.store().add_user(USER);
        let config = imap.config(&format!("{PASSWORD}\n{source}"));
        let desk =
            Desk::new(&format!("{config}{MAILDIR_TARGET}{target}"), &format!("source,target\n{USER},ann\n"));
        desk.secret("pw", "canary-password\n");
        Way { imap, desk }
    }

    fn mock(&self) -> &ImapMock {
        &self.imap.mock
    }

    fn put(&self, folder: &str, octets: impl Into<Vec<u8>>, flags: &[&str]) -> u32 {
        self.mock().store().add(USER, folder, octets.into(), flags, InternalDate::utc(RECEIVED))
    }

    /// So many good messages in a folder, different ones from those of other folders.
    fn fill(&self, folder: &str, count: usize) {
        for n in 1..=count {
            self.put(folder, mail(&format!("{USER}.{folder}"), n), &["\\Seen"]);
        }
    }

    #[track_caller]
    fn run(&self) -> Ran {
        self.desk.run()
    }

    /// A run that ends well and stores so many.
    #[track_caller]
    fn stores(&self, count: u64) -> Ran {
        let ran = self.run();
        ran.ended(0);
        assert_eq!(ran.count("stored"), count, "{}", ran.json);
        ran
    }

    /// Every copy, in order.
    fn copies(&self) -> Vec<Copy> {
        let root = self.desk.path("out/ann");
        let copy = |path: std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let folder = path.parent().and_then(|p| p.parent()).unwrap().strip_prefix(&root).unwrap();
            Copy {
                folder: folder.to_string_lossy().into_owned(),
                octets: fs::read(&path).unwrap(),
                flags: name.split_once(":2,").map(|(_, flags)| flags.to_owned()).unwrap_or_default(),
                received: path.metadata().unwrap().mtime(),
            }
        };
        // What the target took away is kept beside its folders.
        let removed = root.join("mailwave-removed");
        let there = tree(&root).into_iter().filter(|path| !path.starts_with(&removed));
        let mut all: Vec<Copy> = there.map(copy).collect();
        all.sort();
        all
    }

    /// How many copies lie in which folder.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for copy in self.copies() {
            *counts.entry(copy.folder).or_default() += 1;
        }
        counts
    }

    /// Every message of the source is at the target once, octet by octet, and nothing else is.
    #[track_caller]
    fn is_whole(&self) {
        let store = self.mock().store();
        let mut there: Vec<Vec<u8>> = store
            .folders(USER)
            .iter()
            .flat_map(|folder| store.messages(USER, folder))
            .map(|m| m.octets.to_vec())
            .collect();
        there.sort();
        let mut arrived: Vec<Vec<u8>> = self.copies().into_iter().map(|c| c.octets).collect();
        arrived.sort();
        assert!(arrived == there, "{} of {} messages arrived, or others", arrived.len(), there.len());
        assert_eq!(store.client_changes(), 0, "the source was only read");
    }

    /// Every rule of the fault script acted.
    #[track_caller]
    fn all_fired(&self) {
        assert!(self.mock().unfired().is_empty(), "{:?}", self.mock().unfired());
    }
}
