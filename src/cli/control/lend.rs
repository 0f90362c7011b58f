//! The run lends permits: to `verify` and `check`, which ask the same services, so that all together stay within limits.
//! So it lends places among the connections to its sources, each for one log-in.
//!
//! ```text
//! → {"v":1,"verb":"lend"}                 ← {"v":1,"ok":{"places":true,…}}    from then on, over this connection:
//! → {"id":7,"ask":{"endpoint":"new","mailbox":"ann@…","parts":[0],"at_once":1}}
//! ← {"id":7}                              it may leave now; it counts here as one of the run's own requests
//! → {"id":7,"done":["served"]}            or "not_sent", "unknown", {"throttled":30000} (milliseconds; 0: not told)
//! → {"id":8,"place":{"source":"old"}}
//! ← {"id":8}                              connect and log in now; {"id":8,"none":true}: there is nothing to count
//! → {"id":8,"done":[]}                    the connection is closed
//! ```
//! Whoever hangs up gives back what was not granted yet, and places; permits that were granted count as of unknown fate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::LONGEST_REQUEST;
use crate::env::Env;
use crate::limit::{Answer, BatchSlot, LentPlace, Limits};
use crate::source::Source;

/// Permits asked for and held over one connection at once.
pub(super) const MOST: usize = 512;
/// Requests of one permit.
const MOST_PARTS: usize = 64;

/// The sources of a run, by name.
pub(in crate::cli) type Sources = BTreeMap<String, Arc<dyn Source>>;

/// One line of whoever borrows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ask: Option<Ask>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<AskPlace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<Vec<Done>>,
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) endpoint: String,
    pub(super) mailbox: String,
    /// Upload bytes of each request.
    pub(super) parts: Vec<u64>,
    pub(super) at_once: usize,
}

/// A place for one connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskPlace {
    /// The endpoint's name.
    pub(super) source: String,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Served,
    Throttled(u64),
    Unknown,
    NotSent,
}

impl From<Done> for Answer {
    fn from(done: Done) -> Answer {
        match done {
            Done::Served => Answer::Served,
            Done::Throttled(0) => Answer::Throttled(None),
            Done::Throttled(millis) => Answer::Throttled(Some(Duration::from_millis(millis))),
            Done::Unknown => Answer::Unknown,
            Done::NotSent => Answer::NotSent,
        }
    }
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Done {
        match answer {
            Answer::Served => Done::Served,
            Answer::Throttled(wait) => {
                Done::Throttled(wait.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
            }
            Answer::Unknown => Done::Unknown,
            Answer::NotSent => Done::NotSent,
        }
    }
}

/// That a permit or a place was given.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) id: u64,
    /// There are no places to be had: none are counted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) none: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// What was asked for.
enum Granted {
    Permit(BatchSlot),
    Place(Option<LentPlace>),
}

/// Lends until the other side goes, or says what cannot be read.
pub(super) async fn lend(
    env: &Env,
    limits: &Arc<Limits>,
    sources: &Sources,
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) {
    let (gives, mut given) = mpsc::unbounded_channel();
    // Dropped at the end: whoever waits for a permit waits no more, and what was granted is of unknown fate.
    let mut asked = BTreeMap::new();
    let mut held: BTreeMap<u64, Granted> = BTreeMap::new();
    let mut line = Vec::new();
    loop {
        let mut limited = (&mut from).take(LONGEST_REQUEST + 1 - line.len() as u64);
        tokio::select! {
            biased;
            granted = given.recv() => {
                let Some((id, granted)) = granted else { return };
                asked.remove(&id);
                let none = matches!(granted, Granted::Place(None));
                if !none {
                    held.insert(id, granted);
                }
                let Ok(mut text) = serde_json::to_vec(&Given { id, none }) else { return };
                text.push(b'\n');
                if to.write_all(&text).await.is_err() {
                    return;
                }
            }
            // What was read stays in `line` should a permit be given meanwhile.
            read = limited.read_until(b'\n', &mut line) => {
                if !matches!(read, Ok(1..)) || !line.ends_with(b"\n") {
                    return;
                }
                let Ok(Line { id, ask, place, done }) = serde_json::from_slice(&line) else { return };
                line.clear();
                let new = !asked.contains_key(&id) && !held.contains_key(&id);
                let one_more = new && asked.len() + held.len() < MOST;
                match (ask, place, done) {
                    (Some(ask), None, None) if one_more => {
                        if ask.parts.len() > MOST_PARTS {
                            return;
                        }
                        let (limits, gives) = (Arc::clone(limits), gives.clone());
                        let waits = env.spawn(async move {
                            let gate = limits.gate(&ask.endpoint, &ask.mailbox);
                            let slot = gate.admit_batch(&gate.guest(), &ask.parts, ask.at_once.max(1)).await;
                            // Should nobody be there any more, the slot ends as one of unknown fate.
                            let _ = gives.send((id, Granted::Permit(slot)));
                        });
                        asked.insert(id, Waits(waits));
                    }
                    (None, Some(AskPlace { source }), None) if one_more => {
                        let (source, gives) = (sources.get(&source).cloned(), gives.clone());
                        let waits = env.spawn(async move {
                            let place = match source {
                                Some(source) => source.lend().await,
                                None => None,
                            };
                            let _ = gives.send((id, Granted::Place(place)));
                        });
                        asked.insert(id, Waits(waits));
                    }
                    (None, None, Some(done)) => match held.remove(&id) {
                        Some(Granted::Permit(slot)) => {
                            slot.finish(&done.into_iter().map(Answer::from).collect::<Vec<_>>());
                        }
                        Some(Granted::Place(place)) => drop(place),
                        None => return,
                    },
                    _ => return,
                }
            }
        }
    }
}

/// Somebody who waits for a permit; dropped, it waits no more.
struct Waits(crate::env::Task<()>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.abort();
    }
}
