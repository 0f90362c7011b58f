//! A server in memory whose copies carry nothing of ours, as a target of the trial.

use std::collections::BTreeMap;

use mailwave::model::{Digest, Flags};

use super::{Account, Held, To, address};
use crate::support::numbered::{self, Fault, Server};
use crate::trial::content::Content;

/// Before anything is copied.
pub fn server(to: To, content: &Content) -> Server {
    let mut server = Server::default();
    server.alters = to == To::Altering;
    server.faults = BTreeMap::from([
        (5, Fault::LostAfter),
        (9, Fault::Late(25_000)),
        (13, Fault::LostBefore),
        (17, Fault::LostAfter),
        (21, Fault::LostAfter),
        (25, Fault::Throttled),
        (29, Fault::Delivered("ann@example.org", "INBOX")),
        (33, Fault::Late(14_000)),
        (37, Fault::LostAfter),
    ]);
    for name in &content.mailboxes {
        // The user has the first message already, by other means: it is no copy of ours.
        let mail = content.items.iter().find(|i| i.mailbox == *name).expect("a first message");
        let mut flags = Flags::default();
        mail.flags.iter().for_each(|f| flags.add(f));
        server.deliver(&address(name), "INBOX", &mail.octets, flags, mail.received);
        server.deliver(&address(name), "INBOX", b"Subject: own\r\n\r\nx\r\n", Flags::default(), 1);
    }
    server
}

pub fn account(server: &Server) -> Account {
    let mut held = Held::new();
    for (place, folder) in &server.folders {
        let copy = |h: &numbered::Held| {
            format!("{:?}", (Digest::of(&h.octets), h.flags.encode(), h.received.map(|r| r.seconds)))
        };
        let mut copies: Vec<String> = folder.messages.values().map(copy).collect();
        copies.sort();
        if !copies.is_empty() {
            held.insert(place.clone(), copies);
        }
    }
    let mut wrong = Vec::new();
    if server.pending() > 0 {
        wrong.push("something is still under way at the target".to_owned());
    }
    let all = server.faults.values().map(|f| (format!("{f:?}"), 0));
    let mut faults: BTreeMap<String, u64> = all.collect();
    faults.extend(server.fired.clone());
    Account { held, foreign: server.foreign, writes: server.writes, wrong, faults, peak: Some(server.peak) }
}
