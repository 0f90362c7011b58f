//! `mailwave ledger rebuild`: a new ledger from what source and target hold.
//!
//! Every message of the source is read once. A folder whose counts and header digests fit would not have to be to know its
//! copies by their stamps, but two messages with one header may differ in their text, and later passes know a message that
//! moved, or whose folder was numbered anew, by the digest of all its octets: a fact without it could bind the wrong copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::args::LedgerRebuildArgs;
use super::super::exit::Exit;
use super::super::talk::Talk;
use super::super::{Failure, settings_and_plan, stop, wire};
use crate::engine::{self, Rebuilt, Stop, Unwatched};
use crate::env::Env;
use crate::ledger::sqlite::writer_of;
use crate::model::{Error, Kind, Scope};
use crate::report::{Align, count, table};

/// Mailboxes rebuilt at once, at most: each holds what it pairs in memory.
const AT_ONCE: usize = 8;

pub(in crate::cli) async fn run(args: &LedgerRebuildArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let (mut settings, plan) = settings_and_plan(&args.config, talk)?;
    let lines = plan.lines();
    let whole = args.only.is_empty();
    let mailboxes = plan.select(&args.only, None)?.mailboxes();
    let draft = draft_of(&args.into)?;
    if let Some(pid) = writer_of(&settings.ledger)? {
        let what = format!("a mailwave process (pid {pid}) is writing the ledger of this configuration");
        return Err(Error::new(Kind::Ledger, Scope::Run, what)
            .remedy("stop it first: what it stores meanwhile would be missing in the new ledger")
            .into());
    }
    let at_once = settings.run.open_mailboxes.min(AT_ONCE);
    settings.ledger.clone_from(&draft);
    let wishes = wire::Wishes { start_over: false, allow_removals: false, final_pass: false };
    let made = wire::parts(env, &settings, &mailboxes, wishes);
    let parts = made.inspect_err(|_| clear(&draft, talk))?;
    let stop = Stop::default();
    stop::listen(env, &stop, talk)?;
    let done = engine::rebuild(parts, mailboxes, Arc::new(Unwatched), stop.clone(), at_once).await;

    let failed = done.iter().filter(|m| m.error.is_some()).count();
    let placed = if failed == 0 { place(&draft, &args.into).map_err(Failure::from) } else { Ok(()) };
    if failed > 0 || placed.is_err() {
        clear(&draft, talk);
    }
    placed?;
    let doubtful = done.iter().any(|m| m.doubtful + m.twins + m.strangers > 0);
    let stopped = done.iter().filter_map(|m| m.error.as_ref()).all(|e| e.kind == Kind::Stopped);
    let exit = match (failed, doubtful) {
        (1.., _) if stopped => Exit::Stopped,
        (1.., _) => Exit::Failed,
        (0, true) => Exit::Investigate,
        (0, false) => Exit::Done,
    };
    let line = |m: &Rebuilt| lines.get(&m.mailbox.key).copied();
    if args.json {
        talk.data(&json(&done, line, args, exit).to_string());
    } else {
        talk.data(&print(&done, line));
    }
    talk.say(&match failed {
        0 => format!(
            "The new ledger is {}. Put it in the place of the old one, or name it with `ledger`; then: mailwave run, mailwave verify.",
            args.into.display()
        ),
        n => format!(
            "{n} mailboxes could not be read, so that no ledger was made: a run with it would copy them again. Remedy what is named and begin again."
        ),
    });
    if failed == 0 && !whole {
        talk.say(
            "It knows these mailboxes only. Run it with `--only` too: where copies carry no stamp, a run of the others would copy them again.",
        );
    }
    Ok(exit)
}

/// Where the new ledger is made until it is whole.
fn draft_of(into: &Path) -> Result<PathBuf, Failure> {
    let mut name = into.file_name().map(std::ffi::OsStr::to_owned).unwrap_or_default();
    name.push(".part");
    let draft = into.with_file_name(name);
    for there in [into, &draft] {
        if there.symlink_metadata().is_ok() {
            let what = format!("{} is there already; nothing is ever overwritten", there.display());
            return Err(Error::new(Kind::Config, Scope::Run, what)
                .remedy("name a directory that is not there yet with --into")
                .into());
        }
    }
    Ok(draft)
}

/// The new ledger is whole and closed: it gets its name.
fn place(draft: &Path, into: &Path) -> crate::model::Result<()> {
    let parent = into.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let moved = std::fs::rename(draft, into).and_then(|()| std::fs::File::open(parent)?.sync_all());
    moved.map_err(|e| {
        Error::new(Kind::Io, Scope::Run, format!("the new ledger cannot be put in its place ({})", e.kind()))
            .remedy("look at the rights of the directory it goes to")
    })
}

/// A ledger that is not whole is worse than none: a run with it would copy what it does not know.
fn clear(draft: &Path, talk: &Talk) {
    if let Err(e) = std::fs::remove_dir_all(draft)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        talk.say(&format!(
            "warning: {} is not whole and cannot be removed ({}); remove it",
            draft.display(),
            e.kind()
        ));
    }
}

fn json(
    done: &[Rebuilt],
    line: impl Fn(&Rebuilt) -> Option<u64>,
    args: &LedgerRebuildArgs,
    exit: Exit,
) -> serde_json::Value {
    let mailboxes: Vec<_> = done
        .iter()
        .map(|m| {
            serde_json::json!({
                "mailbox": m.mailbox.key.as_str(),
                "csv_line": line(m),
                "matched": m.matched,
                "without_copy": m.without_copy,
                "unfinished": m.unfinished,
                "doubtful": m.doubtful,
                "twins": m.twins,
                "copies_without_message": m.strangers,
                "other_flags": m.other_flags,
                "error": m.error.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    let made = done.iter().all(|m| m.error.is_none());
    serde_json::json!({
        "verb": "ledger rebuild",
        "ledger": made.then_some(&args.into),
        "mailboxes": mailboxes,
        "exit_code": exit.code(),
    })
}

fn print(done: &[Rebuilt], line: impl Fn(&Rebuilt) -> Option<u64>) -> String {
    let header = [
        ("csv line", Align::Right),
        ("mailbox", Align::Left),
        ("matched", Align::Right),
        ("without copy", Align::Right),
        ("unfinished", Align::Right),
        ("in doubt", Align::Right),
        ("twins", Align::Right),
        ("without message", Align::Right),
        ("other flags", Align::Right),
    ];
    let rows: Vec<Vec<String>> = done
        .iter()
        .map(|m| {
            let mut cells =
                vec![line(m).map_or("-".to_owned(), |l| l.to_string()), m.mailbox.key.to_string()];
            let numbers =
                [m.matched, m.without_copy, m.unfinished, m.doubtful, m.twins, m.strangers, m.other_flags];
            cells.extend(numbers.map(count));
            cells
        })
        .collect();
    let mut out = table(&header, &rows);
    for m in done {
        if let Some(error) = &m.error {
            out.push_str(&format!("! {}: {error}\n", m.mailbox.key));
        }
        if m.doubtful > 0 {
            out.push_str(&format!(
                "{}: {} messages may have a copy at the target, and which one cannot be told: they are on record as skipped (doubtful), are never stored, and are named in the report\n",
                m.mailbox.key,
                count(m.doubtful)
            ));
        }
    }
    out
}
