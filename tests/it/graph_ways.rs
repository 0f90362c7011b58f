//! The Graph target against the mock's truth: how apps log in, several requests in one, ways of writing.

mod apps;
mod batches;
mod exchange_mock;
mod import_mime;
mod import_stream;
mod trials;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use mailwave::env::{Env, Step, StepObserver};
use mailwave::http::{Delivery, Exchange, HttpClient, HttpError, InProcess};
use mailwave::limit::{Gate, LimitSettings, Limits, TargetLimits};
use mailwave::mock::graph::{GraphMock, GraphOptions, MailboxTruth, MessageTruth};
use mailwave::mock::{Wire, World};
use mailwave::model::{
    Body, Flags, FolderId, FolderPath, Form, MailboxKey, Outcome, SourceName, Stamp, StampPrefix, Timestamp,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};
use mailwave::target::{FolderWanted, StoreItem, Target, TargetFolderId, TargetMailbox};

pub const ANN: &str = "ann@example.org";
pub const BASE: &str = "https://graph.test/v1.0";
pub const TOKEN_URL: &str = "https://login.test/contoso.test/oauth2/v2.0/token";
const BEGIN: i64 = 1_800_000_000_000;

/// Everything goes on.
struct On;

impl StepObserver for On {
    fn pass(&self, _: Step) -> bool {
        true
    }
}

/// The mock's world is the client's.
struct Here(Env);

impl World for Here {
    fn now(&self) -> i64 {
        self.0.wall()
    }
    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

/// One request as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub method: String,
    pub url: String,
    pub authorization: String,
}

/// Keeps what was sent.
struct Watched {
    inner: InProcess,
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[async_trait]
impl HttpClient for Watched {
    async fn execute(&self, request: Request<Bytes>, e: &Exchange) -> Result<Response<Bytes>, HttpError> {
        let authorization = request.headers().get("authorization");
        self.sent.lock().unwrap().push(Sent {
            method: request.method().to_string(),
            url: request.uri().to_string(),
            authorization: authorization.map(|a| a.to_str().unwrap().to_owned()).unwrap_or_default(),
        });
        self.inner.execute(request, e).await
    }
}

/// A tenant, a way to it, and what was sent on it.
pub struct Desk {
    pub env: Env,
    pub mock: Arc<GraphMock>,
    pub http: Arc<dyn HttpClient>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Desk {
    pub fn new(options: GraphOptions) -> Desk {
        let env = Env::simulated(7, BEGIN, Arc::new(On));
        let mock = GraphMock::new(options, Arc::new(Here(env.clone())));
        let served = mock.clone();
        let inner = InProcess::new(&env, move |request| {
            let served = served.clone();
            async move {
                match served.handle(request).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                }
            }
        });
        let sent = Arc::new(Mutex::new(Vec::new()));
        let http = Arc::new(Watched { inner, sent: sent.clone() });
        Desk { env, mock, http, sent }
    }

    /// What was sent since the last time this was asked.
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.lock().unwrap())
    }

    pub fn target(&self, settings: GraphSettings) -> GraphTarget {
        GraphTarget::new(&self.env, self.http.clone(), settings).expect("settings")
    }

    /// The mailbox, under the documented limits.
    pub async fn open(&self, settings: GraphSettings) -> (Arc<dyn TargetMailbox>, Arc<Gate>) {
        let targets = [("cloud".to_owned(), TargetLimits::default())].into();
        let limits = Limits::new(&self.env, LimitSettings { targets, ..LimitSettings::default() });
        let gate = limits.gate("cloud", ANN);
        (self.target(settings).open(ANN, "", gate.clone()).await.expect("opens"), gate)
    }

    pub fn truth(&self) -> MailboxTruth {
        self.mock.truth().mailboxes.remove(ANN).expect("the mailbox")
    }

    /// Every message that is not removed.
    pub fn messages(&self) -> Vec<MessageTruth> {
        self.truth().folders.into_values().flat_map(|f| f.messages).collect()
    }

    /// The client did nothing that no client should, and stayed within the limits.
    #[track_caller]
    pub fn check(&self) {
        let counters = self.mock.counters();
        assert!(counters.violations.is_empty(), "{:?}", counters.violations);
        assert_eq!(counters.throttled, 0);
    }
}

pub fn by_secret() -> TokenSettings {
    TokenSettings::ClientCredentials {
        token_url: TOKEN_URL.to_owned(),
        client_id: "app".to_owned(),
        client_secret: "secret".into(),
        scope: "https://graph.test/.default".to_owned(),
    }
}

pub fn settings() -> GraphSettings {
    GraphSettings::new(BASE, by_secret())
}

pub fn stamp(number: u64) -> Stamp {
    let source: SourceName = "acme".parse().unwrap();
    Stamp { mailbox: MailboxKey::of(&source, "ann"), source, folder: FolderId(1), epoch: 1, number }
}

pub fn all_stamps() -> StampPrefix {
    let stamp = stamp(1);
    StampPrefix::mailbox(&stamp.source, &stamp.mailbox)
}

pub fn wanted(names: &[&str]) -> FolderWanted {
    let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).unwrap();
    FolderWanted { path, special: None, subscribed: None }
}

pub fn item(number: u64, octets: &[u8], flags: &str) -> StoreItem {
    StoreItem {
        stamp: stamp(number),
        body: Body::from_bytes(Bytes::copy_from_slice(octets)),
        form: Form::Mime,
        flags: Flags::decode(flags),
        received: Some(Timestamp::utc(1_700_000_000)),
    }
}

pub fn plain(number: u64) -> Vec<u8> {
    format!(
        "From: a@x.org\r\nTo: b@x.org\r\nDate: Thu, 1 Jan 2015 00:00:00 +0000\r\nMessage-ID: <{number}@x>\r\nSubject: private {number}\r\n\r\nhello {number}\r\n"
    )
    .into_bytes()
}

pub async fn store(
    mailbox: &Arc<dyn TargetMailbox>,
    gate: &Arc<Gate>,
    folder: &TargetFolderId,
    items: Vec<StoreItem>,
) -> Vec<Outcome> {
    let sizes: Vec<u64> = items.iter().map(|i| i.body.len()).collect();
    let ticket = gate.reserve(mailbox.cost(&sizes)).await;
    mailbox.store(folder, items, ticket).await
}

/// The ids of copies that must all have been stored.
#[track_caller]
pub fn ids(outcomes: &[Outcome]) -> Vec<String> {
    let id = |outcome: &Outcome| match outcome {
        Outcome::Stored { id, .. } => id.clone(),
        other => panic!("not stored: {other:?}"),
    };
    outcomes.iter().map(id).collect()
}
