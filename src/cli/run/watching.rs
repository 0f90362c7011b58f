//! What the engine tells of a run goes to the progress, the log and whoever asks over the control socket.

use std::sync::Arc;

use super::super::live::Live;
use super::super::talk::Talk;
use super::super::{control, waves};
use super::of_wave;
use super::summary::failed;
use crate::config::WavesSettings;
use crate::engine::{Event, RunState, Watcher};
use crate::env::Env;
use crate::limit::Limits;
use crate::observe::Progress;

/// Hands the engine's events to the progress and the log.
pub(super) struct Watching {
    pub progress: Progress,
    pub live: Live,
    pub env: Env,
    pub talk: Talk,
    pub waves: WavesSettings,
    pub sources: control::Sources,
}

impl control::Served for Watching {
    fn tell(&self, state: &RunState) -> serde_json::Value {
        self.live.tell(state, &self.progress)
    }

    fn limits(&self) -> &Arc<Limits> {
        self.live.limits()
    }

    fn sources(&self) -> &control::Sources {
        &self.sources
    }
}

impl Watcher for Watching {
    fn event(&self, event: Event) {
        self.live.note(&event);
        match event {
            Event::Opened(m) => self.progress.opened(&m.key, self.env.now()),
            Event::Planned { mailbox, messages, bytes } => {
                self.progress.planned(&mailbox.key, messages, bytes);
                tracing::info!(mailbox = %mailbox.key, messages, bytes, "listed");
            }
            Event::Progress { mailbox, messages, bytes, skipped } => {
                self.progress.progress(&mailbox.key, messages, bytes, skipped);
            }
            Event::Waiting { mailbox, wait, why } => {
                let wait_ms = wait.as_millis() as u64;
                if self.progress.throttled(&mailbox.key, self.env.now(), wait) {
                    tracing::warn!(mailbox = %mailbox.key, wait_ms, "{why}");
                } else {
                    tracing::debug!(mailbox = %mailbox.key, wait_ms, "{why}");
                }
            }
            Event::Halted(m) => self.progress.halted(&m.key),
            Event::WaveOpens { wave, until } => {
                let until =
                    until.map_or_else(|| "from now on".to_owned(), |at| format!("until {}", self.show(at)));
                self.talk.say(&format!("{} is open {until}", of_wave(&wave)));
            }
            Event::WaveCloses { wave, opens, awaited } => {
                let then = match (opens, awaited) {
                    (Some(at), true) => format!("until {}: waiting", self.show(at)),
                    (Some(at), false) => format!("until {}: nothing more of it is begun", self.show(at)),
                    (None, _) => "for good: nothing more of it is begun".to_owned(),
                };
                self.talk.say(&format!("{} is closed {then}", of_wave(&wave)));
            }
            Event::Closed(result) => {
                let failed = failed(&result);
                self.progress.closed(&result.mailbox.key, failed);
                match &result.error {
                    Some(e) if failed => tracing::error!(mailbox = %result.mailbox.key, "{e}"),
                    _ => tracing::info!(
                        mailbox = %result.mailbox.key,
                        stored = result.summary.stored,
                        verdict = result.summary.verdict,
                        "ended"
                    ),
                }
            }
        }
    }
}

impl Watching {
    fn show(&self, at: i64) -> String {
        waves::show(&self.waves, at)
    }
}
