//! From the file's tables to [`Settings`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::Loaded;
use super::read::{Reader, Section};
use super::settings::{LimitSettings, RunSettings, Settings};
use super::{source, target, waves};
use crate::guard::{PasswordFile, Secret};
use crate::model::{Error, SourceName};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// Exchange Online takes messages up to 150 MB ("Exchange Online limits", message size limit).
pub(super) const LARGEST_MESSAGE: u64 = 150 * MIB;

/// Every secret that is named, for warnings.
#[derive(Default)]
pub(super) struct Secrets {
    pub named: Vec<Secret>,
    pub files: Vec<PasswordFile>,
}

impl Secrets {
    fn warnings(&self) -> Vec<String> {
        let named = self.named.iter().filter_map(Secret::warning);
        named.chain(self.files.iter().filter_map(PasswordFile::warning)).collect()
    }
}

/// Reads the whole file; tells everything that is wrong with it at once.
pub(super) fn build(path: &Path, text: &str) -> Result<Loaded, Vec<Error>> {
    // A byte-order mark is not part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reader = Reader::new(path, text);
    let parsed = DeTable::parse(text);
    let (settings, secrets) = match &parsed {
        Ok(table) => {
            let root = Section::root(&reader, table.get_ref());
            whole(&reader, root, path)
        }
        Err(e) => {
            let at = e.span().map_or(0, |span| span.start);
            let what = format!("this is not TOML: {}", e.message().replace('\n', ", "));
            reader.wrong(at, "", what, "compare the line with the reference in README.md");
            (None, Secrets::default())
        }
    };
    let wrong = reader.into_wrong();
    match settings {
        Some(settings) if wrong.is_empty() => Ok(Loaded { settings, warnings: secrets.warnings() }),
        _ => Err(wrong),
    }
}

fn whole(reader: &Reader<'_>, root: Section<'_, '_>, path: &Path) -> (Option<Settings>, Secrets) {
    let mut secrets = Secrets::default();
    let source_name = root.required("source_name", "\"acme\"").and_then(|text| {
        let name = text.parse::<SourceName>();
        if name.is_err() {
            root.wrong(
                "source_name",
                "is not 1 to 16 of a-z and 0-9",
                "choose a short name of the installation you move away from; it is part of every stamp and must never change",
            );
        }
        name.ok()
    });
    let mailboxes = root.path_or("mailboxes", "mailboxes.csv");
    let ledger = root.path_or("ledger", "mailwave-ledger");
    let ledger_on_network = root.flag("ledger_on_network", false);
    let beside = ledger.parent().map(Path::to_owned).unwrap_or_default();
    let report = root.path("report").unwrap_or_else(|| beside.join("mailwave-report"));
    let run = run_settings(root.section("run"), &beside);
    let waves = waves::waves(&root);

    let limits = match root.section("limits") {
        Some(section) => {
            let limits = limit_settings(&section, LimitSettings::default());
            section.done();
            limits
        }
        None => LimitSettings::default(),
    };

    let mut sources = BTreeMap::new();
    let mut targets = BTreeMap::new();
    for (name, endpoint) in endpoints(reader, &root, "source", "\"imap\", \"maildir\" or \"mbox\"") {
        if let Some(kind) = source::source(endpoint, &mut secrets) {
            sources.insert(name, kind);
        }
    }
    for (name, endpoint) in endpoints(reader, &root, "target", "\"ews\", \"graph\", \"imap\" or \"maildir\"")
    {
        if let Some(kind) = target::target(endpoint, limits, &mut secrets) {
            targets.insert(name, kind);
        }
    }
    root.done();
    let settings = source_name.map(|source_name| Settings {
        file: path.to_owned(),
        source_name,
        mailboxes,
        ledger,
        ledger_on_network,
        report,
        run,
        waves,
        sources,
        targets,
    });
    (settings, secrets)
}

/// The named endpoints of a side; at least one.
fn endpoints<'r, 'i>(
    reader: &Reader<'i>,
    root: &Section<'r, 'i>,
    side: &'static str,
    kinds: &str,
) -> Vec<(String, Section<'r, 'i>)> {
    let all = root.section(side).map(|section| section.sections()).unwrap_or_default();
    if all.is_empty() && !root.wrong_type(side) {
        reader.wrong(
            0,
            side,
            format_args!("no {side} is named"),
            format!("add `[{side}.NAME]` with `kind = {kinds}`"),
        );
    }
    all
}

impl RunSettings {
    /// What holds where nothing is said; the spool lies in this directory.
    pub(crate) fn beside(beside: &Path) -> RunSettings {
        RunSettings {
            open_mailboxes: 64,
            open_at_first: 64,
            memory: None,
            spool_above: 4 * MIB,
            spool: beside.join("mailwave-spool"),
            spool_size: None,
            settle: 10 * SECOND,
            watch_for: 15 * MINUTE,
            tries: 5,
            store_deadline: 2 * HOUR,
            grace: 2 * MINUTE,
            max_message: LARGEST_MESSAGE,
            recount: true,
            mirror: true,
            newest_first: false,
        }
    }
}

fn run_settings(section: Option<Section<'_, '_>>, beside: &Path) -> RunSettings {
    let mut run = RunSettings::beside(beside);
    let Some(s) = section else { return run };
    run.open_mailboxes = to_usize(s.number("open_mailboxes", run.open_mailboxes as u64, 1..=5000));
    run.open_at_first = to_usize(s.number("open_at_first", run.open_at_first as u64, 1..=5000));
    run.memory = s.has("memory").then(|| s.size("memory", 512 * MIB, 16 * MIB..=TIB));
    run.spool_above = s.size("spool_above", run.spool_above, 64 * KIB..=GIB);
    run.spool = s.path("spool").unwrap_or(run.spool);
    run.spool_size = s.has("spool_size").then(|| s.size("spool_size", 8 * GIB, 256 * MIB..=TIB));
    run.settle = s.duration("settle", run.settle, Duration::ZERO..=10 * MINUTE);
    run.watch_for = s.duration("watch_for", run.watch_for, Duration::ZERO..=30 * DAY);
    run.tries = u32::try_from(s.number("tries", u64::from(run.tries), 1..=20)).unwrap_or(run.tries);
    run.store_deadline = s.duration("store_deadline", run.store_deadline, SECOND..=DAY);
    run.grace = s.duration("grace", run.grace, Duration::ZERO..=DAY);
    run.max_message = s.size("max_message", run.max_message, KIB..=2 * GIB);
    run.recount = s.flag("recount", run.recount);
    run.mirror = s.flag("mirror", run.mirror);
    run.newest_first = s.one_of_or("order", &[("oldest", false), ("newest", true)], run.newest_first);
    s.done();
    run
}

pub(super) fn limit_settings(s: &Section<'_, '_>, base: LimitSettings) -> LimitSettings {
    let to_u32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let rate = s.has("rate").then(|| to_u32(s.number("rate", 1, 1..=100_000)));
    LimitSettings {
        requests: to_u32(s.number("requests", u64::from(base.requests), 1..=10_000_000)),
        requests_per: s.duration("requests_per", base.requests_per, SECOND..=DAY),
        at_once: to_u32(s.number("at_once", u64::from(base.at_once), 1..=64)),
        upload: s.size("upload", base.upload, 64 * KIB..=TIB),
        upload_per: s.duration("upload_per", base.upload_per, SECOND..=DAY),
        rate: rate.or(base.rate),
        in_flight: to_u32(s.number("in_flight", u64::from(base.in_flight), 0..=100_000)),
        start_spent: s.flag("start_spent", base.start_spent),
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

pub(super) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
