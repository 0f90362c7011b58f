//! Gmail as a source: messages with labels, in folders that are views, each migrated once, as an operator runs it.

mod deltas;
mod first;
mod oddities;
mod server;

use std::collections::BTreeMap;

use mailwave::mock::imap::{ImapMock, ImapOptions, InternalDate};

use crate::bad_input::desk::{Desk, Imap, Ran};

const USER: &str = "ann";
const THERE: &str = "there@example.org";
const RECEIVED: i64 = 1_200_000_000;

const ALL: &str = "[Gmail]/All Mail";
const DRAFTS: &str = "[Gmail]/Drafts";
const IMPORTANT: &str = "[Gmail]/Important";
const SENT: &str = "[Gmail]/Sent Mail";
const SPAM: &str = "[Gmail]/Spam";
const STARRED: &str = "[Gmail]/Starred";
const TRASH: &str = "[Gmail]/Trash";

/// One mailbox of Gmail on its way to another IMAP server.
struct Way {
    source: Imap,
    target: Imap,
    desk: Desk,
    /// Messages by what tells them apart.
    ids: BTreeMap<String, u64>,
}

fn octets(what: &str) -> Vec<u8> {
    format!("From: a@example.org\r\nSubject: {what}\r\nMessage-ID: <{what}@x>\r\n\r\nText of {what}\r\n")
        .into_bytes()
}

impl Way {
    fn with(labels: &str) -> Way {
        Way::like(ImapOptions::gmail(), &format!("labels = \"{labels}\"\n"))
    }

    /// From a server that is like `options`; `more` are lines of its table.
    fn like(options: ImapOptions, more: &str) -> Way {
        let login = "password = { file = \"pw\" }\nlogin_interval = \"1ms\"";
        let source = Imap::start(options);
        source.mock.store().add_gmail_user(USER);
        let target = Imap::start(
            ImapOptions::default().offering("CONDSTORE ESEARCH LIST-EXTENDED LIST-STATUS MULTIAPPEND"),
        );
        for role in ["Archive", "Drafts", "Junk", "Sent", "Trash"] {
            target.mock.store().set_special_use(THERE, role, &format!("\\{role}"));
        }
        let there = target.config(login).replace("[source.old]", "[target.new]");
        let config = format!("{}{more}{there}expunge_removed = true\n", source.config(login));
        let desk = Desk::new(&config, &format!("source,target\n{USER},{THERE}\n"));
        desk.secret("pw", "word\n");
        Way { source, target, desk, ids: BTreeMap::new() }
    }

    fn mock(&self) -> &ImapMock {
        &self.source.mock
    }

    fn deliver(&mut self, what: &str, labels: &[&str], flags: &[&str]) {
        let date = InternalDate::utc(RECEIVED);
        let id = self.mock().store().deliver(USER, labels, octets(what), flags, date);
        self.ids.insert(what.to_owned(), id);
    }

    fn label(&self, what: &str, labels: &[&str]) {
        assert!(self.mock().store().set_labels(USER, self.ids[what], labels), "{what}");
    }

    fn flag(&self, what: &str, flags: &[&str]) {
        assert!(self.mock().store().set_gmail_flags(USER, self.ids[what], flags), "{what}");
    }

    fn delete(&self, what: &str) {
        assert!(self.mock().store().delete_for_good(USER, self.ids[what]), "{what}");
    }

    /// A pass that ends well, and what it did: stored, moved, removed, other flags.
    #[track_caller]
    fn pass(&self) -> [u64; 4] {
        did(self.desk.run().ended(0))
    }

    /// Where the copies of a message lie, with their flags and keywords: `folder: flags`.
    fn lies(&self, what: &str) -> Vec<String> {
        let store = self.target.mock.store();
        let mut found = Vec::new();
        for folder in store.folders(THERE) {
            for message in store.messages(THERE, &folder) {
                if message.octets == octets(what) {
                    assert_eq!(message.date.seconds, RECEIVED);
                    let text = format!("{folder}: {}", message.flags.join(" "));
                    found.push(text.trim_end().trim_end_matches(':').to_owned());
                }
            }
        }
        found
    }

    /// Each of these messages lies there, and nothing else is at the target.
    #[track_caller]
    fn holds(&self, expected: &[(&str, &[&str])]) {
        for (what, places) in expected {
            assert_eq!(self.lies(what), *places, "{what}");
        }
        let store = self.target.mock.store();
        let there: usize = store.folders(THERE).iter().map(|f| store.uids(THERE, f).len()).sum();
        assert_eq!(there, expected.iter().map(|(_, places)| places.len()).sum::<usize>());
        assert_eq!(self.mock().store().client_changes(), 0, "the source was only read");
    }

    /// A pass finds nothing to do, and does not open a folder to see that.
    #[track_caller]
    fn is_quiet(&self) {
        let before = self.mock().heard().len();
        assert_eq!(self.pass(), [0; 4]);
        let heard = self.mock().heard();
        let verbs: Vec<&str> = heard[before..].iter().map(|h| h.verb.as_str()).collect();
        assert!(!verbs.contains(&"EXAMINE"), "{verbs:?}");
    }
}

fn did(ran: &Ran) -> [u64; 4] {
    ["stored", "moved", "removed", "reflagged"].map(|what| ran.count(what))
}
