//! `[source.NAME]`.

use std::path::PathBuf;
use std::time::Duration;

use super::build::{HOUR, MILLISECOND, MINUTE, SECOND, Secrets, is_loopback, to_usize};
use super::read::Section;
use super::settings::{
    FolderNames, ImapLogin, ImapSettings, Layout, MaildirSettings, MboxSettings, Mechanism, Numbers, Quoting,
    Received, SourceKind, Tls,
};
use crate::guard::PasswordFile;

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
        SourceWord::Imap => imap(&s, secrets).map(SourceKind::Imap),
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
    let host = s.required("host", "\"imap.example.org\"");
    let tls = s.one_of_or(
        "tls",
        &[("implicit", Tls::Implicit), ("starttls", Tls::StartTls), ("off", Tls::Off)],
        Tls::Implicit,
    );
    let allow_plaintext = s.flag("allow_plaintext", false);
    if tls == Tls::Off && !allow_plaintext && host.as_deref().is_some_and(|h| !is_loopback(h)) {
        s.wrong(
            "tls",
            "\"off\" sends passwords and mail in the clear, and this is not a loopback address",
            "use \"implicit\" or \"starttls\"; if you accept that both can be read on the way, add `allow_plaintext = true`",
        );
    }
    let default_port = if tls == Tls::Implicit { 993 } else { 143 };
    let port = u16::try_from(s.number("port", default_port, 1..=65_535)).unwrap_or(993);
    let mechanism = s.one_of_or(
        "mechanism",
        &[("auto", Mechanism::Auto), ("plain", Mechanism::Plain), ("login", Mechanism::Login)],
        Mechanism::Auto,
    );
    let ca_file = s.path("ca_file");
    let max_connections = to_usize(s.number("max_connections", 8, 1..=10_000));
    let login_interval = s.duration("login_interval", 50 * MILLISECOND, Duration::ZERO..=MINUTE);
    let connect_timeout = s.duration("connect_timeout", 20 * SECOND, SECOND..=10 * MINUTE);
    let idle_timeout = s.duration("idle_timeout", 2 * MINUTE, SECOND..=HOUR);
    let login = imap_login(s, secrets);
    Some(ImapSettings {
        host: host?,
        port,
        tls,
        allow_plaintext,
        ca_file,
        login: login?,
        mechanism,
        max_connections,
        login_interval,
        connect_timeout,
        idle_timeout,
    })
}

/// One of: a password (with or without a master user), a file of passwords, a token.
fn imap_login(s: &Section<'_, '_>, secrets: &mut Secrets) -> Option<ImapLogin> {
    let ways = ["password", "passwords", "token"].into_iter().filter(|way| s.has(way)).count();
    if ways != 1 {
        let what = if ways == 0 {
            "no secret is named"
        } else {
            "more than one of password, passwords and token is named"
        };
        s.wrong(
            "password",
            what,
            "add one: `password = { env = \"NAME\" }` (or file, or command), `passwords = \"FILE\"` or `token = { … }`",
        );
    }
    let password = s.secret("password");
    let token = s.secret("token");
    secrets.named.extend(password.clone());
    secrets.named.extend(token.clone());
    let user = s.text("master_user");
    let login = s.text("master_login");
    if login.as_deref().is_some_and(|l| !l.contains("{mailbox}")) {
        s.wrong(
            "master_login",
            "does not hold `{mailbox}`: every mailbox would be the same one",
            "write it like `master_login = \"{mailbox}*migrator\"`",
        );
    }
    if login.is_some() && user.is_none() {
        s.wrong("master_login", "stands without `master_user`", "add `master_user = \"migrator\"`");
    }
    if user.is_some() && !s.has("password") {
        s.wrong(
            "master_user",
            "wants `password`",
            "add `password = { env = \"NAME\" }`, or file, or command",
        );
    }
    if s.has("passwords") {
        let file = PasswordFile { path: s.path("passwords")?, place: s.place("passwords") };
        secrets.files.push(file.clone());
        return Some(ImapLogin::PerMailbox(file));
    }
    if s.has("token") {
        return token.map(ImapLogin::Token);
    }
    Some(match user {
        Some(user) => ImapLogin::Master { user, password: password?, login },
        None => ImapLogin::Fixed { password: password? },
    })
}
