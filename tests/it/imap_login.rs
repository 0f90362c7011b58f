//! Logins of the IMAP source against the mock: proofs, tokens that end, and credentials that are given up in time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailwave::env::Env;
use mailwave::guard::{Secret, SecretFrom};
use mailwave::http::oauth::{TokenSettings, TokenSource};
use mailwave::http::{Delivery, InProcess};
use mailwave::imap::{AccessToken, TokenGiver};
use mailwave::mock::World;
use mailwave::mock::imap::{Act, ImapMock, ImapOptions, ImapServer, Quirks, Rule};
use mailwave::model::{Error, Kind, Result, Scope};
use mailwave::source::Source;
use mailwave::source::imap::{Credentials, ImapSettings, ImapSource, MasterForm, Mechanism, TlsMode};

use crate::bad_input::desk::{Desk, Imap, MAILDIR_TARGET};

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

/// A token endpoint in this process, and what it was asked.
#[derive(Default)]
struct Endpoint {
    asked: Mutex<Vec<String>>,
    refuses: AtomicBool,
}

impl Endpoint {
    /// Gives `token-1`, `token-2`, … for 1,000 s each, and a new refresh token with every one. It takes a second.
    fn tokens(self: &Arc<Self>) -> TokenSource {
        let env = Env::system();
        let endpoint = self.clone();
        let http = InProcess::new(&env, move |request: http::Request<Bytes>| {
            let endpoint = endpoint.clone();
            async move {
                let form = String::from_utf8(request.into_body().to_vec()).expect("a form");
                let count = {
                    let mut asked = endpoint.asked.lock().expect("asked");
                    asked.push(form);
                    asked.len()
                };
                Env::system().sleep(Duration::from_secs(1)).await;
                let refused = endpoint.refuses.load(Ordering::SeqCst);
                let body = match refused {
                    true => "{\"error\":\"invalid_grant\",\"error_description\":\"canary\"}".to_owned(),
                    false => format!(
                        "{{\"access_token\":\"token-{count}\",\"expires_in\":1000,\"refresh_token\":\"canary-{count}\"}}"
                    ),
                };
                let status = if refused { 400 } else { 200 };
                let answer =
                    http::Response::builder().status(status).body(Bytes::from(body)).expect("an answer");
                Delivery::Answered(answer)
            }
        });
        let settings = TokenSettings::Refresh {
            token_url: "https://login.test/token".to_owned(),
            client_id: "mover".to_owned(),
            client_secret: None,
            refresh_token: "canary-0".into(),
            scope: String::new(),
        };
        TokenSource::new(&env, Arc::new(http), settings, false).expect("settings")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("asked").clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_at_80_percent_of_its_life_once_for_all_who_wait() {
    let env = Env::system();
    let endpoint = Arc::new(Endpoint::default());
    let tokens = Arc::new(endpoint.tokens());
    let all = |n: usize| futures_util::future::join_all((0..n).map(|_| tokens.get()));
    let generations = |got: Vec<Result<mailwave::http::oauth::Token>>| -> BTreeSet<u64> {
        got.into_iter().map(|token| token.expect("a token").generation()).collect()
    };
    assert_eq!(generations(all(50).await), [1].into(), "one asks, the others wait for it");
    assert_eq!(endpoint.asked().len(), 1);
    env.sleep(Duration::from_secs(799)).await;
    assert_eq!(generations(all(50).await), [1].into());
    assert_eq!(endpoint.asked().len(), 1, "not before its time");
    env.sleep(Duration::from_secs(2)).await;
    assert_eq!(generations(all(50).await), [1, 2].into(), "the others go on with the one that still lives");
    assert_eq!(generations(all(50).await), [2].into());
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].contains("refresh_token=canary%2D0") && asked[1].contains("refresh_token=canary%2D1"));
    // Refused early, by 30 sessions at once: one new token.
    let renewed = futures_util::future::join_all((0..30).map(|_| tokens.renew(2))).await;
    assert_eq!(generations(renewed), [3].into());
    assert_eq!(endpoint.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_renewed_is_used_to_its_end_and_then_the_error_says_what_to_do() {
    let env = Env::system();
    let endpoint = Arc::new(Endpoint::default());
    let tokens = endpoint.tokens();
    tokens.get().await.expect("a token");
    endpoint.refuses.store(true, Ordering::SeqCst);
    env.sleep(Duration::from_secs(900)).await;
    assert_eq!(tokens.get().await.expect("it still lives").generation(), 1);
    env.sleep(Duration::from_secs(101)).await;
    let error = tokens.get().await.expect_err("it has ended");
    assert_eq!((error.kind, error.scope), (Kind::Auth, Scope::Endpoint));
    assert!(error.remedy.contains("refresh token (has it expired?)"), "{error}");
    let asked = endpoint.asked().len();
    for _ in 0..100 {
        assert!(!tokens.get().await.expect_err("still").to_string().contains("canary"));
    }
    assert_eq!(endpoint.asked().len(), asked, "a wrong secret is no storm");
    endpoint.refuses.store(false, Ordering::SeqCst);
    env.sleep(Duration::from_secs(6)).await;
    assert_eq!(tokens.get().await.expect("well again").generation(), 2);
    assert!(!format!("{tokens:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn a_token_command_runs_again_at_80_percent_and_once_for_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let runs = dir.path().join("runs");
    let script = format!("echo x >> '{0}'; printf 'token-%s' $(wc -l < '{0}')", runs.display());
    let secret = Secret {
        from: SecretFrom::Command(["sh", "-c", &script].map(str::to_owned).to_vec()),
        place: "mailwave.toml:7: source.old.oauth.token_command".to_owned(),
    };
    let env = Env::system();
    let nowhere = InProcess::new(&env, |_| async { Delivery::NeverArrived });
    let settings = TokenSettings::Command { secret, life: Duration::from_secs(600) };
    let tokens = TokenSource::new(&env, Arc::new(nowhere), settings, false).expect("settings");
    let count = || std::fs::read_to_string(&runs).expect("it ran").lines().count();
    for (wait, expected) in [(0, 1), (479, 1), (2, 2), (0, 2), (481, 3)] {
        env.sleep(Duration::from_secs(wait)).await;
        let got = futures_util::future::join_all((0..20).map(|_| tokens.get())).await;
        assert!(got.iter().all(Result::is_ok));
        assert_eq!(count(), expected, "{wait}");
    }
}

#[test]
fn a_token_command_that_fails_or_prints_rubbish_is_told_with_a_remedy_and_without_its_words() {
    let options = || ImapOptions { mechanisms: vec!["XOAUTH2".to_owned()], ..ImapOptions::default() };
    let users = ["canary.a", "canary.b", "canary.c"];
    for (script, why) in [
        ("echo canary-token; exit 3", "gave no secret (exit status: 3)"),
        ("echo 'canary: please log in at https://login.test/'", "what the command printed is no token"),
        ("printf 'canary\\nnext'", "more than one line"),
        ("printf '\\377\\376canary'", "gave no secret"),
        ("true", "the secret is empty"),
    ] {
        let imap = Imap::start(options().with_users(users.map(|user| (user, "canary-token"))));
        users.iter().for_each(|user| imap.fill(user, "INBOX", 2));
        let rows: String = users.iter().map(|user| format!("{user},{user}\n")).collect();
        let desk = Desk::new("", "");
        std::fs::write(desk.path("give"), script).expect("written");
        let give = desk.path("give");
        let login =
            format!("oauth = {{ token_command = [\"sh\", \"{}\"], token_life = \"1h\" }}", give.display());
        desk.configure(
            &format!("{}{MAILDIR_TARGET}", imap.config(&login)),
            &format!("source,target\n{rows}"),
        );
        let ran = desk.run(); // which looks for canaries in all it says
        ran.ended(2);
        for told in ran.errors() {
            assert!(told.contains("source.old.oauth.token_command: ") && told.contains(why), "{told}");
            assert!(
                told.contains(" — run the command by hand")
                    || told.contains(" — check")
                    || told.contains(" — keep"),
                "{told}"
            );
        }
        assert_eq!(imap.mock.counters().logins, 0);
        // Once it is repaired the next run brings everything, with one token for all mailboxes.
        std::fs::write(&give, format!("echo x >> '{}'; echo canary-token", desk.path("runs").display()))
            .expect("written");
        assert_eq!(desk.run().ended(0).count("stored"), 6);
        assert_eq!(std::fs::read_to_string(desk.path("runs")).expect("it ran").lines().count(), 1);
    }
}
