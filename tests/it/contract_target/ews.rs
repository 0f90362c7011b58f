//! The contract kept by the EWS target: against the mock in this process, by a password and by a token, and over real
//! HTTP with TLS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use encodify::base64::STANDARD;
use mailwave::env::Env;
use mailwave::http::{HttpClient, HttpsClient, HttpsOptions};
use mailwave::mock::ews::{EwsMock, EwsOptions, MessageTruth};
use mailwave::mock::server::{RealWorld, ServerHandle, serve, tls_acceptor};
use mailwave::mock::{Wire, World};
use mailwave::model::Flags;
use mailwave::target::Target;
use mailwave::target::ews::{EwsLogin, EwsSettings, EwsTarget};
use mailwave::target::graph::TokenSettings;

use super::{Held, TargetHarness, mocked, suite};

const USER: &str = "anna@example.org";

pub struct EwsHarness {
    pub mock: Arc<EwsMock>,
    http: Arc<dyn HttpClient>,
    base: String,
    token: bool,
    _server: Option<(ServerHandle<EwsMock>, tempfile::TempDir)>,
}

impl EwsHarness {
    pub fn in_process(options: EwsOptions, token: bool) -> EwsHarness {
        let world: Arc<dyn World> = Arc::new(RealWorld);
        let mock = EwsMock::new(options, world);
        let served = mock.clone();
        let http = mocked::client(&Env::system(), move |request| {
            let served = served.clone();
            async move { served.handle(request).await }
        });
        let base = "https://mail.test".to_owned();
        EwsHarness { mock, http, base, token, _server: None }
    }

    async fn over_tls() -> EwsHarness {
        let dir = tempfile::tempdir().expect("dir");
        let ca = dir.path().join("ca.pem");
        let acceptor = tls_acceptor(&ca).expect("a certificate");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let world: Arc<dyn World> = Arc::new(RealWorld);
        let mock = EwsMock::new(EwsOptions::default(), world);
        let server = serve(mock, any, Some(acceptor)).await.expect("listens");
        let options = HttpsOptions { ca_file: Some(ca), connect_timeout: None };
        let http = Arc::new(HttpsClient::new(&Env::system(), &options).expect("a client"));
        let (mock, base) = (server.mock().clone(), server.base_url());
        EwsHarness { mock, http, base, token: false, _server: Some((server, dir)) }
    }

    pub fn settings(&self) -> EwsSettings {
        let login = if self.token {
            EwsLogin::Token(TokenSettings::ClientCredentials {
                token_url: format!("{}/tenant/oauth2/v2.0/token", self.base),
                client_id: "contract".to_owned(),
                client_secret: "secret".into(),
                scope: "https://outlook.office365.com/.default".to_owned(),
            })
        } else {
            EwsLogin::Basic { user: "EXAMPLE\\migrator".to_owned(), password: "secret".into() }
        };
        EwsSettings::new(format!("{}/EWS/Exchange.asmx", self.base), login)
    }

    pub fn with(&self, settings: EwsSettings) -> Arc<dyn Target> {
        Arc::new(EwsTarget::new(&self.env(), self.http.clone(), settings).expect("settings"))
    }

    /// The same in another world.
    pub fn within(&self, env: &Env) -> Arc<dyn Target> {
        Arc::new(EwsTarget::new(env, self.http.clone(), self.settings()).expect("settings"))
    }

    /// Every message but what was removed, with the folder's path.
    pub fn messages(&self) -> Vec<(String, MessageTruth)> {
        let truth = self.mock.truth();
        let folders = truth.mailboxes[USER].folders.clone().into_iter();
        let all = folders.flat_map(|(path, f)| f.messages.into_iter().map(move |m| (path.clone(), m)));
        all.filter(|(path, _)| !path.contains("Recoverable Items")).collect()
    }
}

/// The value of a property known by its tag.
pub fn tagged<'a>(message: &'a MessageTruth, tag: &str) -> Option<&'a str> {
    let found = message.tagged.iter().find(|(id, _)| id.to_ascii_lowercase().contains(tag))?;
    found.1.first().map(String::as_str)
}

fn held(m: &MessageTruth) -> Held {
    let mut flags = Flags {
        seen: m.is_read,
        draft: m.is_draft,
        flagged: m.flag == "Flagged",
        keywords: m.categories.iter().cloned().collect(),
        ..Flags::default()
    };
    match tagged(m, "0x1081") {
        Some("102") => flags.answered = true,
        Some("104") => flags.add("$Forwarded"),
        _ => {}
    }
    Held {
        stamp: mocked::stamp(m.named.values().flatten()),
        octets: None,
        flags: flags.encode(),
        received: mocked::seconds(&m.received),
    }
}

#[async_trait]
impl TargetHarness for EwsHarness {
    fn env(&self) -> Env {
        Env::system()
    }

    fn target(&self) -> Arc<dyn Target> {
        self.with(self.settings())
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn foreign(&mut self, octets: &[u8]) {
        // A request of somebody else, by hand.
        let body = format!(
            "<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
             xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><Header>\
             <t:RequestServerVersion Version=\"Exchange2016\"/><t:ExchangeImpersonation><t:ConnectingSID>\
             <t:PrimarySmtpAddress>{USER}</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation></Header>\
             <Body><m:CreateItem MessageDisposition=\"SaveOnly\"><m:SavedItemFolderId>\
             <t:DistinguishedFolderId Id=\"inbox\"/></m:SavedItemFolderId><m:Items><t:Message><t:MimeContent>{}\
             </t:MimeContent></t:Message></m:Items></m:CreateItem></Body></Envelope>",
            STANDARD.encode(octets)
        );
        let login = STANDARD.encode(b"EXAMPLE\\someone:secret");
        let request = http::Request::post("https://mail.test/ews/exchange.asmx")
            .header("content-type", "text/xml")
            .header("authorization", format!("Basic {login}"))
            .header("x-anchormailbox", USER)
            .body(Bytes::from(body))
            .expect("a request");
        let Wire::Answered(response) = self.mock.handle(request).await else { panic!("no answer") };
        let answer = String::from_utf8_lossy(response.body()).into_owned();
        assert!(response.status().is_success() && answer.contains("NoError"), "{answer}");
    }

    async fn truth(&self) -> Vec<Held> {
        self.messages().iter().map(|(_, m)| held(m)).collect()
    }

    async fn remake(&mut self) -> bool {
        self.mock.reset();
        true
    }

    async fn check_confined(&self) {
        assert_eq!(self.mock.mailboxes().into_iter().collect::<Vec<_>>(), [USER], "no other mailbox");
        let counters = self.mock.counters();
        assert!(counters.violations.is_empty(), "what no client should do: {:?}", counters.violations);
        assert_eq!(counters.throttled, 0);
    }

    fn takes_nothing(&self) -> bool {
        false
    }

    fn nobody(&self) -> String {
        format!("AAMkALg{}=", "nobody".repeat(20))
    }
}

#[tokio::test]
async fn ews_keeps_the_contract_without_a_wire_by_a_password() {
    suite(EwsHarness::in_process(EwsOptions::default(), false)).await;
}

#[tokio::test]
async fn ews_keeps_the_contract_without_a_wire_by_a_token() {
    suite(EwsHarness::in_process(EwsOptions::default(), true)).await;
}

#[tokio::test]
async fn ews_keeps_the_contract_over_https() {
    suite(EwsHarness::over_tls().await).await;
}
