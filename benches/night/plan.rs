//! What the real night is, and by which two factors this one is smaller.

use mailwave::mock::imap::made::Law;
use serde_json::{Value, json};

/// A mean mailbox of the move that all of this is about: octets and messages.
pub const MAILBOX_OCTETS: f64 = 0.95e9;
pub const MAILBOX_MESSAGES: f64 = 12_700.0;
/// Microsoft Graph, Outlook service limits, per app and mailbox: requests in seconds, octets in seconds.
/// Source: "Microsoft Graph service-specific throttling limits".
pub const REQUESTS: (f64, f64) = (10_000.0, 600.0);
pub const UPLOAD: (f64, f64) = (150e6, 300.0);
/// Requests of one app in a second, over all mailboxes (130,000 in ten seconds). Source: as above.
pub const APP_REQUESTS: f64 = 13_000.0;
/// How long a request takes at the service, assumed, in milliseconds.
pub const LATENCY_MS: f64 = 300.0;
/// Mailboxes of a night and of a weekend, and their windows in seconds.
pub const NIGHT: (u64, f64) = (22_000, 36_000.0);
pub const WEEKEND: (u64, f64) = (83_000, 216_000.0);
/// Mailboxes open at once, at most.
const MOST_OPEN: u64 = 5_000;
/// Draws from which the median size is found.
const SAMPLE: u64 = 20_000;

/// One run, and what it stands for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `night`, `weekend`, `unscaled`, `slice`.
    pub name: &'static str,
    /// What is moved.
    pub law: Law,
    /// The whole it is a part of: mailboxes, and its window in real seconds.
    pub whole: (u64, f64),
    /// Time passes so many times faster.
    pub time: u32,
    /// Mailboxes open at once.
    pub open: u64,
    /// Octets and messages of all mailboxes.
    pub octets: u64,
    pub messages: u64,
    pub folders: u64,
}

/// The limits of this run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub requests: u64,
    /// As the mock is told: before time is scaled.
    pub requests_seconds: u64,
    pub upload: u64,
    pub upload_seconds: u64,
    pub latency_ms: u64,
}

impl Plan {
    /// `sigma`: of the logarithm of sizes. `messages`: in each mailbox.
    pub fn new(
        name: &'static str,
        mailboxes: u64,
        whole: (u64, f64),
        (messages, mean, time): (u32, f64, u32),
        open: Option<u64>,
        seed: u64,
    ) -> Plan {
        let contents = f64::from(messages) / MAILBOX_MESSAGES;
        let upload = UPLOAD.0 * contents * mean / (MAILBOX_OCTETS / MAILBOX_MESSAGES);
        let mut law = Law {
            seed,
            mailboxes,
            messages_least: messages,
            // What a window of the limit cannot hold cannot be sent at all.
            size_most: ((upload * 0.75) as u64).min(36_000_000),
            ..Law::default()
        };
        law.size_sigma = if law.size_most < 3_000_000 { 1.0 } else { 1.9 };
        if messages > 1_000 {
            // A mailbox that is not scaled has a real one's folders.
            law.folders_more = 35.0;
            law.folders_most = 100;
        }
        calibrate(&mut law, mean);
        let (mut octets, mut many, mut folders) = (0, 0, 0);
        for n in 0..mailboxes {
            let (some, count) = law.contents(n);
            (octets, many) = (octets + some, many + count);
            folders += law.folders(n).len() as u64;
        }
        let mut plan = Plan { name, law, whole, time, open: 0, octets, messages: many, folders };
        // Four times as many as must move at once if each did at its limits: a window here holds three messages and the fixed
        // requests of half a mailbox, so that none of them is at its limits all the time.
        let needed = 4.0 * mailboxes as f64 * plan.least_seconds() / plan.window();
        let open = open.unwrap_or((needed.ceil() as u64).clamp(220, MOST_OPEN));
        plan.open = open.min(mailboxes).max(1);
        plan
    }

    /// Octets of a mailbox, as a part of the real one's.
    pub fn octets_scale(&self) -> f64 {
        self.octets as f64 / self.law.mailboxes as f64 / MAILBOX_OCTETS
    }

    /// Messages of a mailbox, as a part of the real one's.
    pub fn messages_scale(&self) -> f64 {
        self.messages as f64 / self.law.mailboxes as f64 / MAILBOX_MESSAGES
    }

    /// The window of the whole, in seconds of this run.
    pub fn window(&self) -> f64 {
        self.whole.1 / f64::from(self.time)
    }

    pub fn limits(&self) -> Limits {
        let requests = (REQUESTS.0 * self.messages_scale()).round().max(1.0);
        // Requests are whole: the window takes up what rounding left.
        let seconds = requests / (REQUESTS.0 * self.messages_scale()) * REQUESTS.1;
        Limits {
            requests: requests as u64,
            requests_seconds: seconds.round() as u64,
            upload: (UPLOAD.0 * self.octets_scale()).round() as u64,
            upload_seconds: UPLOAD.1 as u64,
            latency_ms: LATENCY_MS as u64,
        }
    }

    /// Seconds of this run that a mean mailbox takes at least, by the limits.
    pub fn least_seconds(&self) -> f64 {
        let limits = self.limits();
        let each = |all: u64| all as f64 / self.law.mailboxes as f64;
        let upload = each(self.octets) / limits.upload as f64 * limits.upload_seconds as f64;
        let requests = each(self.messages) / limits.requests as f64 * limits.requests_seconds as f64;
        upload.max(requests) / f64::from(self.time)
    }

    /// The ratios that make this run the real one in small: (what, real, here).
    pub fn ratios(&self) -> Vec<(&'static str, f64, f64)> {
        let limits = self.limits();
        let (time, mailboxes) = (f64::from(self.time), self.law.mailboxes as f64);
        let (octets, messages) = (self.octets as f64 / mailboxes, self.messages as f64 / mailboxes);
        let window = |seconds: u64| seconds as f64 / time;
        vec![
            (
                "upload windows that a mailbox's octets fill",
                MAILBOX_OCTETS / UPLOAD.0,
                octets / limits.upload as f64,
            ),
            ("upload windows in the window of time", self.whole.1 / UPLOAD.1, {
                self.window() / window(limits.upload_seconds)
            }),
            (
                "least time of a mailbox by its requests ÷ window of time",
                (MAILBOX_MESSAGES / REQUESTS.0 * REQUESTS.1) / self.whole.1,
                messages / limits.requests as f64 * window(limits.requests_seconds) / self.window(),
            ),
            (
                "least time of a mailbox by its octets ÷ window of time",
                (MAILBOX_OCTETS / UPLOAD.0 * UPLOAD.1) / self.whole.1,
                self.least_seconds() / self.window(),
            ),
        ]
    }

    pub fn print(&self) {
        let limits = self.limits();
        let mailboxes = self.law.mailboxes as f64;
        println!(
            "{}: {} mailboxes, {} folders, {} messages, {:.2} GB; a mailbox has {:.1} folders, {:.1} messages, {:.3} MB",
            self.name,
            self.law.mailboxes,
            self.folders,
            self.messages,
            self.octets as f64 / 1e9,
            self.folders as f64 / mailboxes,
            self.messages as f64 / mailboxes,
            self.octets as f64 / mailboxes / 1e6
        );
        println!(
            "scale: contents c = 1/{:.1} (octets 1/{:.1}), time t = {}; the window is {:.0} s, {} mailboxes open at once",
            1.0 / self.messages_scale(),
            1.0 / self.octets_scale(),
            self.time,
            self.window(),
            self.open
        );
        println!(
            "limits of a mailbox: {} requests in {:.2} s, {} octets in {:.2} s, 4 at once; a request takes {:.1} ms",
            limits.requests,
            limits.requests_seconds as f64 / f64::from(self.time),
            limits.upload,
            limits.upload_seconds as f64 / f64::from(self.time),
            limits.latency_ms as f64 / f64::from(self.time)
        );
        println!(
            "folders: {} and more by an exponential law of mean {}; sizes: log-normal, sigma {}, median {:.0}, cut at {} octets",
            self.law.folders_least,
            self.law.folders_more,
            self.law.size_sigma,
            self.law.size_median,
            self.law.size_most
        );
        for (what, real, here) in self.ratios() {
            println!("  {what}: {real:.4} in life, {here:.4} here");
        }
        // What cannot be kept: a mailbox's few requests do not shrink with its contents.
        println!(
            "  not kept: requests × latency of a mailbox is {:.4} of its least time here, {:.4} in life",
            self.messages as f64 / mailboxes * LATENCY_MS
                / 4000.0
                / f64::from(self.time)
                / self.least_seconds(),
            MAILBOX_MESSAGES * LATENCY_MS / 4000.0 / (MAILBOX_OCTETS / UPLOAD.0 * UPLOAD.1)
        );
    }

    pub fn json(&self) -> Value {
        let limits = self.limits();
        let ratios = self
            .ratios()
            .into_iter()
            .map(|(what, real, here)| json!({ "what": what, "real": real, "here": here }));
        json!({ "name": self.name, "law": self.law, "mailboxes": self.law.mailboxes, "folders": self.folders,
            "messages": self.messages, "octets": self.octets, "contents_scale": self.messages_scale(),
            "octets_scale": self.octets_scale(), "time_scale": self.time, "open": self.open,
            "window_seconds": self.window(), "requests": limits.requests,
            "requests_seconds": limits.requests_seconds as f64 / f64::from(self.time), "upload": limits.upload,
            "upload_seconds": limits.upload_seconds as f64 / f64::from(self.time),
            "latency_ms": limits.latency_ms as f64 / f64::from(self.time), "ratios": ratios.collect::<Vec<_>>() })
    }
}

/// Finds the median with which messages have this mean size, although the largest are cut.
fn calibrate(law: &mut Law, mean: f64) {
    let (mut low, mut high) = (200.0, law.size_most as f64);
    for _ in 0..40 {
        law.size_median = f64::midpoint(low, high);
        let sum: u64 = (0..SAMPLE).map(|n| law.message(n, 0, 1).size()).sum();
        if (sum as f64 / SAMPLE as f64) < mean {
            low = law.size_median;
        } else {
            high = law.size_median;
        }
    }
}
