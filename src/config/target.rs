//! `[target.NAME]`.

use super::build::{Secrets, is_loopback, to_usize};
use super::read::Section;
use super::settings::{Layout, LimitSettings, LineEnds, MaildirTargetSettings, Sync, TargetKind};
use super::source::{LAYOUTS, root};
use super::{ews, graph, imap};

#[derive(Clone, Copy)]
enum TargetWord {
    Ews,
    Graph,
    Imap,
    Maildir,
}

pub(super) fn target(s: Section<'_, '_>, limits: LimitSettings, secrets: &mut Secrets) -> Option<TargetKind> {
    s.required("kind", "\"graph\"")?;
    let words = [
        ("ews", TargetWord::Ews),
        ("graph", TargetWord::Graph),
        ("imap", TargetWord::Imap),
        ("maildir", TargetWord::Maildir),
    ];
    let kind = match s.one_of("kind", &words)? {
        TargetWord::Imap => imap::target(&s, secrets).map(|i| TargetKind::Imap(Box::new(i))),
        TargetWord::Ews => ews::target(&s, secrets).map(|e| TargetKind::Ews(Box::new(e))),
        TargetWord::Graph => graph::target(&s, limits, secrets).map(|g| TargetKind::Graph(Box::new(g))),
        TargetWord::Maildir => {
            let root = root(&s, "\"/srv/maildirs\"");
            let layout = s.one_of_or("layout", &LAYOUTS, Layout::PlusPlus);
            let words = [("always", Sync::Always), ("batch", Sync::Batch), ("never", Sync::Never)];
            let sync = s.one_of_or("sync", &words, Sync::Batch);
            let words = [("keep", LineEnds::Keep), ("lf", LineEnds::Lf)];
            let line_ends = s.one_of_or("line_ends", &words, LineEnds::Keep);
            let lanes = to_usize(s.number("lanes", 2, 1..=64));
            root.map(|root| {
                TargetKind::Maildir(MaildirTargetSettings { root, layout, sync, line_ends, lanes })
            })
        }
    };
    s.done();
    kind
}

/// An address: https, or http for a loopback host.
pub(super) fn url(s: &Section<'_, '_>, key: &'static str, default: &str) -> Option<String> {
    let text = s.text(key).unwrap_or_else(|| default.to_owned());
    let uri: Option<http::Uri> = text.parse().ok();
    let Some(uri) = uri.filter(|u| u.host().is_some() && u.query().is_none()) else {
        s.wrong(key, "is not an address", format!("write it like `{key} = \"{default}\"`"));
        return None;
    };
    let host = uri.host().unwrap_or_default();
    if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        s.wrong(key, "holds a login", "remove it: logins have their own keys");
        return None;
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        _ => {
            s.wrong(key, "is neither https nor http to a loopback address", "write https://…");
            return None;
        }
    }
    Some(text.trim_end_matches('/').to_owned())
}
