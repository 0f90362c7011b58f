//! What a run came to: in one object, in a table, in words, and as an exit code.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::super::exit::{self, Exit};
use super::super::talk::Talk;
use crate::config::Settings;
use crate::engine::{MailboxResult, WaveResult};
use crate::model::{Kind, MailboxKey, Scope, Timestamp, Verdict};
use crate::report::{Align, Report, bytes, count, shown, table};

/// Rows of the table; the report has all.
const MOST_ROWS: usize = 100;

/// Did it stop half way because it was asked to?
fn stopped(m: &MailboxResult) -> bool {
    m.error.as_ref().is_some_and(|e| e.kind == Kind::Stopped)
}

/// Did it end with an error that is not to be waited for?
pub(super) fn failed(m: &MailboxResult) -> bool {
    m.error.is_some() && !stopped(m) && m.parked_until.is_none()
}

/// How one mailbox ended, in one word.
fn verdict(m: &MailboxResult) -> Verdict {
    match &m.error {
        Some(_) if !failed(m) => Verdict::Investigate,
        Some(_) => Verdict::Poor,
        None => m.summary.verdict.parse().unwrap_or(Verdict::Investigate),
    }
}

/// A path as short as it can be told: below the working directory relative, without `..`.
fn plain(path: &Path) -> String {
    let Ok(real) = path.canonicalize() else { return path.display().to_string() };
    let here = std::env::current_dir().and_then(|dir| dir.canonicalize()).unwrap_or_default();
    real.strip_prefix(&here).unwrap_or(&real).display().to_string()
}

/// What a run came to.
pub(super) struct Summary {
    complete: u64,
    failed: u64,
    stopped: u64,
    /// Can go on only later than the run went.
    parked: u64,
    stored: u64,
    already: u64,
    moved: u64,
    removed: u64,
    reflagged: u64,
    gone: u64,
    skipped: u64,
    unknown: u64,
    bytes: u64,
    /// Times source and target were waited for.
    trips: (u64, u64),
    /// Copies at the target by its own count; `None` if it was not asked for all mailboxes.
    at_target: Option<u64>,
    /// Copies in the ledger, of the mailboxes of this run.
    in_ledger: Option<u64>,
    took: Duration,
    verdict: Verdict,
    pub(super) exit: Exit,
    not_begun: u64,
}

impl Summary {
    pub(super) fn new(result: &WaveResult, report: Option<&Report>, took: Duration) -> Summary {
        let all = &result.mailboxes;
        let sum = |f: fn(&MailboxResult) -> u64| all.iter().map(f).sum::<u64>();
        let number = |f: fn(&MailboxResult) -> bool| all.iter().filter(|m| f(m)).count() as u64;
        let parked = number(|m| m.parked_until.is_some());
        let stopped = number(stopped);
        let worst = all.iter().map(verdict).max();
        let verdict = match worst {
            Some(worst) if result.not_begun == 0 => worst,
            worst => worst.unwrap_or(Verdict::Investigate).max(Verdict::Investigate),
        };
        let in_ledger = report.map(|report| {
            let ours: std::collections::BTreeSet<&str> = all.iter().map(|m| m.mailbox.key.as_str()).collect();
            let of_ours = report.mailboxes.iter().filter(|m| ours.contains(m.mailbox.as_str()));
            of_ours.map(|m| m.messages).sum()
        });
        // A run that stopped itself, because nothing could go on, failed: nobody asked it to.
        let broken = all
            .iter()
            .any(|m| m.error.as_ref().is_some_and(|e| e.scope == Scope::Run && e.kind != Kind::Stopped));
        Summary {
            complete: number(|m| m.error.is_none() && m.summary.complete),
            failed: number(failed),
            stopped,
            parked,
            stored: sum(|m| m.summary.stored),
            already: sum(|m| m.summary.already),
            moved: sum(|m| m.summary.moved),
            removed: sum(|m| m.summary.removed),
            reflagged: sum(|m| m.summary.reflagged),
            gone: sum(|m| m.summary.gone),
            skipped: sum(|m| m.skipped),
            unknown: sum(|m| m.unknown),
            bytes: sum(|m| m.summary.bytes),
            trips: (sum(|m| m.summary.source_trips), sum(|m| m.summary.target_trips)),
            at_target: all.iter().map(|m| m.summary.recounted).sum(),
            in_ledger,
            took,
            verdict,
            // Asked to stop after the last mailbox ended is not stopped.
            exit: exit::of_run(verdict, !broken && stopped + parked + result.not_begun > 0),
            not_begun: result.not_begun,
        }
    }

    /// Did this run write nothing to the target?
    fn wrote_nothing(&self) -> bool {
        self.stored + self.moved + self.removed + self.reflagged == 0
    }

    pub(super) fn json(
        &self,
        result: &WaveResult,
        settings: &Settings,
        lines: &BTreeMap<MailboxKey, u64>,
        reported: bool,
    ) -> serde_json::Value {
        let failures: Vec<_> = result
            .mailboxes
            .iter()
            .filter_map(|m| {
                let e = m.error.as_ref().filter(|_| m.parked_until.is_none())?;
                Some(serde_json::json!({
                    "mailbox": m.mailbox.key.as_str(),
                    "csv_line": lines.get(&m.mailbox.key),
                    "what": e.what,
                    "remedy": e.remedy,
                }))
            })
            .collect();
        let time = |at: i64| Timestamp::utc(at.div_euclid(1000)).to_rfc3339();
        let parked: Vec<_> = result
            .mailboxes
            .iter()
            .filter_map(|m| {
                let (e, until) = (m.error.as_ref()?, m.parked_until?);
                Some(serde_json::json!({
                    "mailbox": m.mailbox.key.as_str(),
                    "csv_line": lines.get(&m.mailbox.key),
                    "until": time(until),
                    "what": e.what,
                    "remedy": e.remedy,
                }))
            })
            .collect();
        let left: Vec<_> = result
            .left
            .iter()
            .map(|(wave, opens)| serde_json::json!({ "wave": wave, "next_window": opens.map(time) }))
            .collect();
        serde_json::json!({
            "verb": "run",
            "mailboxes": result.mailboxes.len() as u64 + self.not_begun,
            "complete": self.complete,
            "failed": self.failed,
            "stopped": self.stopped,
            "parked": parked,
            "not_begun": self.not_begun,
            "messages": {
                "stored": self.stored,
                "already_there": self.already,
                "moved": self.moved,
                "removed": self.removed,
                "reflagged": self.reflagged,
                "gone": self.gone,
                "skipped": self.skipped,
                "unknown": self.unknown,
            },
            "copies": { "at_target": self.at_target, "in_ledger": self.in_ledger },
            "bytes": self.bytes,
            "round_trips": { "source": self.trips.0, "target": self.trips.1 },
            "seconds": self.took.as_secs_f64(),
            "verdict": self.verdict.word(),
            "errors": failures,
            "left": left,
            "ledger": settings.ledger,
            "report": reported.then_some(&settings.report),
            "exit_code": self.exit.code(),
        })
    }

    pub(super) fn table(&self, result: &WaveResult, lines: &BTreeMap<MailboxKey, u64>) -> String {
        let mut all: Vec<&MailboxResult> = result.mailboxes.iter().collect();
        // Whatever needs a look comes first; the rest as in the list.
        let line = |m: &MailboxResult| lines.get(&m.mailbox.key).copied();
        all.sort_by_key(|m| (std::cmp::Reverse(verdict(m)), line(m)));
        type Column = (&'static str, fn(&MailboxResult) -> u64);
        // The changes of a later pass have columns only when there are any: a table should fit a terminal.
        let changes: [Column; 3] = [
            ("moved", |m| m.summary.moved),
            ("removed", |m| m.summary.removed),
            ("flags", |m| m.summary.reflagged),
        ];
        let mut counts: Vec<Column> =
            vec![("stored", |m| m.summary.stored), ("already", |m| m.summary.already)];
        counts.extend(changes.into_iter().filter(|(_, of)| all.iter().any(|m| of(m) > 0)));
        counts
            .extend([("skipped", (|m| m.skipped) as fn(&MailboxResult) -> u64), ("unknown", |m| m.unknown)]);
        let mut header = vec![("csv line", Align::Right), ("mailbox", Align::Left)];
        header.extend(counts.iter().map(|(name, _)| (*name, Align::Right)));
        header.extend([("octets", Align::Right), ("verdict", Align::Left)]);
        let rows: Vec<Vec<String>> = all
            .iter()
            .take(MOST_ROWS)
            .map(|m| {
                let mut cells =
                    vec![line(m).map_or("-".to_owned(), |l| l.to_string()), m.mailbox.key.to_string()];
                cells.extend(counts.iter().map(|(_, of)| count(of(m))));
                cells.push(bytes(m.summary.bytes));
                cells.push(match m {
                    m if stopped(m) => "stopped".to_owned(),
                    m if m.parked_until.is_some() => "parked".to_owned(),
                    m => verdict(m).to_string(),
                });
                cells
            })
            .collect();
        let mut out = table(&header, &rows);
        if all.len() > MOST_ROWS {
            out.push_str(&format!("… and {} more: see the report\n", all.len() - MOST_ROWS));
        }
        for m in all.iter().take(MOST_ROWS) {
            let reasons = match &m.error {
                Some(e) if e.kind == Kind::Stopped => continue,
                Some(e) => e.to_string(),
                None if m.summary.reasons.is_empty() => continue,
                None => m.summary.reasons.join("; "),
            };
            out.push_str(&format!("{}: {}\n", m.mailbox.key, shown(&reasons)));
        }
        out
    }

    pub(super) fn say(&self, talk: &Talk, settings: &Settings, config: &Path, reported: bool) {
        talk.say("");
        let parked =
            if self.parked == 0 { String::new() } else { format!(", {} parked", count(self.parked)) };
        talk.say(&format!(
            "{} of {} mailboxes complete, {} failed, {} stopped{parked}, {} not begun; {} messages stored ({}) in {:.1} s; verdict: {}",
            count(self.complete),
            count(self.complete + self.failed + self.stopped + self.parked + self.not_begun),
            count(self.failed),
            count(self.stopped),
            count(self.not_begun),
            count(self.stored),
            bytes(self.bytes),
            self.took.as_secs_f64(),
            self.verdict
        ));
        if let (1.., Some(there), Some(recorded)) = (self.complete, self.at_target, self.in_ledger) {
            let compared = if there == recorded { "" } else { " — THEY DIFFER" };
            let wrote = if self.wrote_nothing() { ", nothing written to the target" } else { "" };
            talk.say(&format!(
                "Compared the target's truth with the ledger: {} copies at the target, {} in the ledger{compared}{wrote}.",
                count(there),
                count(recorded)
            ));
        } else if self.wrote_nothing() {
            talk.say("Nothing written to the target.");
        }
        talk.say("Mailboxes are shown by pseudonym; the csv line tells whose each is.");
        talk.say(&format!("Ledger: {}", plain(&settings.ledger)));
        if reported {
            talk.say(&format!("Report: {}", plain(&settings.report.join("report.txt"))));
        }
        let config = config.display();
        talk.say(&match self.exit {
            Exit::Stopped => format!("Next: run the same command to go on (mailwave run {config})"),
            Exit::Done => format!(
                "Next: mailwave verify {config} checks every copy; run again at any time for what is new"
            ),
            _ => {
                format!("Next: read the report, remedy what it names, then run again (mailwave run {config})")
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::PassSummary;
    use crate::model::{Error, Mailbox, Scope};

    fn mailbox(name: &str) -> Mailbox {
        Mailbox {
            key: MailboxKey::of(&"acme".parse().expect("valid"), name),
            source: name.into(),
            target: name.into(),
            source_endpoint: "old".into(),
            target_endpoint: "new".into(),
            target_place: String::new(),
            wave: String::new(),
            priority: 0,
        }
    }

    fn ended(name: &str, stored: u64, verdict: &str, error: Option<Error>) -> MailboxResult {
        let summary = PassSummary {
            complete: error.is_none(),
            stored,
            already: 5,
            bytes: stored * 1000,
            recounted: Some(stored + 5),
            verdict: verdict.into(),
            ..PassSummary::default()
        };
        MailboxResult { mailbox: mailbox(name), summary, skipped: 0, unknown: 0, error, parked_until: None }
    }

    fn settings() -> Settings {
        let text = "source_name = \"acme\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n[target.new]\nkind = \"maildir\"\nroot = \"out\"\n";
        crate::config::parse(Path::new("mailwave.toml"), text).expect("right").settings
    }

    fn summary(mailboxes: Vec<MailboxResult>, not_begun: u64) -> (Summary, WaveResult) {
        let result = WaveResult { mailboxes, not_begun, left: Vec::new() };
        (Summary::new(&result, None, Duration::from_secs(2)), result)
    }

    #[test]
    fn the_json_object_has_every_count_and_the_exit_code() {
        let (s, result) = summary(vec![ended("ann", 3, "perfect", None), ended("bob", 0, "good", None)], 0);
        let json = s.json(&result, &settings(), &BTreeMap::new(), true);
        insta::assert_snapshot!(json.to_string(), @r#"{"bytes":3000,"complete":2,"copies":{"at_target":13,"in_ledger":null},"errors":[],"exit_code":0,"failed":0,"ledger":"mailwave-ledger","left":[],"mailboxes":2,"messages":{"already_there":10,"gone":0,"moved":0,"reflagged":0,"removed":0,"skipped":0,"stored":3,"unknown":0},"not_begun":0,"parked":[],"report":"mailwave-report","round_trips":{"source":0,"target":0},"seconds":2.0,"stopped":0,"verb":"run","verdict":"good"}"#);
    }

    #[test]
    fn the_worst_mailbox_and_the_stop_decide_the_exit() {
        let stopped = || Error::new(Kind::Stopped, Scope::Mailbox, "stopped");
        let failed = || Error::new(Kind::Auth, Scope::Mailbox, "wrong password");
        let tomorrow = Error::temporary(Kind::Throttled, Scope::Mailbox, "it has given what it may in a day");
        let parked = MailboxResult { parked_until: Some(1), ..ended("a", 1, "poor", Some(tomorrow)) };
        for (mailboxes, not_begun, exit, verdict) in [
            (vec![ended("a", 1, "perfect", None)], 0, Exit::Done, Verdict::Perfect),
            (vec![ended("a", 1, "perfect", None)], 1, Exit::Stopped, Verdict::Investigate),
            (vec![ended("a", 1, "", Some(stopped()))], 0, Exit::Stopped, Verdict::Investigate),
            (vec![parked], 0, Exit::Stopped, Verdict::Investigate),
            (
                vec![ended("a", 1, "perfect", None), ended("b", 0, "", Some(failed()))],
                0,
                Exit::Failed,
                Verdict::Poor,
            ),
            (vec![ended("a", 1, "investigate", None)], 0, Exit::Investigate, Verdict::Investigate),
            (vec![ended("a", 1, "", None)], 0, Exit::Investigate, Verdict::Investigate),
            (vec![], 0, Exit::Investigate, Verdict::Investigate),
        ] {
            let (s, _) = summary(mailboxes, not_begun);
            assert_eq!((s.exit, s.verdict), (exit, verdict));
        }
    }

    #[test]
    fn a_table_shows_pseudonyms_and_the_worst_first() {
        let failed = Error::new(Kind::Auth, Scope::Mailbox, "wrong\u{1b}[31m password").remedy("check it");
        let (s, result) =
            summary(vec![ended("ann@x", 3, "perfect", None), ended("bob@x", 0, "", Some(failed))], 0);
        let lines = [(mailbox("ann@x").key, 2), (mailbox("bob@x").key, 3)].into();
        let table = s.table(&result, &lines);
        let first: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!((first[0], first.last()), ("3", Some(&"poor")));
        assert!(!table.contains("@x") && !table.contains('\u{1b}'), "{table}");
        assert!(table.contains("password — check it"));
    }
}
