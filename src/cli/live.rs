//! What a run says of itself: over the control socket, to the file that `status` reads when no run goes on, and at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use crate::engine::{Event, RunState, WaveState};
use crate::env::Env;
use crate::limit::{Binds, Bound, Limits, Opened, Shares, Spent, Stage};
use crate::model::{Kind, Mailbox, Status, Timestamp};
use crate::observe::{Board, Progress};

/// The file's name in the ledger's directory.
const NAME: &str = "last-run.json";
/// A file that is larger is none of ours.
const LARGEST: u64 = 8 << 20;
/// Waiting mailboxes that are named; of more only the number is told.
const MOST_NAMED: usize = 200;

/// What is known of a run while it goes.
pub(super) struct Live {
    env: Env,
    board: Board,
    binds: Mutex<Binds>,
    limits: Arc<Limits>,
    /// The names of its waves. A mailbox of another one belongs to the wave without a name.
    waves: BTreeSet<String>,
    /// Mailboxes that may be open.
    most: usize,
}

impl Live {
    pub(super) fn new(env: &Env, limits: Arc<Limits>, waves: BTreeSet<String>, most: usize) -> Live {
        Live { env: env.clone(), board: Board::default(), binds: Mutex::default(), limits, waves, most }
    }

    pub(super) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    fn binds(&self) -> MutexGuard<'_, Binds> {
        self.binds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wave<'m>(&self, name: &'m str) -> &'m str {
        if self.waves.contains(name) { name } else { "" }
    }

    fn of<'m>(&self, mailbox: &'m Mailbox) -> &'m str {
        self.wave(&mailbox.wave)
    }

    /// Takes note of an event.
    pub(super) fn note(&self, event: &Event) {
        match event {
            Event::Opened(m) => self.board.opened(&m.key),
            Event::Planned { mailbox, messages, bytes } => {
                self.board.planned(&mailbox.key, self.of(mailbox), *messages, *bytes);
            }
            Event::Progress { mailbox, messages, bytes, skipped } => {
                self.board.progress(&mailbox.key, self.of(mailbox), *messages, *bytes, *skipped);
            }
            Event::Waiting { mailbox, wait, why } => {
                let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
                let until = self.env.wall().saturating_add(wait);
                let throttled = why.status == Status::Throttled || why.kind == Kind::Throttled;
                self.board.told(&mailbox.key, self.of(mailbox), until, &why.what, throttled);
            }
            Event::Halted(m) => self.board.closed(&m.key, self.of(m), false),
            Event::Closed(result) => {
                let (m, wave) = (&result.mailbox, self.of(&result.mailbox));
                self.board.closed(&m.key, wave, true);
                if let (Some(until), Some(why)) = (result.parked_until, &result.error) {
                    self.board.told(&m.key, wave, until, &why.what, false);
                }
            }
            Event::WaveOpens { .. } | Event::WaveCloses { .. } => {}
        }
    }

    /// Takes a sample. Call it about once a second.
    pub(super) fn sample(&self, progress: &Progress) {
        let now = self.env.now();
        let accounts = self.limits.accounts();
        let mut waves: BTreeMap<String, Spent> = BTreeMap::new();
        for (name, spent) in accounts.read() {
            *waves.entry(self.wave(&name).to_owned()).or_default() += spent;
        }
        let (totals, open) = (progress.totals(), accounts.lanes());
        let waiting = totals.mailboxes.saturating_sub(totals.closed + open as u64);
        let shared_wait = self.limits.wait_for_shared();
        let words = {
            let mut binds = self.binds();
            binds.sample(now, waves, Opened { open, most: self.most, waiting, shared_wait });
            binds.recently(None).text()
        };
        progress.bound_by(words);
        self.board.sample(now);
    }

    /// What bound all of the run, in words.
    pub(super) fn bound_by(&self) -> Option<String> {
        self.binds().over_all(None).text()
    }

    /// All of it as JSON. Field names are part of the protocol and stay.
    pub(super) fn tell(&self, state: &RunState, progress: &Progress) -> Value {
        let waves: Vec<_> = state.waves.iter().map(|w| self.tell_wave(w)).collect();
        let t = progress.totals();
        let (waiting, number) = self.board.waiting(self.env.wall(), MOST_NAMED);
        let waiting: Vec<_> = waiting
            .into_iter()
            .map(|(key, told)| {
                json!({
                    "mailbox": key.as_str(),
                    "wave": told.wave,
                    "until": time(told.until),
                    "until_ms": told.until,
                    "why": told.why,
                })
            })
            .collect();
        let counters = self.limits.counters();
        let mut all = json!({
            "pid": std::process::id(),
            "draining": state.draining,
            "waves": waves,
            "messages": { "stored": t.messages, "planned": t.planned, "skipped": t.skipped },
            "bytes": { "stored": t.bytes, "planned": t.planned_bytes },
            "told_to_wait": waiting,
            "told_to_wait_in_all": number,
            "requests": { "sent": counters.requests, "throttled": counters.throttled, "unknown": counters.unknown },
        });
        self.add_spent(&mut all, None);
        all
    }

    fn tell_wave(&self, w: &WaveState) -> Value {
        let view = self.board.wave(&w.name, self.env.now());
        let left = view.time_left(w.waiting);
        let c = view.counts;
        let mut wave = json!({
            "wave": w.name,
            "waiting": w.waiting,
            "running": w.running,
            "parked": w.parked,
            "halted": w.halted,
            "ended": w.ended,
            "paused_mailboxes": w.paused,
            "before": w.before,
            "paused": w.is_paused,
            "open": w.open,
            "changes_ms": w.changes,
            "messages": { "stored": c.messages, "planned": c.planned, "skipped": c.skipped },
            "bytes": { "stored": c.bytes, "planned": c.planned_bytes },
            "per_second": { "messages": view.messages_per_second, "bytes": view.bytes_per_second },
            "throttles": c.throttles,
            "seconds_left": left.map(|d| d.as_secs()),
        });
        self.add_spent(&mut wave, Some(&w.name));
        wave
    }

    /// What binds, and what each stage did; of the whole run or a wave.
    pub(super) fn add_spent(&self, to: &mut Value, wave: Option<&str>) {
        let binds = self.binds();
        to["bound_by"] = json!({
            "recently": shares(&binds.recently(wave)),
            "run": shares(&binds.over_all(wave)),
        });
        let spent = binds.spent(wave);
        let stages = Stage::ALL.map(|stage| {
            let sum = spent.stage(stage);
            let told = json!({
                "lane_seconds": sum.time.as_secs_f64(),
                "source_round_trips": sum.source_trips,
                "target_round_trips": sum.target_trips,
                "messages": sum.messages,
                "bytes": sum.bytes,
            });
            (stage.word().to_owned(), told)
        });
        to["stages"] = Value::Object(Map::from_iter(stages));
    }
}

fn time(at: i64) -> String {
    Timestamp::utc(at.div_euclid(1000)).to_rfc3339()
}

/// Shares to a thousandth.
pub(super) fn shares(shares: &Shares) -> Value {
    let round = |share: f64| (share * 1000.0).round() / 1000.0;
    let causes = Bound::ALL.map(|cause| (cause.word().to_owned(), json!(round(shares.of(cause)))));
    json!({
        "text": shares.text(),
        "shares": Value::Object(Map::from_iter(causes)),
        "too_few_open": round(shares.too_few_open),
        "lane_seconds": shares.lanes.as_secs_f64(),
        "over_seconds": shares.over.as_secs_f64(),
    })
}

/// Writes what a run says of itself beside its ledger, for whoever asks when it is gone.
///
/// # Errors
/// The directory takes no file: nothing depends on it.
pub(super) fn save(ledger: &Path, wall: i64, ended: bool, run: &Value) -> std::io::Result<()> {
    let all = json!({ "v": 1, "written": time(wall), "ended": ended, "run": run });
    // Named only when it is whole; 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(ledger)?;
    file.write_all(all.to_string().as_bytes())?;
    file.persist(path(ledger)).map_err(|e| e.error)?;
    Ok(())
}

/// What the last run said of itself; `None`: nothing that can be read.
pub(super) fn saved(ledger: &Path) -> Option<Value> {
    let path = path(ledger);
    let about = path.symlink_metadata().ok()?;
    if !about.is_file() || about.len() > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    let all: Value = serde_json::from_slice(&text).ok()?;
    (all["v"] == 1).then_some(all)
}

fn path(ledger: &Path) -> PathBuf {
    ledger.join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_said_is_read_again_and_what_is_none_of_it_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(saved(dir.path()), None);
        save(dir.path(), 0, true, &json!({ "draining": false })).expect("written");
        let all = saved(dir.path()).expect("read");
        assert_eq!(
            (&all["run"]["draining"], &all["written"]),
            (&json!(false), &json!("1970-01-01T00:00:00Z"))
        );
        assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 1, "no half file is left");
        for text in ["", "{", "[]", "{\"v\":2}"] {
            std::fs::write(path(dir.path()), text).expect("written");
            assert_eq!(saved(dir.path()), None, "{text}");
        }
    }
}
