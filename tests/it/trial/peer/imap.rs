//! The mock IMAP server as a target of the trial.

use std::sync::Arc;
use std::time::Duration;

use mailwave::env::Env;
use mailwave::mock::imap::{Act, Fate, ImapMock, ImapOptions, InternalDate, Rule};
use mailwave::model::Digest;
use mailwave::target::Target;
use mailwave::target::imap::{ImapTarget, ImapTargetSettings};

use super::{Account, Held, address};
use crate::trial::content::Content;
use crate::trial::source;
use crate::trial::world::VirtualClock;

/// Before anything is copied. Servers of odd seeds take several messages at once.
pub fn mock(seed: u64, clock: &Arc<VirtualClock>, content: &Content) -> Arc<ImapMock> {
    let options = ImapOptions { latency: Duration::from_millis(3), ..ImapOptions::default() };
    let options = options.offering(if seed % 2 == 1 { "MULTIAPPEND" } else { "" });
    let mock = ImapMock::new(options, clock.clone());
    mock.script([
        Rule::on("APPEND", Act::LoseAppend(Fate::Stored)).nth(2),
        Rule::on("APPEND", Act::LoseAppend(Fate::StoredAfter(3))).nth(5),
        Rule::on("APPEND", Act::LoseAppend(Fate::NotStored)).nth(7),
        Rule::on("APPEND", Act::No("[UNAVAILABLE] later".to_owned())).nth(9),
        Rule::on("APPEND", Act::WithoutCode).nth(10),
        Rule::on("APPEND", Act::Throttled(3_000)).nth(11),
        Rule::on("APPEND", Act::LoseAppend(Fate::Stored)).nth(12),
        Rule::on("AUTHENTICATE", Act::too_many_connections()).nth(3),
    ]);
    for name in &content.mailboxes {
        // The user has the first message already, by other means: it is no copy of ours.
        let mail = content.items.iter().find(|i| i.mailbox == *name).expect("a first message");
        deliver(&mock, name, &mail.octets, &mail.flags, mail.received);
        deliver(&mock, name, b"Subject: own\r\n\r\nx\r\n", &[], 1);
    }
    mock
}

/// A message of somebody else comes.
pub fn deliver(mock: &Arc<ImapMock>, name: &str, octets: &[u8], flags: &[&str], received: i64) {
    mock.store().add(&address(name), "INBOX", octets.to_vec(), flags, InternalDate::utc(received));
}

pub fn target(env: &Env, mock: &Arc<ImapMock>) -> Arc<dyn Target> {
    let settings = ImapTargetSettings::of(source::server(mock));
    Arc::new(ImapTarget::new(env.clone(), settings).expect("the settings are right"))
}

pub fn account(mock: &Arc<ImapMock>, foreign: usize) -> Account {
    let store = mock.store();
    let mut held = Held::new();
    for user in store.users() {
        // Where removed copies go is no part of what must be alike: a late twin goes there too.
        for folder in store.folders(&user).into_iter().filter(|f| f != "Trash") {
            let mut copies: Vec<String> = store
                .messages(&user, &folder)
                .into_iter()
                .map(|m| format!("{:?}", (Digest::of(&m.octets), m.flags, m.date.seconds)))
                .collect();
            copies.sort();
            if !copies.is_empty() {
                held.insert((user.clone(), folder), copies);
            }
        }
    }
    let faults = mock.fired().into_iter().map(|(rule, n)| (format!("target: {rule}"), n)).collect();
    Account { held, foreign, writes: store.client_changes(), wrong: Vec::new(), faults, peak: None }
}
