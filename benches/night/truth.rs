//! What the target holds against what the law says the source has: each mailbox as multisets, by folder and Message-ID.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use mailwave::mock::graph::{MailboxTruth, MessageTruth};
use mailwave::mock::imap::made::{Law, Told};
use serde::Serialize;

use crate::common::ask::Asked;

/// Mailboxes named where they differ.
const NAMED: usize = 5;
/// Threads that compare.
const THREADS: usize = 2;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Messages at the source that are not at the target.
    pub lost: u64,
    /// Copies beyond the first, and those of which there is no message at the source.
    pub doubled: u64,
    /// Copies with other octets, date or state.
    pub altered: u64,
    /// Copies that do not say that they are complete.
    pub unstamped: u64,
    /// Messages compared.
    pub compared: u64,
    /// The first mailboxes that differ, and how.
    pub named: Vec<String>,
}

impl Found {
    pub fn clean(&self) -> bool {
        self.lost + self.doubled + self.altered + self.unstamped == 0
    }

    fn add(&mut self, other: Found) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.altered += other.altered;
        self.unstamped += other.unstamped;
        self.compared += other.compared;
        self.named.extend(other.named);
        self.named.truncate(NAMED);
    }
}

/// Asks for every mailbox of the law and compares it.
pub fn compare(law: &Law, address: &str, token: &str) -> Found {
    let (all, next) = (Mutex::new(Found::default()), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                let mut asked = Asked::new(address, token);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= law.mailboxes {
                        break;
                    }
                    let held = asked.json(&format!("/truth/{}", crate::run::target(n)));
                    let found = mailbox(law, n, held);
                    all.lock().unwrap().add(found);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

/// A message's folder as the target names it.
fn folder(name: &str) -> &str {
    match name {
        "INBOX" => "Inbox",
        "Sent" => "Sent Items",
        other => other,
    }
}

fn mailbox(law: &Law, n: u64, held: Option<MailboxTruth>) -> Found {
    let mut found = Found::default();
    let folders = law.folders(n);
    let mut wanted: BTreeMap<(String, String), Vec<Told>> = BTreeMap::new();
    for (at, told) in law.told(n) {
        found.compared += 1;
        let place = folder(&folders[at as usize].name).to_owned();
        wanted.entry((place, told.message_id.clone())).or_default().push(told);
    }
    let held = held.map(|held| held.folders).unwrap_or_default();
    let mut why = String::new();
    for (path, folder) in &held {
        for copy in &folder.messages {
            found.unstamped += u64::from(!stamped(copy));
            let key = (path.clone(), copy.internet_message_id.clone());
            match wanted.get_mut(&key).and_then(Vec::pop) {
                None => {
                    found.doubled += 1;
                    why = format!("{key:?} too many");
                }
                Some(told) if !same(&told, copy) => {
                    found.altered += 1;
                    why = format!("{told:?} became {copy:?}");
                }
                Some(_) => {}
            }
        }
    }
    let missing: u64 = wanted.values().map(|left| left.len() as u64).sum();
    found.lost += missing;
    if let Some((key, _)) = wanted.iter().find(|(_, left)| !left.is_empty()) {
        why = format!("{key:?} lost");
    }
    if !found.clean() {
        found.named.push(format!("mailbox {n}: {why}"));
    }
    found
}

/// Does the copy say that all of it is there?
fn stamped(copy: &MessageTruth) -> bool {
    copy.named.values().any(|value| value.starts_with("mw1.") && value.ends_with("/done"))
}

fn same(told: &Told, copy: &MessageTruth) -> bool {
    let files: Vec<(u64, &str)> = copy.attachments.iter().map(|a| (a.size, a.digest.as_str())).collect();
    let wanted: Vec<(u64, &str)> = told.file.iter().map(|(size, digest)| (*size, digest.as_str())).collect();
    let received = date(&copy.received);
    copy.body_digest == told.body
        && files == wanted
        && copy.subject.as_deref() == Some(told.subject.as_str())
        && copy.is_read == told.seen
        && (copy.flag == "flagged") == told.flagged
        && !copy.is_draft
        && received == Some(told.received)
}

/// Seconds since 1970 of a time as the target writes it.
fn date(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_second())
}
