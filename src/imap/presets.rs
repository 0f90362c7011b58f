//! What is known of servers of a kind beforehand, as data. Every explicit setting beats it.
//!
//! The limits are the ones the makers document, or the defaults of their packages; where neither is to be had, what
//! operators of migrations report. They are where to begin, not what to insist on: a server's own refusals count.

use std::time::Duration;

use super::response::Response;
use super::{Capabilities, Code, Status, Untagged};
use crate::model::SpecialUse;

/// What a connection must know of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Habits {
    /// Capabilities it claims and that are not to be relied on, in upper case.
    pub distrust: &'static [&'static str],
    /// Words in a refusal or a BYE by which it says that it is asked too much.
    pub throttled: &'static [&'static str],
    /// How long to leave it alone then, where it does not say.
    pub pause: Duration,
}

impl Habits {
    /// Judges a response by what the server is known for: capabilities it only claims, words by which it says that it is
    /// asked too much.
    pub(super) fn judge(&self, response: &mut Response, text: &[u8]) {
        match response {
            Response::Untagged(Untagged::Capability(told)) => told.distrust(self.distrust),
            Response::Tagged(_, done) | Response::Untagged(Untagged::Status(done)) => {
                if let Code::Capability(told) = &mut done.code {
                    told.distrust(self.distrust);
                }
                if done.backoff.is_none() && !matches!(done.status, Status::Ok | Status::PreAuth) {
                    done.backoff = self.pause(text);
                }
            }
            _ => {}
        }
    }

    /// The pause a refusal of these words asks for, if it does.
    pub(super) fn pause(&self, text: &[u8]) -> Option<Duration> {
        self.throttled
            .iter()
            .any(|words| memchr::memmem::find(text, words.as_bytes()).is_some())
            .then_some(self.pause)
    }
}

/// What is known of servers of a kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// As it is named in the configuration; empty for none.
    pub name: &'static str,
    /// Connections to the endpoint at once.
    pub max_connections: usize,
    /// Connections of one mailbox at once, at most.
    pub connections_per_mailbox: usize,
    /// Shortest time between two logins.
    pub login_interval: Duration,
    /// What a connection must know.
    pub habits: Habits,
    /// Folders that are left out: views of messages that lie elsewhere too, by their full names.
    pub leave_out: &'static [&'static str],
    /// Folders that are read after all others, for what is nowhere else.
    pub last: &'static [SpecialUse],
    /// Largest message it takes, in bytes, where it does not say (APPENDLIMIT, RFC 7889).
    pub max_message: Option<u64>,
    /// Bytes it lets out of one mailbox in a day.
    pub daily_bytes: Option<u64>,
}

const NO_HABITS: Habits = Habits { distrust: &[], throttled: &[], pause: Duration::ZERO };

/// No kind in particular.
pub static PLAIN: Preset = Preset {
    name: "",
    max_connections: 8,
    connections_per_mailbox: 2,
    login_interval: Duration::from_millis(50),
    habits: NO_HABITS,
    leave_out: &[],
    last: &[],
    max_message: None,
    daily_bytes: None,
};

/// Dovecot: `mail_max_userip_connections` is 10. It counts by user: a master user opens each mailbox as itself.
pub static DOVECOT: Preset = Preset {
    name: "dovecot",
    max_connections: 32,
    connections_per_mailbox: 4,
    login_interval: Duration::from_millis(20),
    ..PLAIN
};

/// Cyrus IMAP: no cap of its own by default (`maxlogins_per_user`, `maxlogins_per_host` are 0).
pub static CYRUS: Preset = Preset { name: "cyrus", max_connections: 16, connections_per_mailbox: 4, ..PLAIN };

/// Courier: `MAXPERIP` is 20, for all mailboxes together, as `MAXDAEMONS` is 40.
pub static COURIER: Preset = Preset {
    name: "courier",
    max_connections: 15,
    habits: Habits {
        throttled: &["too many connections", "Too many connections", "maximum number of connections"],
        pause: Duration::from_secs(30),
        ..NO_HABITS
    },
    ..PLAIN
};

/// Exchange Online and Exchange Server. Its CONDSTORE without QRESYNC proves no change. It closes sessions after ten
/// errors, and says how long it wants to be left alone, mostly.
pub static EXCHANGE: Preset = Preset {
    name: "exchange",
    max_connections: 16,
    connections_per_mailbox: 2,
    login_interval: Duration::from_millis(200),
    habits: Habits {
        distrust: &["CONDSTORE"],
        throttled: &[
            "Request is throttled",
            "Too many requests",
            "exceeded the maximum number of concurrent",
            "Connection is closed. 13",
        ],
        pause: Duration::from_secs(300),
    },
    leave_out: &[
        "Calendar",
        "Contacts",
        "Conversation History",
        "Journal",
        "Notes",
        "Sync Issues",
        "Sync Issues/Conflicts",
        "Sync Issues/Local Failures",
        "Sync Issues/Server Failures",
        "Tasks",
    ],
    // The default of Exchange Online; an administrator may raise it to 150 MB.
    max_message: Some(35 << 20),
    ..PLAIN
};

/// Gmail: 15 connections a user, 2,500 MB a day down and 500 MB up; its end looks like an expired session.
pub static GMAIL: Preset = Preset {
    name: "gmail",
    max_connections: 64,
    connections_per_mailbox: 4,
    login_interval: Duration::from_millis(100),
    habits: Habits {
        distrust: &[],
        throttled: &[
            "Session expired",
            "Too many simultaneous connections",
            "Account exceeded command or bandwidth limits",
            "Bandwidth limits exceeded",
            "Lockdown in sector",
        ],
        pause: Duration::from_secs(900),
    },
    leave_out: &[],
    last: &[SpecialUse::Flagged, SpecialUse::All],
    max_message: Some(35 << 20),
    daily_bytes: Some(2_500_000_000),
};

/// Zimbra: `zimbraImapMaxConnections` is 200 for the server; chats, contacts and calendars are folders there.
pub static ZIMBRA: Preset = Preset {
    name: "zimbra",
    max_connections: 16,
    connections_per_mailbox: 2,
    leave_out: &["Chats", "Contacts", "Emailed Contacts", "Calendar", "Tasks", "Briefcase"],
    ..PLAIN
};

/// Every kind that has a name.
pub static ALL: [&Preset; 6] = [&DOVECOT, &CYRUS, &COURIER, &EXCHANGE, &GMAIL, &ZIMBRA];

/// The kind a server probably is, by what it says of itself: a suggestion for the operator, never more. `said` is its
/// greeting's text and its ID (RFC 2971).
pub fn likely(capabilities: &Capabilities, said: &str) -> Option<&'static Preset> {
    if capabilities.has("X-GM-EXT-1") {
        return Some(&GMAIL);
    }
    if capabilities.has("XPROXYAUTH") || capabilities.has("XZIMBRA") {
        return Some(&ZIMBRA);
    }
    let said = said.to_ascii_lowercase();
    let told = [
        ("dovecot", &DOVECOT),
        ("cyrus", &CYRUS),
        ("courier", &COURIER),
        ("microsoft exchange", &EXCHANGE),
        ("microsoft.exchange", &EXCHANGE),
        ("gimap", &GMAIL),
        ("zimbra", &ZIMBRA),
    ];
    told.into_iter().find_map(|(word, preset)| said.contains(word).then_some(preset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_has_a_name_of_its_own_and_sane_numbers() {
        for (n, preset) in ALL.iter().enumerate() {
            assert!(ALL.iter().skip(n + 1).all(|other| other.name != preset.name));
            assert!((1..=10_000).contains(&preset.max_connections), "{}", preset.name);
            assert!((1..=16).contains(&preset.connections_per_mailbox), "{}", preset.name);
            let habits = preset.habits;
            assert!(habits.throttled.is_empty() || habits.pause >= Duration::from_secs(1), "{}", preset.name);
            assert!(habits.distrust.iter().all(|c| *c == c.to_ascii_uppercase()), "{}", preset.name);
        }
    }

    #[test]
    fn words_of_a_throttling_server_ask_for_a_pause() {
        let expired = b"* BYE Session expired, please login again.";
        assert_eq!(GMAIL.habits.pause(expired), Some(Duration::from_secs(900)));
        assert_eq!(DOVECOT.habits.pause(expired), None);
    }

    #[test]
    fn a_greeting_tells_the_kind() {
        let none = Capabilities::default();
        for (said, name) in [
            ("Dovecot (Debian) ready.", Some("dovecot")),
            ("mail.example.org Cyrus IMAP 3.6.1 server ready", Some("cyrus")),
            ("Courier-IMAP ready. Copyright 1998-2018 Double Precision, Inc.", Some("courier")),
            ("The Microsoft Exchange IMAP4 service is ready.", Some("exchange")),
            ("Gimap ready for requests from 192.0.2.1", Some("gmail")),
            ("IMAP4 ready", None),
        ] {
            assert_eq!(likely(&none, said).map(|p| p.name), name, "{said}");
        }
    }
}
