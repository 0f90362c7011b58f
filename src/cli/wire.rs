//! Settings → the parts of a run: the one place that knows every backend by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::budgets::Budgets;
use super::{control, ews, imap, mocks, oauth};
use crate::config::{self, GraphLogin, Settings, SourceKind, TargetKind};
use crate::engine::{Options, Parts};
use crate::env::Env;
use crate::http::{HttpClient, HttpsClient, HttpsOptions};
use crate::ledger::sqlite::{LedgerOptions, SqliteLedger, SqliteView};
use crate::ledger::{FactsCursor, Ledger, LedgerView, MailboxLine, MailboxState, SkipLine};
use crate::limit::{LimitSettings, Limits, TargetLimits, WaveLimits};
use crate::model::{Bodies, Error, Fact, FolderId, Kind, Mailbox, MailboxKey, Result, Scope, WriteMode};
use crate::source::Source;
use crate::source::imap::ImapSource;
use crate::source::maildir::{self as maildir_source, MaildirSource};
use crate::source::mbox::{self, MboxSource};
use crate::target::Target;
use crate::target::graph::{AppRegistration, GraphSettings, GraphTarget, Original, TokenSettings};
use crate::target::imap::ImapTarget;
use crate::target::maildir::{self as maildir_target, MaildirTarget};

/// What the operator wishes of one run, beside the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    /// The copies are gone: begin anew.
    pub start_over: bool,
    /// Remove the copies of however many messages are gone.
    pub allow_removals: bool,
    /// The last pass before cutover.
    pub final_pass: bool,
}

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
    wishes: Wishes,
) -> Result<Arc<Parts>> {
    let used = |name: fn(&Mailbox) -> &String| mailboxes.iter().map(|m| name(m).as_str()).collect::<Vec<_>>();
    let run = &settings.run;
    let spool = run.spool.clone();
    // Endpoints first: a missing secret is told before anything is made.
    let sources = sources(env, settings, &used(|m| &m.source_endpoint), None)?;
    let targets = targets(env, settings, &used(|m| &m.target_endpoint))?;
    std::fs::create_dir_all(&spool).map_err(|e| {
        Error::new(Kind::Io, Scope::Run, format!("the spool {} could not be made ({e})", spool.display()))
            .remedy("name a directory with room in it with `run.spool`")
    })?;
    // Told now, not hours later with the first large message.
    tempfile::tempfile_in(&spool).map_err(|e| {
        Error::new(
            Kind::Io,
            Scope::Run,
            format!("no file can be made in the spool {} ({e})", spool.display()),
        )
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
            open_at_first: run.open_at_first,
            settle: run.settle,
            watch_for: run.watch_for,
            tries: run.tries,
            store_deadline: run.store_deadline,
            grace: run.grace,
            max_message_bytes: run.max_message,
            recount: run.recount,
            start_over: wishes.start_over,
            mirror: run.mirror,
            newest_first: run.newest_first,
            final_pass: wishes.final_pass,
            max_removed_percent: if wishes.allow_removals { 100 } else { 20 },
        },
    }))
}

/// The source endpoints of these names. `beside`: who lends places at them, if another process reads from them, too.
pub(super) fn sources(
    env: &Env,
    settings: &Settings,
    used: &[&str],
    beside: Option<&Arc<control::Borrower>>,
) -> Result<BTreeMap<String, Arc<dyn Source>>> {
    let mut all = BTreeMap::new();
    for name in used.iter().collect::<BTreeSet<_>>() {
        if let Some(kind) = settings.sources.get(*name) {
            let made = source(env, name, kind, beside).map_err(|e| at_endpoint(e, "source", name))?;
            all.insert((*name).to_owned(), made);
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
            all.insert(
                (*name).to_owned(),
                target(env, name, kind).map_err(|e| at_endpoint(e, "target", name))?,
            );
        }
    }
    Ok(all)
}

/// Puts the endpoint's name in front, unless the error names its line of the configuration already.
pub(super) fn at_endpoint(e: Error, side: &str, name: &str) -> Error {
    if e.kind == Kind::Config && e.what.contains(&format!(": {side}.{name}.")) {
        return e;
    }
    e.at(format_args!("{side}.{name}"))
}

fn source(
    env: &Env,
    name: &str,
    kind: &SourceKind,
    beside: Option<&Arc<control::Borrower>>,
) -> Result<Arc<dyn Source>> {
    match kind {
        SourceKind::Imap(typed) => {
            let settings = imap::source(env, typed)?;
            Ok(Arc::new(match beside {
                Some(lender) => ImapSource::beside(env.clone(), settings, name, lender.clone())?,
                None => ImapSource::new(env.clone(), settings)?,
            }))
        }
        SourceKind::Maildir(typed) => {
            let settings = maildir_source::MaildirSettings {
                root: root(&typed.root)?,
                layout: layout(typed.layout),
                separator: typed.separator,
                names: coding(typed.names),
                escape: typed.escape,
                received: match typed.received {
                    config::Received::Mtime => maildir_source::Received::Mtime,
                    config::Received::Name => maildir_source::Received::Name,
                },
                numbers: match typed.numbers {
                    config::Numbers::Ledger => maildir_source::Numbers::Ledger,
                    config::Numbers::Uidlist => maildir_source::Numbers::Uidlist,
                },
            };
            Ok(Arc::new(MaildirSource::new(env.clone(), settings)?))
        }
        SourceKind::Mbox(typed) => {
            let settings = mbox::MboxSettings {
                root: root(&typed.root)?,
                quoting: match typed.quoting {
                    config::Quoting::Auto => mbox::Quoting::Auto,
                    config::Quoting::Mboxo => mbox::Quoting::Mboxo,
                    config::Quoting::Mboxrd => mbox::Quoting::Mboxrd,
                    config::Quoting::Mboxcl => mbox::Quoting::Mboxcl,
                    config::Quoting::Mboxcl2 => mbox::Quoting::Mboxcl2,
                    config::Quoting::None => mbox::Quoting::None,
                },
                labels: if typed.gmail_labels { mbox::Labels::Folders } else { mbox::Labels::Ignore },
                names: coding(typed.names),
            };
            Ok(Arc::new(MboxSource::new(env.clone(), settings)?))
        }
    }
}

/// The ways in which a target can write, each by itself: for canaries.
///
/// # Errors
/// `Kind::Config`: there is no such target, or a secret or a file is missing.
pub(super) fn ways(env: &Env, settings: &Settings, name: &str) -> Result<Vec<(String, Arc<dyn Target>)>> {
    let Some(kind) = settings.targets.get(name) else {
        let names: Vec<&str> = settings.targets.keys().map(String::as_str).collect();
        let what = format!("there is no target of this name; there are: {}", names.join(", "));
        return Err(Error::new(Kind::Config, Scope::Run, what).remedy("name one of them"));
    };
    let ways = match kind {
        TargetKind::Graph(graph) => {
            let way = |mode: WriteMode| {
                // A stream is made of a copy that another way wrote.
                let modes = match mode {
                    WriteMode::ImportStream => vec![mode, WriteMode::Json],
                    _ => vec![mode],
                };
                let one = config::GraphSettings { modes, ..graph.as_ref().clone() };
                (mode.word(), TargetKind::Graph(Box::new(one)))
            };
            [WriteMode::Json, WriteMode::ImportMime, WriteMode::ImportStream].into_iter().map(way).collect()
        }
        TargetKind::Ews(_) => {
            vec![("CreateItem", kind.clone()), (WriteMode::ImportStream.word(), kind.clone())]
        }
        TargetKind::Imap(_) => vec![("APPEND", kind.clone())],
        TargetKind::Maildir(_) => vec![("files", kind.clone())],
    };
    let target = |(way, kind): (&str, TargetKind)| {
        let target = target(env, name, &kind).map_err(|e| at_endpoint(e, "target", name))?;
        Ok((way.to_owned(), target))
    };
    ways.into_iter().map(target).collect()
}

fn target(env: &Env, name: &str, kind: &TargetKind) -> Result<Arc<dyn Target>> {
    match kind {
        TargetKind::Ews(typed) => ews::target(env, typed),
        TargetKind::Graph(typed) => {
            let mut settings = GraphSettings::new(typed.base_url.clone(), mocks::token());
            settings.name = name.to_owned();
            match &typed.login {
                GraphLogin::Apps { tenant, token_url, scope, apps } => {
                    let app = |app: &config::GraphApp| {
                        let token = oauth::of_app(&app.proof, token_url, &app.client_id, scope)?;
                        Ok(AppRegistration { name: app.client_id.clone(), token })
                    };
                    settings.apps = apps.iter().map(app).collect::<Result<_>>()?;
                    settings.tenant = Some(tenant.clone());
                }
                GraphLogin::Token { token, tenant } => {
                    settings.apps = vec![AppRegistration::only(TokenSettings::Static(token.load()?))];
                    settings.tenant.clone_from(tenant);
                }
                GraphLogin::None => {}
            }
            settings.max_message_bytes = typed.max_message;
            settings.attach_original = match typed.attach_original {
                config::AttachOriginal::Never => Original::Never,
                config::AttachOriginal::WhenLossy => Original::WhenLossy,
                config::AttachOriginal::Always => Original::Always,
            };
            settings.modes.clone_from(&typed.modes);
            settings.lanes = usize::try_from(typed.limits.at_once).unwrap_or(4).clamp(1, 4);
            let http: Arc<dyn HttpClient> = match &typed.mock {
                Some(state) => mocks::in_process(env, state)?,
                None => {
                    let options = HttpsOptions { ca_file: typed.ca_file.clone(), connect_timeout: None };
                    Arc::new(HttpsClient::new(env, &options)?)
                }
            };
            Ok(Arc::new(GraphTarget::new(env, http, settings)?))
        }
        TargetKind::Imap(typed) => Ok(Arc::new(ImapTarget::new(env.clone(), imap::target(env, typed)?)?)),
        TargetKind::Maildir(typed) => {
            let settings = maildir_target::MaildirTargetSettings {
                root: root(&typed.root)?,
                layout: layout(typed.layout),
                fsync: match typed.sync {
                    config::Sync::Always => maildir_target::Fsync::Always,
                    config::Sync::Batch => maildir_target::Fsync::Batch,
                    config::Sync::Never => maildir_target::Fsync::Never,
                },
                line_ends: match typed.line_ends {
                    config::LineEnds::Keep => maildir_target::LineEnds::Keep,
                    config::LineEnds::Lf => maildir_target::LineEnds::Lf,
                },
                lanes: typed.lanes,
            };
            Ok(Arc::new(MaildirTarget::new(env.clone(), settings)?))
        }
    }
}

fn root(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::new(Kind::Config, Scope::Run, "the root of a file endpoint is not UTF-8 text")
            .remedy("name it by a path in UTF-8")
    })
}

fn layout(typed: config::Layout) -> crate::transform::names::Layout {
    match typed {
        config::Layout::PlusPlus => crate::transform::names::Layout::PlusPlus,
        config::Layout::Fs => crate::transform::names::Layout::Fs,
    }
}

fn coding(typed: config::FolderNames) -> crate::transform::names::Coding {
    match typed {
        config::FolderNames::Auto => crate::transform::names::Coding::Auto,
        config::FolderNames::Utf7 => crate::transform::names::Coding::Utf7,
        config::FolderNames::Utf8 => crate::transform::names::Coding::Utf8,
    }
}

/// What copies may lose, by short name: of every target, and of stores whose answer never came.
pub(super) fn losses() -> Vec<(&'static str, &'static str)> {
    let mut all = crate::transform::graph::losses::ALL.to_vec();
    all.extend(crate::transform::import_mime::LOSSES);
    // Of a Maildir too: its folders have letters for 26.
    all.extend(crate::target::imap::losses::ALL);
    all.push((
        crate::engine::UNCONFIRMED,
        "the store was never answered and its copy found by looking: what the target could not keep, it did not say",
    ));
    all
}

/// What may leave, when.
fn limits(env: &Env, settings: &Settings) -> Arc<Limits> {
    Limits::new(env, limit_settings(settings))
}

/// The same for a verb that only looks: it takes permits of a run that goes on beside it.
pub(super) fn borrowed_limits(env: &Env, settings: &Settings, lender: Arc<control::Borrower>) -> Arc<Limits> {
    Limits::lent_by(env, limit_settings(settings), Some(lender))
}

/// Borrows of a run of the same configuration, if one goes on.
pub(super) fn borrower(env: &Env, settings: &Settings) -> Arc<control::Borrower> {
    control::Borrower::new(env, settings.ledger.clone())
}

fn limit_settings(settings: &Settings) -> LimitSettings {
    let targets = settings.targets.iter().filter_map(|(name, kind)| match kind {
        TargetKind::Graph(graph) => {
            let typed = &graph.limits;
            let limits = TargetLimits {
                requests: typed.requests,
                requests_window: typed.requests_per,
                upload_bytes: typed.upload,
                upload_window: typed.upload_per,
                concurrency: typed.at_once,
                app_requests_per_second: typed.rate,
                apps: match &graph.login {
                    GraphLogin::Apps { apps, .. } => apps.iter().map(|a| a.client_id.clone()).collect(),
                    GraphLogin::Token { .. } | GraphLogin::None => Vec::new(),
                },
                in_flight: typed.in_flight,
                start_spent: typed.start_spent,
                ..TargetLimits::default()
            };
            Some((name.clone(), limits))
        }
        TargetKind::Ews(ews) => Some((name.clone(), ews::limits(&ews.limits))),
        TargetKind::Imap(_) | TargetKind::Maildir(_) => None,
    });
    let wave = |(name, wave): (&String, &config::WaveSettings)| {
        let own = WaveLimits {
            messages_per_second: wave.messages_per_second.unwrap_or(0),
            bytes_per_second: wave.bytes_per_second.unwrap_or(0),
            batches_at_once: wave.batches_at_once.unwrap_or(0),
        };
        (name.clone(), own)
    };
    let budgets = Budgets::of(&settings.run);
    LimitSettings {
        targets: targets.collect(),
        waves: settings.waves.waves.iter().map(wave).collect(),
        memory_bytes: budgets.memory.bytes,
        spool_bytes: budgets.spool.bytes,
        source_logins_per_second: None,
    }
}

fn ledger(env: &Env, settings: &Settings) -> Result<Arc<dyn Ledger>> {
    let mut options = LedgerOptions::new(settings.source_name.clone(), settings.fingerprint());
    options.on_network = settings.ledger_on_network;
    Ok(Arc::new(SqliteLedger::open(env, &settings.ledger, options)?))
}

/// The ledger, read only. Before the first run there is none: an empty one is shown then.
///
/// # Errors
/// `Kind::Ledger`.
pub(super) fn view(settings: &Settings) -> Result<Box<dyn LedgerView>> {
    if !settings.ledger.exists() {
        return Ok(Box::new(NothingYet));
    }
    Ok(Box::new(SqliteView::open(&settings.ledger)?))
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

    fn facts_from(
        &self,
        _: &MailboxKey,
        _: FolderId,
        _: FactsCursor,
    ) -> Result<(Vec<Fact>, Option<FactsCursor>)> {
        Ok((Vec::new(), None))
    }
}
