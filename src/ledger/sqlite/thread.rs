//! The driver of a real run: one thread writes, one reads, callers wait for their answers.
//!
//! Groups fill by themselves: while one commits (two syncs, some milliseconds), the next callers queue. A lone caller
//! is not kept waiting.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::core::{Answer, Core, Work};
use super::error::io;
use super::reader::Reader;
use super::{GROUP_MOST, LedgerOptions};
use crate::env::{Env, Step};
use crate::model::{Error, Kind, Result, Scope};

/// Callers that may queue at the writer at once; others wait in order before the queue.
const QUEUE: usize = 4 * GROUP_MOST;

/// One step of making a group durable.
type Effect = fn(&mut Core) -> Result<()>;

struct Job {
    work: Work,
    reply: oneshot::Sender<Result<Answer>>,
    /// Its place in the queue, given back with the answer.
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// Reads something and answers its caller.
type Read = Box<dyn FnOnce(&mut Reader) + Send>;

/// The two threads, from outside.
pub(super) struct Threads {
    jobs: Option<Sender<Job>>,
    reads: Option<Sender<Read>>,
    places: Arc<Semaphore>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(env: &Env, core: Core, dir: &Path, options: &LedgerOptions) -> Result<Threads> {
        let (jobs, work) = mpsc::channel();
        let (reads, asked) = mpsc::channel();
        let mut reader = Reader::open(dir)?;
        let writer = Writer {
            env: env.clone(),
            core,
            linger: Duration::from_millis(options.group_ms),
            early: options.acknowledge_intents_early,
            parked: Vec::new(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let failed = |e: std::io::Error| io("the ledger's thread cannot be started", &e);
        let handles = vec![
            thread("ledger-write").spawn(move || writer.run(&work)).map_err(failed)?,
            thread("ledger-read").spawn(move || read(&mut reader, &asked)).map_err(failed)?,
        ];
        let places = Arc::new(Semaphore::new(QUEUE));
        Ok(Threads { jobs: Some(jobs), reads: Some(reads), places, handles })
    }

    pub(super) async fn work(&self, work: Work) -> Result<Answer> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (reply, answer) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { work, reply, _place: place }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let reads = self.reads.as_ref().ok_or_else(gone)?;
        reads.send(Box::new(move |reader| drop(reply.send(read(reader))))).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.jobs = None;
        self.reads = None;
        for handle in self.handles.drain(..) {
            // A thread that panicked has said so already, to its callers.
            let _ = handle.join();
        }
    }
}

struct Writer {
    env: Env,
    core: Core,
    linger: Duration,
    early: bool,
    /// Where a trial froze the world, callers are never answered: their jobs end up here.
    parked: Vec<Job>,
}

impl Writer {
    fn run(mut self, work: &Receiver<Job>) {
        let mut last = 0;
        while let Ok(first) = work.recv() {
            let mut group = vec![first];
            let patience = self.env.now() + self.linger;
            // As many as last time are likely to come again; a lone caller meets `last` at once.
            while group.len() < GROUP_MOST {
                let next = match work.try_recv() {
                    Ok(job) => Ok(job),
                    Err(_) if group.len() < last => {
                        work.recv_timeout(patience.saturating_sub(self.env.now()))
                    }
                    Err(_) => Err(RecvTimeoutError::Timeout),
                };
                match next {
                    Ok(job) => group.push(job),
                    Err(_) => break,
                }
            }
            last = group.len();
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        if !self.parked.is_empty() {
            self.parked.extend(group);
            return;
        }
        let mut answers = self.core.begin(group.iter().map(|job| &job.work));
        let mut waiting = Vec::with_capacity(group.len());
        for (job, answer) in group.into_iter().zip(answers.drain(..)) {
            if self.early && job.work.is_intent() {
                let _ = job.reply.send(answer);
            } else {
                waiting.push((job, answer));
            }
        }
        match self.make_durable() {
            Some(Ok(())) => waiting.into_iter().for_each(|(job, answer)| drop(job.reply.send(answer))),
            Some(Err(error)) => {
                waiting.into_iter().for_each(|(job, _)| drop(job.reply.send(Err(error.clone()))));
            }
            None => self.parked.extend(waiting.into_iter().map(|(job, _)| job)),
        }
    }

    /// `None`: the world froze.
    fn make_durable(&mut self) -> Option<Result<()>> {
        if !self.core.has_group() {
            return Some(Ok(()));
        }
        let steps: [(Step, bool, Effect); 3] = [
            (Step::FactsWrite, self.core.has_facts(), Core::write_facts),
            (Step::FactsSync, self.core.has_facts(), Core::sync_facts),
            (Step::LedgerCommit, true, Core::commit),
        ];
        for (step, wanted, effect) in steps {
            if wanted && !self.env.step_now(step) {
                return None;
            }
            if wanted && let Err(error) = effect(&mut self.core) {
                return Some(Err(error));
            }
        }
        self.env.step_now(Step::LedgerAnswer).then_some(Ok(()))
    }
}

fn read(reader: &mut Reader, asked: &Receiver<Read>) {
    while let Ok(read) = asked.recv() {
        read(reader);
    }
}

fn gone() -> Error {
    Error::new(Kind::Ledger, Scope::Run, "the ledger's writer has stopped")
        .remedy("run again: everything answered so far is durable")
}
