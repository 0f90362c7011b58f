//! A whole wave in one process and one thread, under virtual time: the engine and the ledger between a source that makes its
//! mail up and the mock of Graph, called as functions.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailwave::engine::{self, Options, Parts, Stop, Unwatched};
use mailwave::env::Env;
use mailwave::http::{Delivery, InProcess};
use mailwave::ledger::sqlite::SqliteLedger;
use mailwave::limit::{LimitSettings, Limits, TargetLimits};
use mailwave::mock::graph::{GraphMock, GraphOptions};
use mailwave::mock::{Wire, World};
use mailwave::model::{Bodies, Body, Flags, FolderPath, Listed, Result, SourceId, SpecialUse, Timestamp};
use mailwave::source::{
    Counters, Extent, Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox,
    Wanted,
};
use mailwave::target::graph::{GraphSettings, GraphTarget, TokenSettings};

use crate::cases::{run, source_name};
use crate::ledger::{mailbox_named, options};

/// What is moved.
#[derive(Debug, Clone, clap::Args)]
pub struct Wave {
    #[arg(long, default_value_t = 10)]
    pub mailboxes: u32,
    /// In the one folder of each.
    #[arg(long, default_value_t = 2)]
    pub messages: u32,
    /// The first copies; those after it find nothing new.
    #[arg(long, default_value_t = 1)]
    pub passes: u32,
    /// Mailboxes open at once.
    #[arg(long, default_value_t = 64)]
    pub open: usize,
    /// The source tells each folder's counters, so that an unchanged one is not listed.
    #[arg(long)]
    pub counters: bool,
}

impl Default for Wave {
    fn default() -> Wave {
        Wave { mailboxes: 10, messages: 2, passes: 1, open: 64, counters: false }
    }
}

impl Wave {
    /// Moves all of it; gives the number of messages.
    pub fn travel(&self) -> u64 {
        run(async |env| {
            let dir = tempfile::tempdir().unwrap();
            let parts = Arc::new(self.parts(&env, dir.path()));
            let mut stored = 0;
            for pass in 0..self.passes {
                let mailboxes = (0..self.mailboxes).map(|n| mailbox_named(&format!("user{n:06}"))).collect();
                let result =
                    engine::run(parts.clone(), mailboxes, Arc::new(Unwatched), Stop::default()).await;
                assert_eq!(result.mailboxes.len(), self.mailboxes as usize);
                stored += result.mailboxes.iter().map(|m| m.summary.stored).sum::<u64>();
                let all = u64::from(self.mailboxes) * u64::from(self.messages);
                assert_eq!(stored, all, "a count of work that was not done says nothing (pass {pass})");
            }
            stored
        })
    }

    fn parts(&self, env: &Env, dir: &std::path::Path) -> Parts {
        let graph = GraphOptions { keep_content: false, ..GraphOptions::default() };
        let mock = GraphMock::new(graph, Arc::new(Clock(env.clone())));
        let http = InProcess::new(env, move |request| {
            let mock = mock.clone();
            let answer = Box::pin(async move { mock.handle(request).await });
            async move {
                match Beside(answer).await {
                    Wire::Answered(response) => Delivery::Answered(response),
                    Wire::NeverArrived => Delivery::NeverArrived,
                    Wire::NoAnswer => Delivery::NoAnswer,
                }
            }
        });
        let token = TokenSettings::ClientCredentials {
            token_url: "https://graph.test/tenant/oauth2/v2.0/token".to_owned(),
            client_id: "bench".to_owned(),
            client_secret: "secret".into(),
            scope: "https://graph.microsoft.com/.default".to_owned(),
        };
        let target =
            GraphTarget::new(env, Arc::new(http), GraphSettings::new("https://graph.test/v1.0", token));
        let limits = [("new".to_owned(), TargetLimits::default())].into();
        let limits = LimitSettings { targets: limits, memory_bytes: 256 << 20, ..LimitSettings::default() };
        Parts {
            env: env.clone(),
            source_name: source_name(),
            sources: BTreeMap::from([("old".to_owned(), Arc::new(Made(self.clone())) as _)]),
            targets: BTreeMap::from([("new".to_owned(), Arc::new(target.unwrap()) as _)]),
            limits: Limits::new(env, limits),
            ledger: Arc::new(SqliteLedger::open(env, &dir.join("ledger"), options()).unwrap()),
            bodies: Bodies { memory_limit: 1 << 20, max: 200 << 20, spool: dir.to_path_buf() },
            options: Options { open_mailboxes: self.open, open_at_first: self.open, ..Options::default() },
        }
    }
}

/// The function whose instructions are the mock's, not the engine's.
pub const BESIDE: &str = "*beside_the_engine*";

struct Beside(Pin<Box<dyn Future<Output = Wire> + Send>>);

impl Future for Beside {
    type Output = Wire;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Wire> {
        beside_the_engine(self.0.as_mut(), context)
    }
}

#[inline(never)]
fn beside_the_engine(
    work: Pin<&mut (dyn Future<Output = Wire> + Send)>,
    context: &mut Context<'_>,
) -> Poll<Wire> {
    std::hint::black_box(work.poll(context))
}

/// The mock's clock is the world's.
struct Clock(Env);

impl World for Clock {
    fn now(&self) -> i64 {
        self.0.wall()
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let env = self.0.clone();
        Box::pin(async move { env.sleep(d).await })
    }
}

/// A source whose mail follows from the names of its mailboxes.
struct Made(Wave);

#[async_trait]
impl Source for Made {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        Ok(Box::new(MadeMailbox { wave: self.0.clone(), name: mailbox.to_owned() }))
    }
}

struct MadeMailbox {
    wave: Wave,
    name: String,
}

impl MadeMailbox {
    fn octets(&self, number: u64) -> Bytes {
        let name = &self.name;
        format!(
            "From: ann@example.org\r\nTo: {name}@example.org\r\nSubject: {number}\r\nDate: Thu, 3 Jan 2008 10:00:00 +0100\r\n\
             Message-ID: <{number}.{name}@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}",
            "The ferry leaves at nine; whoever is late takes the next one.\r\n".repeat(10)
        )
        .into()
    }

    fn counters(&self) -> Counters {
        let messages = u64::from(self.wave.messages);
        Counters { epoch: 1_000, next: messages + 1, messages, modseq: 1 }
    }
}

#[async_trait]
impl SourceMailbox for MadeMailbox {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities::PLAIN
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        Ok(vec![SourceFolder {
            path: FolderPath::inbox(),
            special: Some(SpecialUse::Inbox),
            selectable: true,
            subscribed: None,
            object_id: None,
            handle: "INBOX".to_owned(),
            counters: self.wave.counters.then(|| self.counters()),
        }])
    }

    async fn list(
        &self,
        _: &SourceFolder,
        _: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        let told = self.counters();
        for number in 1..told.next {
            sink(Listed {
                id: SourceId::Number(number),
                size: Some(self.octets(number).len() as u64),
                received: Some(Timestamp::utc(1_500_000_000 + i64::try_from(number).unwrap_or(0))),
                flags: Flags { seen: number % 10 > 0, ..Flags::default() },
                object: 0,
            });
        }
        let Counters { epoch, next, messages, modseq } = told;
        Ok(Listing { epoch, next, modseq, messages, extent: Extent::Whole })
    }

    async fn fetch(&self, _: &SourceFolder, _: u64, wanted: &[Wanted], _: &Bodies) -> Result<Vec<Fetched>> {
        let message = |wanted: &Wanted| {
            let body = Body::from_bytes(self.octets(wanted.number));
            Fetched::Message { body, flags: None, received: None }
        };
        Ok(wanted.iter().map(message).collect())
    }

    async fn release(&self) {}
}
