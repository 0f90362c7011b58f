//! Logins of the IMAP source against the mock: proofs, tokens that end, and credentials that are given up in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mailwave::env::Env;
use mailwave::imap::{AccessToken, TokenGiver};
use mailwave::mock::World;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, ImapServer, Quirks, Rule};
use mailwave::model::{Error, Kind, Result, Scope};
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, MasterForm, Mechanism, TlsMode};

struct RealWorld;

impl World for RealWorld {
    fn now(&self) -> i64 {
        Env::system().wall()
    }

    fn sleep(&self, d: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { Env::system().sleep(d).await })
    }
}

async fn serve(mut options: ImapOptions, mechanisms: &[&str]) -> (Arc<ImapMock>, ImapServer) {
    options.mechanisms = mechanisms.iter().map(|m| (*m).to_owned()).collect();
    let mock = ImapMock::new(options, Arc::new(RealWorld));
    let server = mock.clone().listen("127.0.0.1:0", None).await.expect("listens");
    (mock, server)
}

fn source(server: &ImapServer, mechanism: Mechanism, credentials: Credentials) -> ImapSource {
    let mut settings = ImapSettings::new("127.0.0.1", credentials);
    settings.server.port = server.addr.port();
    settings.server.tls = TlsMode::Plain;
    settings.server.mechanism = mechanism;
    settings.server.login_interval = Duration::ZERO;
    ImapSource::new(Env::system(), settings).expect("settings")
}

fn users() -> ImapOptions {
    ImapOptions::default().with_users([("anna", "pencil"), ("bert", "pencil")])
}

fn own(password: &str) -> Credentials {
    Credentials::Fixed { password: password.into() }
}

fn master(password: &str) -> Credentials {
    let form = MasterForm::AuthorisationId;
    Credentials::Master { user: "boss".to_owned(), password: password.into(), form }
}

async fn refused(source: &ImapSource, mailbox: &str) -> Error {
    source.open(mailbox).await.err().expect("refused")
}

#[tokio::test]
async fn scram_opens_mailboxes_for_their_owners_and_a_master_and_the_server_must_prove_itself() {
    let mut options = users();
    options.master = Some(("boss".to_owned(), "se=cret,".to_owned()));
    let (mock, server) = serve(options, &["SCRAM-SHA-256"]).await;
    source(&server, Mechanism::Auto, own("pencil")).open("anna").await.expect("opened");
    let all = source(&server, Mechanism::Auto, master("se=cret,"));
    for mailbox in ["anna", "bert"] {
        all.open(mailbox).await.expect("opened");
    }
    assert_eq!(mock.counters().logins, 3);
    let error = refused(&source(&server, Mechanism::Auto, own("pen")), "anna").await;
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Mailbox));

    let (_, server) =
        serve(users().with_quirks(Quirks { impostor: true, ..Quirks::default() }), &["SCRAM-SHA-256"]).await;
    let error = refused(&source(&server, Mechanism::Auto, own("pencil")), "anna").await;
    assert!(error.scope == Scope::Endpoint && error.what.contains("did not prove"), "{error}");
    for scram_rounds in [1, 4095, 1_000_001, u32::MAX] {
        let (_, server) =
            serve(users().with_quirks(Quirks { scram_rounds, ..Quirks::default() }), &["SCRAM-SHA-256"])
                .await;
        let error = refused(&source(&server, Mechanism::Auto, own("pencil")), "anna").await;
        assert!(error.what.contains("iteration count"), "{error}");
    }
}

#[tokio::test]
async fn in_clear_text_a_refused_scram_is_not_followed_by_the_password() {
    let options = users().with_quirks(Quirks { no_verifiers: true, ..Quirks::default() });
    let (mock, server) = serve(options, &["SCRAM-SHA-256", "PLAIN"]).await;
    let error = refused(&source(&server, Mechanism::Auto, own("pencil")), "anna").await;
    assert!(error.what.contains("nothing was sent in clear text"), "{error}");
    assert_eq!(mock.counters().commands["AUTHENTICATE"], 1);
    source(&server, Mechanism::Plain, own("pencil")).open("anna").await.expect("asked for by the operator");
}

#[tokio::test]
async fn a_wrong_master_password_is_tried_twice_however_many_mailboxes_there_are() {
    let mut options = users();
    options.master = Some(("boss".to_owned(), "right".to_owned()));
    let (mock, server) = serve(options, &["PLAIN"]).await;
    let all = Arc::new(source(&server, Mechanism::Auto, master("wrong")));
    let mut tasks = Vec::new();
    for n in 0..30 {
        let all = all.clone();
        tasks.push(tokio::spawn(async move { refused(&all, &format!("user{n}")).await }));
    }
    let mut scopes = Vec::new();
    for task in tasks {
        let error = task.await.expect("ended");
        assert!(error.kind == Kind::Auth && !error.remedy.is_empty());
        scopes.push(error.scope);
    }
    assert_eq!(mock.counters().commands["AUTHENTICATE"], 2, "fail2ban is kept out of it");
    assert_eq!(scopes.iter().filter(|s| **s == Scope::Mailbox).count(), 1);
    // Credentials that were right are not given up for two mailboxes that are gone.
    let good = source(&server, Mechanism::Auto, master("right"));
    for (mailbox, opens) in [("anna", true), ("gone", false), ("lost", false), ("bert", true)] {
        assert_eq!(good.open(mailbox).await.is_ok(), opens, "{mailbox}");
    }
}

/// Gives `token-1`, `token-2`, …; renewing gives the next one.
struct Tokens(AtomicU64);

#[async_trait]
impl TokenGiver for Tokens {
    async fn token(&self) -> Result<AccessToken> {
        let generation = self.0.load(Ordering::SeqCst);
        Ok(AccessToken { secret: format!("token-{generation}").into(), generation })
    }

    async fn renew(&self, refused: &AccessToken) -> Result<AccessToken> {
        let _ = self.0.compare_exchange(
            refused.generation,
            refused.generation + 1,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        self.token().await
    }
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_session_leads_to_a_new_token_and_a_new_session() {
    for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
        let (mock, server) =
            serve(ImapOptions::default().with_users([("anna", "token-1")]), &[mechanism]).await;
        let giver = Arc::new(Tokens(AtomicU64::new(1)));
        let source = source(&server, Mechanism::Auto, Credentials::Tokens(giver.clone()));
        let mailbox = source.open("anna").await.expect("opened");
        mock.script([Rule::on("LIST", Act::token_expired())]);
        mock.change_secret("anna", "token-2");
        let error = mailbox.folders().await.expect_err("BYE");
        assert!(error.may_pass(), "{error}");
        assert_eq!(mailbox.folders().await.expect("a new session").len(), 1);
        assert_eq!((mock.counters().logins, giver.0.load(Ordering::SeqCst)), (2, 2));
        // A mailbox the token does not reach must not cost a new token each time.
        for _ in 0..3 {
            assert_eq!(refused(&source, "nobody").await.kind, Kind::Auth);
        }
        assert_eq!(giver.0.load(Ordering::SeqCst), 2);
        assert!(mock.unfired().is_empty());
    }
}

#[tokio::test]
async fn a_login_that_opens_no_mailbox_is_said_so() {
    let (mock, server) = serve(users(), &["PLAIN"]).await;
    mock.script([Rule::on("NAMESPACE", Act::not_connected())]);
    let mailbox = source(&server, Mechanism::Auto, own("pencil")).open("anna").await.expect("opened");
    let error = mailbox.folders().await.expect_err("not connected");
    assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Denied, Scope::Mailbox, false));
    assert!(error.remedy.contains("full access"), "{error}");
}
