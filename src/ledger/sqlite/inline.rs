//! The driver of a simulation: no thread, the same core. Callers queue; a task of the simulated world waits a while of
//! virtual time, commits what has queued as one group and answers, passing a step point before each effect.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::{Answer, Core, Work};
use super::reader::Reader;
use super::{GROUP_MOST, LedgerOptions};
use crate::env::{Env, Step};
use crate::model::{Error, Kind, Result, Scope};

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Answer>>,
}

struct State {
    /// `None` once the ledger was dropped: a task frozen at a step must not keep the files.
    core: Option<Core>,
    reader: Option<Reader>,
    queue: VecDeque<Job>,
    /// A task is under way.
    busy: bool,
}

/// The driver, from outside.
pub(super) struct Inline {
    env: Env,
    state: Arc<Mutex<State>>,
    linger: Duration,
    early: bool,
}

impl Inline {
    pub(super) fn start(env: &Env, core: Core, reader: Reader, options: &LedgerOptions) -> Inline {
        let state = State { core: Some(core), reader: Some(reader), queue: VecDeque::new(), busy: false };
        Inline {
            env: env.clone(),
            state: Arc::new(Mutex::new(state)),
            linger: Duration::from_millis(options.group_ms),
            early: options.acknowledge_intents_early,
        }
    }

    pub(super) async fn work(&self, work: Work) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let begin = {
            let mut state = lock(&self.state);
            state.queue.push_back(Job { work, reply });
            !std::mem::replace(&mut state.busy, true)
        };
        if begin {
            let (env, state) = (self.env.clone(), Arc::clone(&self.state));
            drop(self.env.spawn(commit_groups(env, state, self.linger, self.early)));
        }
        answer.await.map_err(|_| gone())?
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
        read(lock(&self.state).reader.as_mut().ok_or_else(gone)?)
    }

    pub(super) fn synced(&self) -> Option<(PathBuf, u64)> {
        lock(&self.state).core.as_ref()?.synced()
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.reader = None;
        state.core = None;
        state.queue.clear();
    }
}

/// Commits groups until none is queued.
async fn commit_groups(env: Env, state: Arc<Mutex<State>>, linger: Duration, early: bool) {
    loop {
        env.sleep(linger).await;
        let group: Vec<Job> = {
            let mut state = lock(&state);
            let n = state.queue.len().min(GROUP_MOST);
            if n == 0 {
                state.busy = false;
                return;
            }
            state.queue.drain(..n).collect()
        };
        let Ok(answers) = with_core(&state, |core| Ok(core.begin(group.iter().map(|job| &job.work)))) else {
            return;
        };
        let mut waiting = Vec::with_capacity(group.len());
        let mut told = false;
        for (job, answer) in group.into_iter().zip(answers) {
            if early && job.work.is_intent() {
                let _ = job.reply.send(answer);
                told = true;
            } else {
                waiting.push((job, answer));
            }
        }
        if told {
            // For trials: what was promised too early becomes durable late.
            env.sleep(linger * 20).await;
        }
        let durable = make_durable(&env, &state).await;
        for (job, answer) in waiting {
            // A caller that was dropped needs no answer; what it asked for is done all the same.
            let _ = job.reply.send(durable.clone().and(answer));
        }
    }
}

async fn make_durable(env: &Env, state: &Mutex<State>) -> Result<()> {
    if !with_core(state, |core| Ok(core.has_group()))? {
        return Ok(());
    }
    if with_core(state, |core| Ok(core.has_facts()))? {
        env.step(Step::FactsWrite).await;
        with_core(state, Core::write_facts)?;
        env.step(Step::FactsSync).await;
        with_core(state, Core::sync_facts)?;
    }
    env.step(Step::LedgerCommit).await;
    with_core(state, Core::commit)?;
    env.step(Step::LedgerAnswer).await;
    Ok(())
}

fn with_core<T>(state: &Mutex<State>, f: impl FnOnce(&mut Core) -> Result<T>) -> Result<T> {
    lock(state).core.as_mut().ok_or_else(gone).and_then(f)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> Error {
    Error::new(Kind::Ledger, Scope::Run, "the ledger was closed")
}
