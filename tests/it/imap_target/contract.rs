//! The contract kept by the IMAP target against real servers, in several shapes.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::target::Target;
use mailwave::target::imap::ImapTarget;

use super::{USER, held, names, settings};
use crate::contract_target::{Held, TargetHarness, anchored};
use crate::support::cyrus::{self, Cyrus};
use crate::support::dovecot::{self, Dovecot};
use crate::support::server::ImapServer;

struct ServerHarness<S> {
    server: S,
    env: Env,
    target: Arc<ImapTarget>,
    /// Where the mailbox lies, if it can be taken away.
    place: Option<PathBuf>,
}

impl<S: ImapServer> ServerHarness<S> {
    fn of(server: S, place: Option<PathBuf>) -> ServerHarness<S> {
        let env = Env::system();
        let target = Arc::new(ImapTarget::new(env.clone(), settings(&server)).expect("settings"));
        ServerHarness { server, env, target, place }
    }
}

#[async_trait]
impl<S: ImapServer + Send + Sync> TargetHarness for ServerHarness<S> {
    fn env(&self) -> Env {
        self.env.clone()
    }

    fn target(&self) -> Arc<dyn Target> {
        self.target.clone()
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn foreign(&mut self, octets: &[u8]) {
        self.server.client(USER).append(&["INBOX"], octets, "\\Seen", None);
    }

    async fn truth(&self) -> Vec<Held> {
        let mut client = self.server.client(USER);
        let names = names(&mut client);
        let kept = names.iter().filter(|name| !name.ends_with(b"Trash"));
        kept.flat_map(|name| held(&mut client, name)).map(|(_, held)| held).collect()
    }

    async fn remake(&mut self) -> bool {
        let Some(place) = &self.place else { return false };
        // A UIDVALIDITY is the second it was given in: another one takes another second.
        let given = self.server.client(USER).uid_validity(&["INBOX"]);
        let now = || std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        while now() <= u64::from(given) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        std::fs::remove_dir_all(place).expect("remove");
        true
    }

    async fn check_confined(&self) {
        for other in ["user02", "user03"] {
            let mut client = self.server.client(other);
            assert!(held(&mut client, b"INBOX").is_empty());
        }
    }

    fn takes_nothing(&self) -> bool {
        false
    }
}

async fn dovecot_with(separator: char, prefix: &str) {
    let options = dovecot::Options { separator, prefix: prefix.to_owned(), ..dovecot::Options::default() };
    let Some(server) = Dovecot::with(&options) else { return };
    let place = server.maildir(USER);
    anchored::suite(ServerHarness::of(server, Some(place))).await;
}

#[tokio::test]
async fn dovecot_keeps_the_contract() {
    dovecot_with('/', "").await;
}

#[tokio::test]
async fn dovecot_with_a_prefix_and_dots_keeps_the_contract() {
    dovecot_with('.', "INBOX.").await;
}

#[tokio::test]
async fn cyrus_keeps_the_contract() {
    let Some(server) = Cyrus::start() else { return };
    anchored::suite(ServerHarness::of(server, None)).await;
}

#[tokio::test]
async fn cyrus_with_folders_below_the_inbox_keeps_the_contract() {
    let options = cyrus::Options { unix_hierarchy: false, alt_namespace: false, ..cyrus::Options::default() };
    let Some(server) = Cyrus::with(&options) else { return };
    anchored::suite(ServerHarness::of(server, None)).await;
}
