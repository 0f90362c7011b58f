//! What is simulated, and the mailboxes drawn from it.

use std::time::Duration;

use serde::Deserialize;

use crate::limit::TargetLimits;
use crate::model::{Error, Kind, MailboxKey, Result, Scope, SourceName};
use crate::plan::{Ceilings, Load};

/// Largest number of mailboxes.
const MOST_MAILBOXES: u32 = 1_000_000;

/// A night to simulate. Sizes are in bytes, rates in bytes or requests a second.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Mailboxes (1–1,000,000).
    pub mailboxes: u32,
    /// Hours until the window closes.
    pub window_hours: f64,
    /// Mailboxes open at once.
    pub open_mailboxes: usize,
    /// Memory for bodies.
    pub memory: u64,
    /// Room for large messages on disk; 0 (and when absent): no limit.
    #[serde(default)]
    pub spool: u64,
    /// Mailboxes of a hundred that fail for good, half of them when they are opened, half on the way.
    pub failing_percent: f64,
    /// Mailboxes of a hundred whose size is expected wrongly: by half to double.
    pub wrong_sizes_percent: f64,
    /// How large they are.
    pub sizes: Sizes,
    /// Where mail comes from.
    pub source: SourceModel,
    /// Where it goes.
    pub target: TargetModel,
}

/// Log-normal sizes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// The mean mailbox, before the largest are cut.
    pub mean: f64,
    /// The standard deviation of the logarithm.
    pub sigma: f64,
    /// No mailbox is larger.
    pub largest: u64,
    /// The mean message.
    pub message: u64,
    /// Messages of a hundred that are large; none when absent.
    #[serde(default)]
    pub large_percent: f64,
    /// How large these are.
    #[serde(default)]
    pub large: u64,
}

/// The modelled source.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceModel {
    /// Of all its hosts together.
    pub bytes_per_second: u64,
    /// Of one answer, in milliseconds.
    pub latency_ms: u64,
    /// Folders of a mailbox.
    pub folders: u32,
}

/// The modelled target: limits of each app and mailbox, and of each app.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetModel {
    /// The link to it.
    pub bytes_per_second: u64,
    /// Of one request, in milliseconds.
    pub latency_ms: u64,
    /// Requests in any window of an app and mailbox.
    pub requests: u32,
    /// That window, in seconds.
    pub requests_seconds: u64,
    /// Upload bytes in any window of an app and mailbox.
    pub upload: u64,
    /// That window, in seconds.
    pub upload_seconds: u64,
    /// Requests at once of an app and mailbox.
    pub at_once: u32,
    /// Requests a second of an app.
    pub app_requests_per_second: u32,
    /// Apps.
    pub apps: u32,
    /// Stores of a hundred batches whose last message gets no answer, so that it is looked for; none when absent.
    #[serde(default)]
    pub unanswered_percent: f64,
}

/// In which order mailboxes are begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// The one that takes longest first; those that cannot end within the window last.
    LongestFirst,
    /// As they come.
    AsListed,
    /// Shuffled by the seed.
    Shuffled,
}

/// A mailbox as it is, and as it was expected.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub key: MailboxKey,
    pub app: usize,
    pub expected: Load,
    pub real: Load,
    /// It fails for good once this share of it is done.
    pub fails_at: Option<f64>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// `Kind::Config`: what is wrong, with its line.
    pub fn parse(text: &str) -> Result<Scenario> {
        let wrong = |what: String| {
            Error::new(Kind::Config, Scope::Run, what).remedy("compare with fixtures/scenarios")
        };
        let scenario: Scenario =
            toml::from_str(text).map_err(|e| wrong(format!("the scenario cannot be read: {e}")))?;
        let positive = |name: &str, value: f64, most: f64| {
            let fine = value > 0.0 && value <= most;
            if fine { Ok(()) } else { Err(wrong(format!("{name}: {value} is not between 0 and {most}"))) }
        };
        positive("mailboxes", f64::from(scenario.mailboxes), f64::from(MOST_MAILBOXES))?;
        positive("open_mailboxes", scenario.open_mailboxes as f64, 100_000.0)?;
        positive("window_hours", scenario.window_hours, 24.0 * 365.0)?;
        positive("sizes.mean", scenario.sizes.mean, 1e15)?;
        positive("sizes.sigma", scenario.sizes.sigma, 10.0)?;
        positive("sizes.message", scenario.sizes.message as f64, 1e9)?;
        positive("sizes.largest", scenario.sizes.largest as f64, 1e15)?;
        positive("memory", scenario.memory as f64, 1e15)?;
        positive("source.bytes_per_second", scenario.source.bytes_per_second as f64, 1e15)?;
        positive("target.bytes_per_second", scenario.target.bytes_per_second as f64, 1e15)?;
        positive("target.at_once", f64::from(scenario.target.at_once), 64.0)?;
        positive("target.apps", f64::from(scenario.target.apps), 1000.0)?;
        positive("target.requests_seconds", scenario.target.requests_seconds as f64, 1e7)?;
        positive("target.upload_seconds", scenario.target.upload_seconds as f64, 1e7)?;
        for (name, share) in [
            ("failing_percent", scenario.failing_percent),
            ("sizes.large_percent", scenario.sizes.large_percent),
            ("target.unanswered_percent", scenario.target.unanswered_percent),
            ("wrong_sizes_percent", scenario.wrong_sizes_percent),
        ] {
            if !(0.0..=100.0).contains(&share) {
                return Err(wrong(format!("{name}: {share} is not between 0 and 100")));
            }
        }
        Ok(scenario)
    }

    /// The window's length.
    pub fn window(&self) -> Duration {
        Duration::try_from_secs_f64(self.window_hours * 3600.0).unwrap_or(Duration::MAX)
    }

    /// What holds for one mailbox.
    pub fn ceilings(&self) -> Ceilings {
        let t = &self.target;
        let per = |amount: f64, seconds: u64| amount / seconds as f64;
        Ceilings {
            upload_per_second: per(t.upload as f64, t.upload_seconds),
            requests_per_second: per(f64::from(t.requests), t.requests_seconds),
            at_once: t.at_once,
            latency: Duration::from_millis(t.latency_ms),
            wire_factor: 4.0 / 3.0,
            requests_per_message: 1.0,
        }
    }

    /// Each how many messages one is large, and how large; 0: none is.
    pub(super) fn large(&self) -> (u64, u64) {
        let sizes = &self.sizes;
        let every = if sizes.large_percent > 0.0 { (100.0 / sizes.large_percent).round() as u64 } else { 0 };
        if sizes.large == 0 { (0, 0) } else { (every, sizes.large) }
    }

    /// The same limits as a run would be set to.
    pub(super) fn limits(&self) -> TargetLimits {
        let t = &self.target;
        TargetLimits {
            requests: t.requests,
            requests_window: Duration::from_secs(t.requests_seconds),
            upload_bytes: t.upload,
            upload_window: Duration::from_secs(t.upload_seconds),
            concurrency: t.at_once,
            app_requests_per_second: Some(t.app_requests_per_second),
            ..TargetLimits::default()
        }
    }

    /// The mailboxes of a seed.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub(super) fn draw(&self, dice: &mut fastrand::Rng) -> Result<Vec<Drawn>> {
        let source: SourceName =
            "simulated".parse().map_err(|what| Error::new(Kind::Internal, Scope::Run, what))?;
        let sizes = &self.sizes;
        // The mean of a log-normal distribution is exp(mu + sigma²/2).
        let mu = sizes.mean.ln() - sizes.sigma * sizes.sigma / 2.0;
        let drawn = (0..self.mailboxes)
            .map(|n| {
                let bytes = (mu + sizes.sigma * normal(dice)).exp().min(sizes.largest as f64).max(1.0);
                let load = |bytes: f64| Load {
                    messages: ((bytes / sizes.message as f64).round() as u64).max(1),
                    bytes: bytes as u64,
                };
                let wrong = dice.f64() * 100.0 < self.wrong_sizes_percent;
                let factor = if wrong { 2f64.powf(dice.f64() * 2.0 - 1.0) } else { 1.0 };
                let fails = dice.f64() * 100.0 < self.failing_percent;
                let share = (dice.f64() * 2.0 - 1.0).max(0.0);
                Drawn {
                    key: MailboxKey::of(&source, &format!("mailbox {n}")),
                    app: dice.usize(0..self.target.apps as usize),
                    expected: load(bytes * factor),
                    real: load(bytes),
                    fails_at: fails.then_some(share),
                }
            })
            .collect();
        Ok(drawn)
    }
}

/// Normally distributed with mean 0 and deviation 1 (Box–Muller).
fn normal(dice: &mut fastrand::Rng) -> f64 {
    let (a, b) = (dice.f64().max(f64::MIN_POSITIVE), dice.f64());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
