//! The contract kept by the IMAP target against a real Dovecot, in several shapes.

use std::sync::Arc;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::target::Target;
use mailwave::target::imap::ImapTarget;

use super::{USER, held, names, settings};
use crate::contract_target::{Held, TargetHarness, anchored};
use crate::support::dovecot::{Dovecot, Options};

struct DovecotHarness {
    dovecot: Dovecot,
    env: Env,
    target: Arc<ImapTarget>,
}

impl DovecotHarness {
    fn start(separator: char, prefix: &str) -> Option<DovecotHarness> {
        let options = Options { separator, prefix: prefix.to_owned(), ..Options::default() };
        let dovecot = Dovecot::with(&options)?;
        let env = Env::system();
        let target = Arc::new(ImapTarget::new(env.clone(), settings(&dovecot)).expect("settings"));
        Some(DovecotHarness { dovecot, env, target })
    }
}

#[async_trait]
impl TargetHarness for DovecotHarness {
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
        self.dovecot.client(USER).append(&["INBOX"], octets, "\\Seen", None);
    }

    async fn truth(&self) -> Vec<Held> {
        let mut client = self.dovecot.client(USER);
        let names = names(&mut client);
        let kept = names.iter().filter(|name| !name.ends_with(b"Trash"));
        kept.flat_map(|name| held(&mut client, name)).map(|(_, held)| held).collect()
    }

    async fn remake(&mut self) -> bool {
        std::fs::remove_dir_all(self.dovecot.maildir(USER)).expect("remove");
        true
    }

    async fn check_confined(&self) {
        for other in ["user02", "user03"] {
            let mut client = self.dovecot.client(other);
            assert!(held(&mut client, b"INBOX").is_empty());
        }
    }

    fn takes_nothing(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn dovecot_keeps_the_contract() {
    let Some(harness) = DovecotHarness::start('/', "") else { return };
    anchored::suite(harness).await;
}

#[tokio::test]
async fn dovecot_with_a_prefix_and_dots_keeps_the_contract() {
    let Some(harness) = DovecotHarness::start('.', "INBOX.") else { return };
    anchored::suite(harness).await;
}
