//! Ctrl-C and SIGTERM: the first asks to drain, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::mocks;
use super::talk::Talk;
use crate::engine::Stop;
use crate::env::{Env, Tick};
use crate::model::{Error, Kind, Result, Scope};

/// A second signal this soon is an echo of the first: `timeout` and shells signal a process and its group.
const ECHO: Duration = Duration::from_millis(500);

/// Listens for the rest of the process.
///
/// # Errors
/// The system gives no signals.
pub(super) fn listen(env: &Env, stop: &Stop, talk: &Talk) -> Result<()> {
    let no = |e: std::io::Error| {
        Error::new(Kind::Internal, Scope::Run, format!("signals cannot be listened for ({e})"))
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no)?;
    let (env, stop, talk) = (env.clone(), stop.clone(), talk.clone());
    env.clone().spawn(async move {
        let mut first: Option<Tick> = None;
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first.is_some_and(|at| env.now().saturating_sub(at) < ECHO) {
                continue;
            }
            if stop.asked() {
                // The ledger holds the intent of every store under way: the next run looks them up.
                talk.end_progress();
                // The mock of the quickstart plays a service, which does not end with us.
                let _ = mocks::save();
                talk.say("stopped at once; run the same command to go on");
                std::process::exit(i32::from(Exit::Stopped.code()));
            }
            first = Some(env.now());
            stop.ask();
            talk.say("draining: what is under way is finished and recorded (again: stops at once)");
        }
    });
    Ok(())
}
