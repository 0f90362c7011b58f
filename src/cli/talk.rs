//! The two streams: data on stdout, talk on stderr. A closed pipe is quiet.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::env::Tick;
use crate::observe::{Bars, Lines, Progress};

/// What runs beside the talk.
enum Beside {
    Nothing,
    Bars(Bars),
    Lines(Lines<std::io::Stderr>),
}

/// Writes. Cheap to clone; every clone is the same pair of streams.
#[derive(Clone)]
pub(super) struct Talk {
    beside: Arc<Mutex<Beside>>,
}

impl Talk {
    pub(super) fn new() -> Talk {
        Talk { beside: Arc::new(Mutex::new(Beside::Nothing)) }
    }

    fn beside(&self) -> std::sync::MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of data on stdout; a line end is added if there is none.
    pub(super) fn data(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let mut out = std::io::stdout().lock();
        // Whoever closed the pipe has read enough. The exit code still tells how it went.
        let _ = out
            .write_all(text.as_bytes())
            .and_then(|()| out.write_all(end.as_bytes()))
            .and_then(|()| out.flush());
    }

    /// A line of talk on stderr.
    pub(super) fn say(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    fn write(&self, octets: &[u8]) {
        let write = || {
            let _ = std::io::stderr().lock().write_all(octets);
        };
        match &*self.beside() {
            Beside::Bars(bars) => bars.aside(write),
            Beside::Nothing | Beside::Lines(_) => write(),
        }
    }

    /// Begins to show progress: bars if stderr is a terminal, else lines.
    pub(super) fn begin_progress(&self, now: Tick) {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        *self.beside() = if std::io::stderr().is_terminal() && !dumb {
            Beside::Bars(Bars::new(indicatif::ProgressDrawTarget::stderr(), now))
        } else {
            Beside::Lines(Lines::new(std::io::stderr(), now))
        };
    }

    /// Shows progress anew.
    pub(super) fn tick(&self, progress: &Progress, now: Tick) {
        match &mut *self.beside() {
            Beside::Nothing => {}
            Beside::Bars(bars) => bars.tick(progress, now),
            Beside::Lines(lines) => lines.tick(progress, now),
        }
    }

    /// Ends showing progress.
    pub(super) fn end_progress(&self) {
        if let Beside::Bars(bars) = std::mem::replace(&mut *self.beside(), Beside::Nothing) {
            bars.end();
        }
    }

    /// For the log: lines go the way of the talk, so that bars and lines do not cross.
    pub(super) fn log_writer(
        &self,
    ) -> impl for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static {
        let talk = self.clone();
        move || LogLine { talk: talk.clone(), line: Vec::new() }
    }
}

/// One log line; written when it is complete.
struct LogLine {
    talk: Talk,
    line: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.talk.write(&self.line);
        }
    }
}
