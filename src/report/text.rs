//! The report as text.

use std::fmt::Write;

use super::build::{LastPass, Report};
use super::table::{Align, bytes, count, table};
use crate::guard::Shown;

/// Mailboxes listed in the text; the CSV has all.
const MOST_LISTED: usize = 500;

pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = body(report, &mut out);
    out
}

fn body(report: &Report, out: &mut String) -> std::fmt::Result {
    let t = &report.totals;
    writeln!(out, "mailwave report\n")?;
    writeln!(out, "source      {}", report.source_name)?;
    writeln!(out, "made        {}", report.made)?;
    writeln!(out, "verdict     {}", report.verdict)?;
    writeln!(
        out,
        "mailboxes   {} ({} not begun, {} failed)",
        count(t.mailboxes),
        count(t.not_begun),
        count(t.failed)
    )?;
    writeln!(out, "copies      {} messages, {}", count(t.messages), bytes(t.bytes))?;
    writeln!(out, "skipped     {}", count(t.skipped))?;
    writeln!(out, "unknown     {}\n", count(t.unknown))?;

    let header = [
        ("no.", Align::Right),
        ("mailbox", Align::Left),
        ("csv line", Align::Right),
        ("state", Align::Left),
        ("verdict", Align::Left),
        ("copies", Align::Right),
        ("octets", Align::Right),
        ("skipped", Align::Right),
        ("unknown", Align::Right),
        ("round trips", Align::Right),
    ];
    let rows: Vec<Vec<String>> = report
        .mailboxes
        .iter()
        .take(MOST_LISTED)
        .map(|m| {
            vec![
                if m.ordinal == 0 { "-".to_owned() } else { m.ordinal.to_string() },
                m.mailbox.clone(),
                m.csv_line.map_or("-".to_owned(), |l| l.to_string()),
                m.state.clone(),
                if m.ordinal == 0 { "-" } else { m.verdict }.to_owned(),
                count(m.messages),
                bytes(m.bytes),
                count(m.skipped),
                count(m.unknown),
                m.last_pass.as_ref().map_or("-".to_owned(), LastPass::trips),
            ]
        })
        .collect();
    out.push_str(&table(&header, &rows));
    writeln!(out, "round trips: of the last pass, source + target")?;
    more(out, report.mailboxes.len(), "mailboxes", "report-mailboxes.csv")?;

    let reasons: Vec<_> =
        report.mailboxes.iter().filter(|m| m.ordinal > 0 && !m.reasons.is_empty()).collect();
    if !reasons.is_empty() {
        writeln!(out, "\nReasons and notes\n")?;
        for m in reasons.iter().take(MOST_LISTED) {
            let all: Vec<_> = m.reasons.iter().map(|r| shown(r)).collect();
            writeln!(out, "  {} (no. {}): {}", m.mailbox, m.ordinal, all.join("; "))?;
        }
        more(out, reasons.len(), "mailboxes", "report-mailboxes.csv")?;
    }
    if !report.losses.is_empty() {
        writeln!(out, "\nDeclared losses, in messages\n")?;
        for (word, messages) in &report.losses {
            let meaning = report.meanings.get(word.as_str()).copied().unwrap_or("not kept by the target");
            writeln!(out, "  {:>10}  {}: {meaning}", count(*messages), Shown(word))?;
        }
    }
    if !report.modes.is_empty() {
        writeln!(out, "\nWritten by, in messages\n")?;
        for (mode, messages) in &report.modes {
            writeln!(out, "  {:>10}  {mode}", count(*messages))?;
        }
    }
    if !report.skipped.is_empty() {
        writeln!(out, "\nSkipped items\n")?;
        for s in report.skipped.iter().take(MOST_LISTED) {
            let size = s.size.map_or("size unknown".to_owned(), bytes);
            writeln!(
                out,
                "  {} folder {} message {} ({size}): {}, {} — {}",
                s.mailbox,
                s.folder,
                s.number,
                s.reason,
                Shown(&s.detail),
                s.remedy
            )?;
        }
        more(out, report.skipped.len(), "skipped items", "report-skipped.csv")?;
    }
    writeln!(
        out,
        "\nMailboxes appear by pseudonym. The line of mailboxes.csv tells whose it is; \"csv line -\" is in the ledger but no longer in the list."
    )
}

/// A line of what and remedy, safe to show. Each is cut by itself if it is long, so that the remedy stays.
pub fn shown(line: &str) -> String {
    line.split(" — ").map(|part| Shown(part).to_string()).collect::<Vec<_>>().join(" — ")
}

fn more(out: &mut String, all: usize, what: &str, file: &str) -> std::fmt::Result {
    match all.checked_sub(MOST_LISTED) {
        Some(left) if left > 0 => writeln!(out, "… and {left} more {what}: see {file}"),
        _ => Ok(()),
    }
}
