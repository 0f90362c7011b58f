//! Settings → the parts of a run: the one place that knows every backend by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::args::MockServer;
use super::talk::Talk;
use crate::config::{GraphSettings, ImapLogin, LimitSettings, Settings, SourceKind, TargetKind};
use crate::engine::{Options, Parts};
use crate::env::Env;
use crate::http::{HttpClient, HttpsClient, HttpsOptions};
use crate::ledger::{Ledger, LedgerView, MailboxLine, MailboxState, SkipLine};
use crate::limit::Limits;
use crate::model::{Bodies, Error, Fact, FolderId, Kind, Mailbox, MailboxKey, Result, Scope};
use crate::source::Source;
use crate::target::Target;

/// Everything a run is made of. Only the endpoints the mailboxes use are set up: the secrets of others need not be
/// there.
///
/// # Errors
/// `Kind::Config`: a secret or a file is missing. `Kind::Ledger`: the ledger cannot be opened, is in use, or belongs
/// to another configuration. `Kind::Io`: a directory cannot be made.
pub(super) fn parts(
    env: &Env,
    settings: &Settings,
    mailboxes: &[Mailbox],
    start_over: bool,
) -> Result<Arc<Parts>> {
    let used = |name: fn(&Mailbox) -> &String| mailboxes.iter().map(|m| name(m).as_str()).collect::<Vec<_>>();
    let run = &settings.run;
    let spool = run.spool.clone();
    // Endpoints first: a missing secret is told before anything is made.
    let sources = sources(env, settings, &used(|m| &m.source_endpoint))?;
    let targets = targets(env, settings, &used(|m| &m.target_endpoint))?;
    std::fs::create_dir_all(&spool).map_err(|e| {
        Error::new(Kind::Io, Scope::Run, format!("the spool {} could not be made ({e})", spool.display()))
            .remedy("name a directory with room in it with `run.spool`")
    })?;
    Ok(Arc::new(Parts {
        env: env.clone(),
        source_name: settings.source_name.clone(),
        sources,
        targets,
        limits: limits(env, settings),
        ledger: ledger(env, settings)?,
        bodies: Bodies { memory_limit: run.spool_above, max: run.max_message, spool },
        options: Options {
            open_mailboxes: run.open_mailboxes,
            settle: run.settle,
            watch_for: run.watch_for,
            tries: run.tries,
            store_deadline: run.store_deadline,
            max_message_bytes: run.max_message,
            recount: run.recount,
            start_over,
            mirror: run.mirror,
        },
    }))
}

/// The source endpoints of these names.
fn sources(env: &Env, settings: &Settings, used: &[&str]) -> Result<BTreeMap<String, Arc<dyn Source>>> {
    let mut all = BTreeMap::new();
    for name in used.iter().collect::<BTreeSet<_>>() {
        if let Some(kind) = settings.sources.get(*name) {
            all.insert((*name).to_owned(), source(env, kind).map_err(|e| at_endpoint(e, "source", name))?);
        }
    }
    Ok(all)
}

/// The target endpoints of these names.
pub(super) fn targets(
    env: &Env,
    settings: &Settings,
    used: &[&str],
) -> Result<BTreeMap<String, Arc<dyn Target>>> {
    let mut all = BTreeMap::new();
    for name in used.iter().collect::<BTreeSet<_>>() {
        if let Some(kind) = settings.targets.get(*name) {
            all.insert((*name).to_owned(), target(env, kind).map_err(|e| at_endpoint(e, "target", name))?);
        }
    }
    Ok(all)
}

/// Puts the endpoint's name in front, unless the error names its line of the configuration already.
fn at_endpoint(e: Error, side: &str, name: &str) -> Error {
    if e.kind == Kind::Config && e.what.contains(&format!(": {side}.{name}.")) {
        return e;
    }
    e.at(format_args!("{side}.{name}"))
}

// WIRE (source): SourceKind → crate::source::{imap::ImapSource, maildir::MaildirSource, mbox::MboxSource}.
fn source(_env: &Env, kind: &SourceKind) -> Result<Arc<dyn Source>> {
    match kind {
        SourceKind::Imap(imap) => {
            match &imap.login {
                ImapLogin::Master { password, .. } | ImapLogin::Fixed { password } => {
                    password.load().map(drop)
                }
                ImapLogin::PerMailbox(file) => file.load().map(drop),
                ImapLogin::Token(token) => token.load().map(drop),
            }?;
            Err(not_wired("the IMAP source"))
        }
        SourceKind::Maildir(_maildir) => Err(not_wired("the Maildir source")),
        SourceKind::Mbox(_mbox) => Err(not_wired("the mbox source")),
    }
}

// WIRE (target): TargetKind → crate::target::{graph::GraphTarget, maildir::MaildirTarget}.
fn target(env: &Env, kind: &TargetKind) -> Result<Arc<dyn Target>> {
    match kind {
        TargetKind::Graph(graph) => {
            let _http = graph_http(env, graph)?;
            Err(not_wired("the Graph target"))
        }
        TargetKind::Maildir(_maildir) => Err(not_wired("the Maildir target")),
    }
}

/// The way to the service, or to the mock in this process.
fn graph_http(_env: &Env, graph: &GraphSettings) -> Result<Arc<dyn HttpClient>> {
    match &graph.mock {
        None => {
            let options = HttpsOptions { ca_file: graph.ca_file.clone(), connect_timeout: None };
            Ok(Arc::new(HttpsClient::new(&options)?))
        }
        // WIRE (mock): crate::http::InProcess around the handler of crate::mock::graph, its state in `_state`.
        Some(_state) => Err(not_wired("the in-process mock")),
    }
}

/// What may leave, when.
pub(super) fn limits(env: &Env, settings: &Settings) -> Arc<Limits> {
    let _per_target: BTreeMap<&str, LimitSettings> = settings
        .targets
        .iter()
        .filter_map(|(name, kind)| match kind {
            TargetKind::Graph(graph) => Some((name.as_str(), graph.limits)),
            TargetKind::Maildir(_) => None,
        })
        .collect();
    // WIRE (limit): crate::limit::Limits::new(env, …) with `_per_target` and `settings.run.memory`.
    Limits::unlimited(env)
}

// WIRE (ledger): crate::ledger::sqlite::SqliteLedger::open(env, &settings.ledger, …).
fn ledger(_env: &Env, _settings: &Settings) -> Result<Arc<dyn Ledger>> {
    Err(not_wired("the ledger"))
}

/// The ledger, read only. Before the first run there is none: an empty one is shown then.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn view(settings: &Settings) -> Result<Box<dyn LedgerView>> {
    if !settings.ledger.exists() {
        return Ok(Box::new(NothingYet));
    }
    // WIRE (ledger): crate::ledger::sqlite::SqliteView::open(&settings.ledger).
    Err(not_wired("the ledger"))
}

/// Serves a mock until it is stopped.
///
/// # Errors
/// The address is taken, or the state cannot be read.
pub(super) async fn mock(server: &MockServer, _env: &Env, _talk: &Talk) -> Result<()> {
    // WIRE (mock): crate::mock::graph / crate::mock::imap servers; print the address they listen on as data.
    match server {
        MockServer::Graph(_args) => Err(not_wired("the Graph mock")),
        MockServer::Imap(_args) => Err(not_wired("the IMAP mock")),
    }
}

fn not_wired(what: &str) -> Error {
    Error::new(Kind::Internal, Scope::Run, format!("{what} is not built into this program"))
}

/// The ledger before the first run.
struct NothingYet;

impl LedgerView for NothingYet {
    fn mailboxes(&self) -> Result<Vec<MailboxLine>> {
        Ok(Vec::new())
    }

    fn skips(&self) -> Result<Vec<SkipLine>> {
        Ok(Vec::new())
    }

    fn state(&self, _: &MailboxKey) -> Result<Option<MailboxState>> {
        Ok(None)
    }

    fn facts(&self, _: &MailboxKey, _: FolderId) -> Result<Vec<Fact>> {
        Ok(Vec::new())
    }
}
