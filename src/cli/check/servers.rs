//! Every IMAP server is connected to, nobody logs in: does it answer, and which preset fits?

use futures_util::stream::{self, StreamExt};

use crate::cli::control::Borrower;
use crate::cli::talk::Talk;
use crate::cli::{imap, wire};
use crate::config::{ImapServer, Settings, SourceKind, TargetKind};
use crate::env::Env;
use crate::imap::{Preset, connect};
use crate::limit::PlaceLender;
use crate::model::{Error, Result};
use crate::report::{Align, table};

/// Servers asked at once.
const AT_ONCE: usize = 8;

/// One endpoint and what became of it.
pub(super) struct Checked<'a> {
    /// `source` or `target`.
    side: &'static str,
    name: &'a str,
    server: &'a ImapServer,
    found: Result<Found>,
}

/// What answered.
struct Found {
    /// The preset in use; its name is empty if there is none.
    preset: &'static Preset,
    /// The one that would fit, as far as can be told.
    likely: Option<&'static Preset>,
}

impl Checked<'_> {
    pub(super) fn answers(&self) -> bool {
        self.found.is_ok()
    }

    fn address(&self) -> String {
        format!("{}:{}", self.server.host, self.server.port)
    }

    /// The preset to suggest: the one that fits, if it is not in use.
    fn better(&self) -> Option<&'static Preset> {
        let found = self.found.as_ref().ok()?;
        found.likely.filter(|likely| likely.name != found.preset.name)
    }

    fn advice(&self) -> Option<String> {
        let likely = self.better()?.name;
        let place = format!("[{}.{}]", self.side, self.name);
        Some(match self.found.as_ref().ok()?.preset.name {
            "" => format!(
                "{place} looks like {likely}: `preset = \"{likely}\"` sets connections, pauses and limits to what such servers take"
            ),
            name => {
                format!("{place} has `preset = \"{name}\"` and looks like {likely}: is it the right one?")
            }
        })
    }
}

/// Asks all of them, several at once.
pub(super) async fn ask<'a>(env: &Env, settings: &'a Settings, lender: &Borrower) -> Vec<Checked<'a>> {
    let checks = servers(settings).into_iter().map(|(side, name, server)| async move {
        // A source counts this connection, too, if a run goes on.
        let _place = if side == "source" { lender.place(name).await } else { None };
        let found = look(env, server).await.map_err(|e| wire::at_endpoint(e, side, name));
        Checked { side, name, server, found }
    });
    stream::iter(checks).buffered(AT_ONCE).collect().await
}

/// Every IMAP endpoint.
fn servers(settings: &Settings) -> Vec<(&'static str, &str, &ImapServer)> {
    let sources = settings.sources.iter().filter_map(|(name, kind)| match kind {
        SourceKind::Imap(imap) => Some(("source", name.as_str(), &imap.server)),
        SourceKind::Maildir(_) | SourceKind::Mbox(_) => None,
    });
    let targets = settings.targets.iter().filter_map(|(name, kind)| match kind {
        TargetKind::Imap(imap) => Some(("target", name.as_str(), &imap.server)),
        TargetKind::Ews(_) | TargetKind::Graph(_) | TargetKind::Maildir(_) => None,
    });
    sources.chain(targets).collect()
}

async fn look(env: &Env, typed: &ImapServer) -> Result<Found> {
    let server = imap::server(env, typed)?;
    server.check()?;
    let connection = connect(env, &server.endpoint()?).await?;
    Ok(Found { preset: server.preset, likely: connection.likely() })
}

pub(super) fn json(all: &[Checked<'_>]) -> serde_json::Value {
    let name = |preset: Option<&'static Preset>| preset.map(|p| p.name).filter(|name| !name.is_empty());
    all.iter()
        .map(|c| {
            let error = |e: &Error| serde_json::json!({ "what": e.what, "remedy": e.remedy });
            serde_json::json!({
                "side": c.side,
                "endpoint": c.name,
                "address": c.address(),
                "answers": c.answers(),
                "preset": name(c.found.as_ref().ok().map(|f| f.preset)),
                "looks_like": name(c.found.as_ref().ok().and_then(|f| f.likely)),
                "advice": c.advice(),
                "error": c.found.as_ref().err().map(error),
            })
        })
        .collect()
}

pub(super) fn print(all: &[Checked<'_>], talk: &Talk) {
    if all.is_empty() {
        return;
    }
    let header = ["endpoint", "address", "answers", "preset", "looks like"].map(|title| (title, Align::Left));
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|c| {
            let word = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let found = c.found.as_ref().ok();
            vec![
                format!("{}.{}", c.side, c.name),
                c.address(),
                if found.is_some() { "yes" } else { "no" }.to_owned(),
                word(found.map_or("", |f| f.preset.name)),
                word(found.and_then(|f| f.likely).map_or("", |p| p.name)),
            ]
        })
        .collect();
    talk.data(&table(&header, &rows));
    for c in all {
        if let Err(e) = &c.found {
            talk.say(&format!("error: {e}"));
        }
        if let Some(advice) = c.advice() {
            talk.say(&advice);
        }
    }
}
