//! `[source.NAME]`.

use std::path::PathBuf;

use super::build::{GIB, MIB, Secrets, to_usize};
use super::imap::server;
use super::read::Section;
use super::settings::{
    FolderNames, ImapSettings, Labels, Layout, MaildirSettings, MboxSettings, Numbers, Quoting, Received,
    SourceKind,
};

#[derive(Clone, Copy)]
enum SourceWord {
    Imap,
    Maildir,
    Mbox,
}

pub(super) fn source(s: Section<'_, '_>, secrets: &mut Secrets) -> Option<SourceKind> {
    s.required("kind", "\"imap\"")?;
    let words = [("imap", SourceWord::Imap), ("maildir", SourceWord::Maildir), ("mbox", SourceWord::Mbox)];
    let kind = match s.one_of("kind", &words)? {
        SourceWord::Imap => imap(&s, secrets).map(|i| SourceKind::Imap(Box::new(i))),
        SourceWord::Maildir => maildir(&s).map(SourceKind::Maildir),
        SourceWord::Mbox => {
            let root = root(&s, "\"/srv/mbox\"");
            let words = [
                ("auto", Quoting::Auto),
                ("mboxo", Quoting::Mboxo),
                ("mboxrd", Quoting::Mboxrd),
                ("mboxcl", Quoting::Mboxcl),
                ("mboxcl2", Quoting::Mboxcl2),
                ("none", Quoting::None),
            ];
            let quoting = s.one_of_or("quoting", &words, Quoting::Auto);
            let gmail_labels = s.flag("gmail_labels", true);
            let names = s.one_of_or("names", &NAMES, FolderNames::Auto);
            root.map(|root| SourceKind::Mbox(MboxSettings { root, quoting, gmail_labels, names }))
        }
    };
    s.done();
    kind
}

/// Where mailboxes lie in files: a directory, or a pattern.
pub(super) fn root(s: &Section<'_, '_>, example: &str) -> Option<PathBuf> {
    let text = s.required("root", example)?;
    let rest = ["{mailbox}", "{user}", "{domain}"].iter().fold(text, |text, word| text.replace(word, ""));
    if rest.contains(['{', '}']) {
        s.wrong(
            "root",
            "holds a placeholder that is not known",
            "it may hold {mailbox}, {user} and {domain}",
        );
        return None;
    }
    s.path("root")
}

fn maildir(s: &Section<'_, '_>) -> Option<MaildirSettings> {
    let root = root(s, "\"/var/vmail\"");
    let layout = s.one_of_or("layout", &LAYOUTS, Layout::PlusPlus);
    let separator = character(s, "separator").unwrap_or('.');
    let names = s.one_of_or("names", &NAMES, FolderNames::Auto);
    let escape = character(s, "escape");
    let received = [("mtime", Received::Mtime), ("name", Received::Name)];
    let received = s.one_of_or("received", &received, Received::Mtime);
    let numbers = [("ledger", Numbers::Ledger), ("uidlist", Numbers::Uidlist)];
    let numbers = s.one_of_or("numbers", &numbers, Numbers::Ledger);
    Some(MaildirSettings { root: root?, layout, separator, names, escape, received, numbers })
}

const NAMES: [(&str, FolderNames); 3] =
    [("auto", FolderNames::Auto), ("utf7", FolderNames::Utf7), ("utf8", FolderNames::Utf8)];

pub(super) const LAYOUTS: [(&str, Layout); 2] = [("maildir++", Layout::PlusPlus), ("fs", Layout::Fs)];

/// One ASCII character other than `/`.
fn character(s: &Section<'_, '_>, key: &'static str) -> Option<char> {
    let text = s.text(key)?;
    let mut all = text.chars();
    match (all.next(), all.next()) {
        (Some(c), None) if c.is_ascii_graphic() && c != '/' => Some(c),
        _ => {
            s.wrong(key, "is not one ASCII character other than /", format!("write it like `{key} = \".\"`"));
            None
        }
    }
}

fn imap(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<ImapSettings> {
    let server = server(s, secrets);
    let connections_per_mailbox =
        s.has("connections_per_mailbox").then(|| to_usize(s.number("connections_per_mailbox", 2, 1..=16)));
    let namespaces = s.texts("namespaces").unwrap_or_default();
    let folders = s.texts("folders").unwrap_or_default();
    let leave_out = s.texts("leave_out");
    let daily_bytes = s.has("daily_bytes").then(|| s.size("daily_bytes", GIB, MIB..=1024 * GIB));
    let words = [
        ("keywords", Labels::Keywords),
        ("copies", Labels::Copies),
        ("ignore", Labels::Ignore),
        ("off", Labels::Off),
    ];
    let labels = s.one_of_or("labels", &words, Labels::Keywords);
    Some(ImapSettings {
        server: server?,
        connections_per_mailbox,
        namespaces,
        folders,
        leave_out,
        daily_bytes,
        labels,
    })
}
