//! Logs: our own events only. Libraries are not heard: what they log may hold addresses, names and tokens.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl Default for Level {
    fn default() -> Self {
        Level(LevelFilter::WARN)
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Level(LevelFilter::OFF)),
            "error" => Ok(Level(LevelFilter::ERROR)),
            "warn" => Ok(Level(LevelFilter::WARN)),
            "info" => Ok(Level(LevelFilter::INFO)),
            "debug" => Ok(Level(LevelFilter::DEBUG)),
            "trace" => Ok(Level(LevelFilter::TRACE)),
            _ => Err("off, error, warn, info, debug or trace"),
        }
    }
}

/// Begins logging for the whole process; a second call changes nothing.
pub fn start<W>(level: Level, out: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours = Targets::new().with_target("mailwave", level.0);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(out);
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
}
