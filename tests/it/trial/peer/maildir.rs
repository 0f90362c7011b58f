//! Maildirs as a target of the trial, read without the program's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use mailwave::env::Env;
use mailwave::model::Digest;
use mailwave::target::Target;
use mailwave::target::maildir::{MaildirTarget, MaildirTargetSettings};

use super::{Account, Held};
use crate::trial::source::fingerprint;

pub fn target(env: &Env, root: &Path) -> Arc<dyn Target> {
    let root = root.to_str().expect("a plain path").to_owned();
    let settings = MaildirTargetSettings { root, ..MaildirTargetSettings::default() };
    Arc::new(MaildirTarget::new(env.clone(), settings).expect("the settings are right"))
}

pub fn account(root: &Path) -> Account {
    let (mut held, mut wrong, mut stamps) = (Held::new(), Vec::new(), BTreeSet::new());
    for mailbox in dirs(root) {
        let inbox = std::iter::once((String::new(), root.join(&mailbox)));
        let folders = dirs(&root.join(&mailbox)).into_iter().filter(|name| name.starts_with('.'));
        for (name, dir) in inbox.chain(folders.map(|name| (name.clone(), root.join(&mailbox).join(name)))) {
            let mut copies = messages(&dir, &mut |stamp| {
                if !stamps.insert(stamp.to_owned()) {
                    wrong.push(format!("two copies of one stamp: {stamp}"));
                }
            });
            copies.sort();
            if !copies.is_empty() {
                held.insert((mailbox.clone(), name), copies);
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    fingerprint(root).hash(&mut hasher);
    Account { held, foreign: 0, writes: hasher.finish() >> 1, wrong, faults: BTreeMap::new(), peak: None }
}

fn dirs(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|e| e.expect("an entry"));
    entries.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// Octets, flags and dates of the messages in a Maildir; `stamped` is told each stamp (`SECONDS.STAMP,S=SIZE:2,FLAGS`).
fn messages(dir: &Path, stamped: &mut impl FnMut(&str)) -> Vec<String> {
    let keywords = fs::read_to_string(dir.join("dovecot-keywords")).unwrap_or_default();
    let keyword = |letter: char| {
        let at = format!("{} ", letter as u32 - 'a' as u32);
        keywords.lines().find_map(|line| line.strip_prefix(&at)).unwrap_or("no name").to_owned()
    };
    let mut all = Vec::new();
    for sub in ["new", "cur"] {
        for entry in fs::read_dir(dir.join(sub)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).expect("ASCII").to_owned();
            let (base, letters) = name.split_once(":2,").unwrap_or((&name, ""));
            let stamp = base.split_once('.').map_or(base, |(_, rest)| rest);
            stamped(stamp.split_once(',').map_or(stamp, |(stamp, _)| stamp));
            let flags: BTreeSet<String> = letters
                .chars()
                .map(|c| if c.is_ascii_lowercase() { keyword(c) } else { c.to_string() })
                .collect();
            let octets = fs::read(&path).expect("readable");
            let received = path.metadata().expect("it is there").mtime();
            all.push(format!("{:?}", (Digest::of(&octets), flags, received)));
        }
    }
    all
}
