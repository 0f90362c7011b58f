//! The contract kept by the Graph target: against the mock in this process, and over real HTTP with TLS on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mailwave::env::Env;
use mailwave::http::{HttpClient, HttpsClient, HttpsOptions};
use mailwave::mock::graph::{GraphMock, GraphOptions, MessageTruth};
use mailwave::mock::server::{RealWorld, ServerHandle, serve_graph, tls_acceptor};
use mailwave::mock::{Wire, World};
use mailwave::model::{Flags, WriteMode};
use mailwave::target::Target;
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use serde_json::Value;

use super::{Held, TargetHarness, mocked, suite};

const USER: &str = "anna@example.org";
/// LastVerbExecuted: what answered and forwarded are (MS-OXOMSG).
const LAST_VERB: &str = "Integer 0x1081";

struct GraphHarness {
    mock: Arc<GraphMock>,
    http: Arc<dyn HttpClient>,
    base: String,
    modes: Vec<WriteMode>,
    _server: Option<(ServerHandle, tempfile::TempDir)>,
}

fn mock() -> Arc<GraphMock> {
    let world: Arc<dyn World> = Arc::new(RealWorld);
    let options = GraphOptions { import_mime: true, mail_advanced: true, ..GraphOptions::default() };
    GraphMock::new(options, world)
}

impl GraphHarness {
    fn in_process() -> GraphHarness {
        let mock = mock();
        let served = mock.clone();
        let http = mocked::client(&Env::system(), move |request| {
            let served = served.clone();
            async move { served.handle(request).await }
        });
        let (base, modes) = ("https://graph.test".to_owned(), vec![WriteMode::Json]);
        GraphHarness { mock, http, base, modes, _server: None }
    }

    /// Messages go by `importMime` where it takes them.
    fn importing() -> GraphHarness {
        GraphHarness { modes: vec![WriteMode::ImportMime, WriteMode::Json], ..GraphHarness::in_process() }
    }

    async fn over_tls() -> GraphHarness {
        let dir = tempfile::tempdir().expect("dir");
        let ca = dir.path().join("ca.pem");
        let acceptor = tls_acceptor(&ca).expect("a certificate");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve_graph(mock(), any, Some(acceptor)).await.expect("listens");
        let options = HttpsOptions { ca_file: Some(ca), connect_timeout: None };
        let http = Arc::new(HttpsClient::new(&Env::system(), &options).expect("a client"));
        let (mock, base) = (server.mock().clone(), server.base_url());
        GraphHarness { mock, http, base, modes: vec![WriteMode::Json], _server: Some((server, dir)) }
    }

    /// A request of somebody else, by hand.
    async fn post(&self, path: &str, content_type: &str, token: Option<&str>, body: String) -> Value {
        let mut request =
            http::Request::post(format!("https://graph.test{path}")).header("content-type", content_type);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Bytes::from(body)).expect("a request");
        let Wire::Answered(response) = self.mock.handle(request).await else { panic!("no answer") };
        assert!(response.status().is_success(), "{:?}", response.body());
        serde_json::from_slice(response.body()).expect("JSON")
    }
}

fn held(m: &MessageTruth) -> Held {
    let mut flags = Flags {
        seen: m.is_read,
        draft: m.is_draft,
        flagged: m.flag == "flagged",
        keywords: m.categories.iter().cloned().collect(),
        ..Flags::default()
    };
    match m.tagged.get(LAST_VERB).map(String::as_str) {
        Some("102") => flags.answered = true,
        Some("104") => flags.add("$Forwarded"),
        _ => {}
    }
    Held {
        stamp: mocked::stamp(m.named.values()),
        octets: None,
        flags: flags.encode(),
        received: mocked::seconds(&m.received),
    }
}

#[async_trait]
impl TargetHarness for GraphHarness {
    fn env(&self) -> Env {
        Env::system()
    }

    fn target(&self) -> Arc<dyn Target> {
        let token = TokenSettings::ClientCredentials {
            token_url: format!("{}/tenant/oauth2/v2.0/token", self.base),
            client_id: "contract".to_owned(),
            client_secret: "secret".into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        };
        let mut settings = GraphSettings::new(format!("{}/v1.0", self.base), token);
        settings.modes.clone_from(&self.modes);
        Arc::new(GraphTarget::new(&self.env(), self.http.clone(), settings).expect("settings"))
    }

    fn mailbox(&self) -> String {
        USER.to_owned()
    }

    async fn foreign(&mut self, octets: &[u8]) {
        let form = "grant_type=client_credentials&client_id=someone&client_secret=secret\
                    &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default";
        let form_type = "application/x-www-form-urlencoded";
        let answer = self.post("/tenant/oauth2/v2.0/token", form_type, None, form.to_owned()).await;
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let text = String::from_utf8_lossy(octets).into_owned();
        let body =
            serde_json::json!({ "subject": "not ours", "body": { "contentType": "text", "content": text } });
        let path = format!("/v1.0/users/{USER}/mailFolders/inbox/messages");
        self.post(&path, "application/json", Some(&token), body.to_string()).await;
    }

    async fn truth(&self) -> Vec<Held> {
        let truth = self.mock.truth();
        let mailbox = &truth.mailboxes[USER];
        mailbox.folders.values().flat_map(|f| &f.messages).map(held).collect()
    }

    async fn remake(&mut self) -> bool {
        self.mock.reset();
        true
    }

    async fn check_confined(&self) {
        assert_eq!(self.mock.mailboxes().into_iter().collect::<Vec<_>>(), [USER], "no other mailbox");
        let counters = self.mock.counters();
        assert!(counters.violations.is_empty(), "what no client should do: {:?}", counters.violations);
        assert_eq!(counters.throttled, 0, "four at once per mailbox are kept");
    }

    fn takes_nothing(&self) -> bool {
        false
    }

    fn nobody(&self) -> String {
        format!("AAkALg{}", "nobody".repeat(11))
    }
}

#[tokio::test]
async fn graph_keeps_the_contract_without_a_wire() {
    suite(GraphHarness::in_process()).await;
}

#[tokio::test]
async fn graph_keeps_the_contract_where_messages_are_imported_as_mime() {
    suite(GraphHarness::importing()).await;
}

#[tokio::test]
async fn graph_keeps_the_contract_over_https() {
    suite(GraphHarness::over_tls().await).await;
}
