//! `mailwave ledger check`: is the ledger as it was written?

use super::super::args::LedgerCheckArgs;
use super::super::exit::Exit;
use super::super::talk::Talk;
use super::super::{Failure, settings};
use crate::ledger::sqlite::{Audit, Finding, audit};
use crate::report::{bytes, count};

pub(in crate::cli) fn run(args: &LedgerCheckArgs, talk: &Talk) -> Result<Exit, Failure> {
    let settings = settings(&args.config, talk)?;
    let audit = audit(&settings.ledger, args.deep)?;
    let exit = if audit.sound() { Exit::Done } else { Exit::Failed };
    if args.json {
        let mut json = serde_json::json!(audit);
        json["verb"] = "ledger check".into();
        json["sound"] = audit.sound().into();
        json["exit_code"] = exit.code().into();
        talk.data(&json.to_string());
    } else {
        talk.data(&print(&audit));
        talk.say(match (audit.sound(), audit.deep) {
            (true, true) => "The ledger is as it was written, to the last octet of its facts.",
            (true, false) => "The ledger is as it was written. (--deep also reads all of its facts.)",
            (false, _) => {
                "The ledger is damaged. Restore its directory from a backup (all of it, copied while nothing ran), or \
                 make a new one with `mailwave ledger rebuild`."
            }
        });
    }
    Ok(exit)
}

fn print(audit: &Audit) -> String {
    let mut out = format!(
        "{} mailboxes, {} folders, {} copies, {} skipped, {} open; {} commits\ndatabase {}, facts {} in {} segments",
        count(audit.mailboxes),
        count(audit.folders),
        count(audit.copies),
        count(audit.skipped),
        count(audit.open),
        count(audit.commits),
        bytes(audit.database_bytes),
        bytes(audit.facts_bytes),
        count(audit.segments),
    );
    if audit.deep {
        out.push_str(&format!(", {} frames read", count(audit.frames)));
    }
    out.push('\n');
    if let Some(pid) = &audit.writer {
        out.push_str(&format!("a mailwave process (pid {pid}) is writing it\n"));
    }
    if audit.uncommitted_bytes > 0 {
        out.push_str(&format!(
            "{} beyond the last commit, cut off by a stop: no fault, the next run removes them\n",
            bytes(audit.uncommitted_bytes)
        ));
    }
    for Finding { mailbox, what } in &audit.findings {
        match mailbox {
            Some(mailbox) => out.push_str(&format!("! mailbox {mailbox}: {what}\n")),
            None => out.push_str(&format!("! {what}\n")),
        }
    }
    if audit.more_findings > 0 {
        out.push_str(&format!("! … and {} more\n", count(audit.more_findings)));
    }
    out
}
