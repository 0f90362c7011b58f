//! The report as a value: one type for text, JSON and CSV.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::count;
use crate::ledger::{LedgerView, MailboxLine, PassSummary};
use crate::model::{MailboxKey, Result, Timestamp, Verdict, WriteMode};

/// What the report is about, besides what the ledger knows.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The operator's name of the source installation.
    pub source_name: String,
    /// The lines of `mailboxes.csv`, by pseudonym.
    pub lines: BTreeMap<MailboxKey, u64>,
    /// Now, in milliseconds since 1970.
    pub now: i64,
}

/// A report. Field names are part of the JSON's format and stay.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The format's version: 1.
    pub format: u32,
    /// The program's version.
    pub version: &'static str,
    /// The operator's name of the source installation.
    pub source_name: String,
    /// When it was made, UTC.
    pub made: String,
    /// The worst verdict of all mailboxes; a mailbox that was not begun counts as `investigate`.
    pub verdict: &'static str,
    /// Sums.
    pub totals: Totals,
    /// What copies lost, declared: short name → messages. See [`Report::with_losses`].
    pub losses: BTreeMap<String, u64>,
    /// Copies written by another way than their target's first: its name → messages. See [`Report::with_losses`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<&'static str, u64>,
    /// What the short names mean.
    pub meanings: BTreeMap<&'static str, &'static str>,
    /// Each mailbox, by ordinal; those not begun last.
    pub mailboxes: Vec<MailboxReport>,
    /// Each skipped item.
    pub skipped: Vec<SkippedItem>,
}

/// Sums over all mailboxes.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Totals {
    /// Mailboxes in the ledger or in `mailboxes.csv`.
    pub mailboxes: u64,
    /// Mailboxes that were not begun.
    pub not_begun: u64,
    /// Mailboxes that failed.
    pub failed: u64,
    /// Live copies recorded, in messages.
    pub messages: u64,
    /// Their octets, in bytes.
    pub bytes: u64,
    /// Skipped items.
    pub skipped: u64,
    /// Messages with an unknown outcome.
    pub unknown: u64,
}

/// One mailbox.
#[derive(Debug, Clone, Serialize)]
pub struct MailboxReport {
    /// Its ordinal in the ledger; 0 if it was not begun.
    pub ordinal: i64,
    /// Its pseudonym.
    pub mailbox: String,
    /// Its line in `mailboxes.csv`, if it is there (now).
    pub csv_line: Option<u64>,
    /// `new`, `running`, `complete` or `failed`.
    pub state: String,
    /// The verdict of its last pass.
    pub verdict: &'static str,
    /// The reasons of the verdict.
    pub reasons: Vec<String>,
    /// Complete passes.
    pub passes: u64,
    /// Live copies recorded, in messages.
    pub messages: u64,
    /// Their octets, in bytes.
    pub bytes: u64,
    /// Skipped items.
    pub skipped: u64,
    /// Messages with an unknown outcome.
    pub unknown: u64,
    /// Copies that lost something we declare.
    #[serde(skip)]
    lossy: u64,
    /// What its copies lost, declared: short name → messages.
    pub losses: BTreeMap<String, u64>,
    /// The last pass.
    pub last_pass: Option<LastPass>,
    /// The error it stopped with.
    pub error: Option<String>,
}

/// The last pass of a mailbox.
#[derive(Debug, Clone, Serialize)]
pub struct LastPass {
    /// Did it walk everything to the end?
    pub complete: bool,
    /// Messages newly stored.
    pub stored: u64,
    /// Messages already there.
    pub already_there: u64,
    /// Bytes newly stored.
    pub bytes: u64,
    /// Copies moved.
    pub moved: u64,
    /// Copies removed.
    pub removed: u64,
    /// Copies with changed flags.
    pub reflagged: u64,
    /// Messages that were gone from the source before they could be fetched.
    pub gone: u64,
    /// The target's own count of copies, in messages.
    pub recounted: Option<u64>,
    /// Times the source and the target were waited for.
    pub round_trips: RoundTrips,
    /// When it began, UTC.
    pub began: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// Times the ends of a pass were waited for; commands sent together count once.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RoundTrips {
    /// The source.
    pub source: u64,
    /// The target.
    pub target: u64,
}

impl LastPass {
    /// Its round trips in a table's cell: source, target.
    pub fn trips(&self) -> String {
        format!("{} + {}", count(self.round_trips.source), count(self.round_trips.target))
    }
}

/// One skipped item.
#[derive(Debug, Clone, Serialize)]
pub struct SkippedItem {
    /// The mailbox's pseudonym.
    pub mailbox: String,
    /// Its line in `mailboxes.csv`.
    pub csv_line: Option<u64>,
    /// The folder's ordinal in the mailbox.
    pub folder: u32,
    /// The message's number in its folder (IMAP: its UID).
    pub number: u64,
    /// The source's own name for it (Maildir: its base name), if it has one.
    pub name: String,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// Its received date, UTC, if known.
    pub received: Option<String>,
    /// Why it was skipped.
    pub reason: &'static str,
    /// What the source or the target said.
    pub detail: String,
    /// What can be done.
    pub remedy: &'static str,
}

impl Report {
    /// Reads the ledger.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    pub fn build(view: &dyn LedgerView, about: &About) -> Result<Report> {
        let lines: BTreeMap<&str, u64> =
            about.lines.iter().map(|(key, line)| (key.as_str(), *line)).collect();
        let mut mailboxes: Vec<MailboxReport> =
            view.mailboxes()?.into_iter().map(|m| mailbox(m, &lines)).collect();
        let begun: std::collections::BTreeSet<&str> = mailboxes.iter().map(|m| m.mailbox.as_str()).collect();
        let mut new: Vec<MailboxReport> = about
            .lines
            .iter()
            .filter(|(k, _)| !begun.contains(k.as_str()))
            .map(|(k, l)| not_begun(k, *l))
            .collect();
        new.sort_by_key(|m| m.csv_line);
        mailboxes.extend(new);

        let skipped = view.skips()?.into_iter().map(|line| SkippedItem {
            csv_line: lines.get(line.mailbox.as_str()).copied(),
            mailbox: line.mailbox,
            folder: line.folder.0,
            number: line.skip.number,
            name: line.skip.name,
            size: line.skip.size,
            received: line.skip.received.map(|s| Timestamp::utc(s).to_rfc3339()),
            reason: line.skip.reason.word(),
            detail: line.skip.detail,
            remedy: line.skip.reason.remedy(),
        });
        let verdict = mailboxes
            .iter()
            .map(|m| m.verdict.parse().unwrap_or(Verdict::Investigate))
            .max()
            .unwrap_or(Verdict::Investigate);
        Ok(Report {
            format: 1,
            version: env!("CARGO_PKG_VERSION"),
            source_name: about.source_name.clone(),
            made: utc(about.now),
            verdict: verdict.word(),
            totals: totals(&mailboxes),
            losses: BTreeMap::new(),
            modes: BTreeMap::new(),
            meanings: BTreeMap::new(),
            skipped: skipped.collect(),
            mailboxes,
        })
    }

    /// Adds what the copies lost, counted from the facts: everything on record of a mailbox with losses is read once, a
    /// page at a time, so that memory does not grow with the mailbox. The ledger knows how many copies have losses, not
    /// which ones; mailboxes without any are not read. `meanings` tells what the short names mean.
    ///
    /// # Errors
    /// `Kind::Ledger`.
    pub fn with_losses(
        mut self,
        view: &dyn LedgerView,
        meanings: &[(&'static str, &'static str)],
    ) -> Result<Report> {
        // Most lost nothing, and are not read for it.
        for mailbox in self.mailboxes.iter_mut().filter(|m| m.lossy > 0) {
            let Some(key) = MailboxKey::parse(&mailbox.mailbox) else { continue };
            let Some(state) = view.state(&key)? else { continue };
            for folder in &state.folders {
                view.each_fact(&key, folder.id, &mut |fact| {
                    for word in fact.losses.split(',').filter(|word| !word.is_empty()) {
                        *mailbox.losses.entry(word.to_owned()).or_default() += 1;
                    }
                    // Each of these has a loss to declare, so none is missed here.
                    if fact.mode == WriteMode::ImportMime {
                        *self.modes.entry(fact.mode.word()).or_default() += 1;
                    }
                })?;
            }
        }
        for (word, messages) in self.mailboxes.iter().flat_map(|m| &m.losses) {
            *self.losses.entry(word.clone()).or_default() += messages;
        }
        self.meanings =
            meanings.iter().copied().filter(|(word, _)| self.losses.contains_key(*word)).collect();
        Ok(self)
    }
}

fn totals(mailboxes: &[MailboxReport]) -> Totals {
    mailboxes.iter().fold(Totals::default(), |sum, m| Totals {
        mailboxes: sum.mailboxes + 1,
        not_begun: sum.not_begun + u64::from(m.ordinal == 0),
        failed: sum.failed + u64::from(m.state == "failed"),
        messages: sum.messages + m.messages,
        bytes: sum.bytes + m.bytes,
        skipped: sum.skipped + m.skipped,
        unknown: sum.unknown + m.unknown,
    })
}

fn mailbox(m: MailboxLine, lines: &BTreeMap<&str, u64>) -> MailboxReport {
    let (verdict, reasons) = verdict(&m);
    MailboxReport {
        ordinal: m.ordinal,
        csv_line: lines.get(m.key.as_str()).copied(),
        mailbox: m.key,
        state: m.state,
        verdict: verdict.word(),
        reasons,
        passes: m.passes,
        messages: m.messages,
        bytes: m.bytes,
        skipped: m.skipped,
        unknown: m.unknown,
        lossy: m.lossy,
        losses: BTreeMap::new(),
        last_pass: m.last.map(last_pass),
        error: m.error,
    }
}

/// The verdict of the last pass, unless what happened since is worse.
fn verdict(m: &MailboxLine) -> (Verdict, Vec<String>) {
    if m.state == "failed" {
        return (
            Verdict::Poor,
            vec![m.error.clone().unwrap_or_else(|| "it stopped with an error".to_owned())],
        );
    }
    match &m.last {
        Some(last) if m.state == "complete" => {
            (last.verdict.parse().unwrap_or(Verdict::Investigate), last.reasons.clone())
        }
        _ => (Verdict::Investigate, vec!["its pass did not come to its end yet".to_owned()]),
    }
}

fn last_pass(last: PassSummary) -> LastPass {
    LastPass {
        complete: last.complete,
        stored: last.stored,
        already_there: last.already,
        bytes: last.bytes,
        moved: last.moved,
        removed: last.removed,
        reflagged: last.reflagged,
        gone: last.gone,
        recounted: last.recounted,
        round_trips: RoundTrips { source: last.source_trips, target: last.target_trips },
        began: utc(last.began),
        seconds: (last.ended - last.began).max(0) as f64 / 1000.0,
    }
}

fn not_begun(key: &MailboxKey, line: u64) -> MailboxReport {
    MailboxReport {
        ordinal: 0,
        mailbox: key.to_string(),
        csv_line: Some(line),
        state: "new".to_owned(),
        verdict: Verdict::Investigate.word(),
        reasons: vec!["not begun yet".to_owned()],
        passes: 0,
        messages: 0,
        bytes: 0,
        skipped: 0,
        unknown: 0,
        lossy: 0,
        losses: BTreeMap::new(),
        last_pass: None,
        error: None,
    }
}

/// Milliseconds since 1970 as UTC text.
fn utc(millis: i64) -> String {
    Timestamp::utc(millis.div_euclid(1000)).to_rfc3339()
}
