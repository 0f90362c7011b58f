//! The extremes: a folder of very many messages (memory, and going on after a kill), and one very large message (memory).
//! mailwave alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::check::read_all;
use crate::corpus::MailboxMail;
use crate::lab::{Lab, Pass, facts, write_json};
use crate::proc::{self, Argv};
use crate::proxy::Proxy;
use crate::reader::Imap;
use crate::server::own;
use crate::store::{make, put};
use crate::tools::{Job, Tool};
use crate::verdict::{Kinds, Verdict};
use crate::{Common, Result};

const USER: &str = "user0001";

#[derive(Debug, Clone, clap::Args)]
pub struct Huge {
    #[command(flatten)]
    common: Common,
    /// Messages of the folder.
    #[arg(long, default_value_t = 500_000)]
    messages: u64,
    /// Without TLS and through counting proxies: prints which commands were sent.
    #[arg(long)]
    clear: bool,
    /// Messages of the small folder its memory is compared with.
    #[arg(long, default_value_t = 5_000)]
    against: u64,
}

#[derive(Debug, Clone, clap::Args)]
pub struct Big {
    #[command(flatten)]
    common: Common,
    /// Size of the message, MB.
    #[arg(long, default_value_t = 150)]
    megabytes: usize,
}

impl Huge {
    pub fn run(&self) -> Result<()> {
        let facts = facts(&[Tool::Mailwave]);
        let mut lab = Lab::new(&self.common)?;
        let small = self.whole(&mut lab, self.against)?;
        tell(&format!("{} messages", self.against), &small);

        refill(&mut lab, &mut small_messages(self.messages, self.common.seed))?;
        lab.index(&[(USER.to_owned(), 1)])?;
        let dir = lab.fresh(Tool::Mailwave)?;
        let mut job = job(&lab);
        let proxies = if self.clear {
            let start = |port| Proxy::start(port, Duration::from_millis(self.common.rtt));
            let proxies = (start(lab.source.plain_port)?, start(lab.target.plain_port)?);
            job = Job { tls: false, source_port: proxies.0.port, target_port: proxies.1.port, ..job };
            Some(proxies)
        } else {
            None
        };
        let command = command(Tool::Mailwave.prepare(&dir, &job)?)?;
        let mut first = proc::start(&command, &dir.join("killed"))?;
        let half = self.messages / 2;
        let (mut curve, began) = (Vec::new(), Instant::now());
        let mut reader = Watch::new(&lab, &job);
        loop {
            let stored = reader.count();
            let pid = first.pid();
            curve.push(json!({"s": began.elapsed().as_secs_f64(), "stored": stored, "rss": pid.and_then(|p| proc::status(p, "VmRSS:"))}));
            if stored >= half {
                proc::signal(pid.ok_or("it ended before it was killed")?, "KILL")?;
                break;
            }
            if first.ended()? {
                return Err(format!("it ended with {stored} messages stored: {}", first.wait()?.talk).into());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        let killed = first.wait()?;
        // What was on its way to the server may still come.
        let mut at_kill = reader.count();
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = reader.count();
            if now == at_kill {
                break;
            }
            at_kill = now;
        }
        println!("killed with {at_kill} of {} stored; peak {:.1} MiB", self.messages, mib(killed.peak_rss));

        let mut second = proc::start(&command, &dir.join("resumed"))?;
        let began = Instant::now();
        let mut resumed = None;
        while !second.ended()? {
            let stored = reader.count();
            if stored > at_kill && resumed.is_none() {
                resumed = Some(began.elapsed().as_secs_f64());
            }
            let rss = second.pid().and_then(|p| proc::status(p, "VmRSS:"));
            curve.push(json!({"resumed_s": began.elapsed().as_secs_f64(), "stored": stored, "rss": rss}));
            std::thread::sleep(Duration::from_millis(if resumed.is_none() { 50 } else { 500 }));
        }
        let used = second.wait()?;
        println!(
            "resumed: first new message after {} s, whole pass {:.1} s, client CPU {:.1} s, peak {:.1} MiB ({:+.1} MiB against {} messages), exit {}",
            resumed.map_or("never".to_owned(), |s| format!("{s:.1}")),
            used.wall,
            used.cpu(),
            mib(used.peak_rss),
            mib(used.peak_rss.max(killed.peak_rss)) - mib(small.used.peak_rss),
            self.against,
            used.exit
        );
        if !used.talk.is_empty() {
            println!("  {}", used.talk);
        }
        let seen = proxies.map(|(source, target)| (source.seen(), target.seen()));
        if let Some((source, target)) = &seen {
            println!(
                "commands to the source {:?}\ncommands to the target {:?}",
                source.commands, target.commands
            );
        }
        if job.maildir {
            own(&lab.target.mail())?;
        }
        let names = [USER.to_owned()];
        let verdict = Verdict::of(
            &read_all(lab.source.plain_port, &names)?,
            &read_all(lab.target.plain_port, &names)?,
            &Kinds::new(),
        );
        println!("copy: {}", serde_json::to_string(&verdict)?);
        let value = json!({
            "facts": facts, "messages": self.messages, "small": small, "stored_at_kill": at_kill, "killed": killed,
            "resumed_after_s": resumed, "resumed": used, "verdict": verdict, "curve": curve, "seen": seen,
        });
        write_json(&self.common, &value)
    }

    /// The whole copy of a folder, undisturbed.
    fn whole(&self, lab: &mut Lab, messages: u64) -> Result<Pass> {
        refill(lab, &mut small_messages(messages, self.common.seed))?;
        let dir = lab.fresh(Tool::Mailwave)?;
        let job = job(lab);
        lab.pass(Tool::Mailwave, &dir, &job)
    }
}

impl Big {
    pub fn run(&self) -> Result<()> {
        let facts = facts(&[Tool::Mailwave]);
        let mut lab = Lab::new(&self.common)?;
        let mut passes: Vec<(usize, Pass, Verdict)> = Vec::new();
        for megabytes in [1, self.megabytes] {
            let mut mail = MailboxMail::free(self.common.seed);
            refill(&mut lab, &mut std::iter::once(mail.sized(megabytes * 1_000_000).octets))?;
            let dir = lab.fresh(Tool::Mailwave)?;
            let job = job(&lab);
            let pass = lab.pass(Tool::Mailwave, &dir, &job)?;
            let names = [USER.to_owned()];
            let verdict = Verdict::of(
                &read_all(lab.source.plain_port, &names)?,
                &read_all(lab.target.plain_port, &names)?,
                &Kinds::new(),
            );
            tell(&format!("one message of {megabytes} MB"), &pass);
            println!("copy: {}", serde_json::to_string(&verdict)?);
            passes.push((megabytes, pass, verdict));
        }
        if let [(_, small, _), (_, large, _)] = &passes[..] {
            println!("peak memory: {:+.1} MiB", mib(large.used.peak_rss) - mib(small.used.peak_rss));
        }
        let passes: Vec<Value> = passes
            .into_iter()
            .map(|(mb, pass, verdict)| json!({"mb": mb, "pass": pass, "verdict": verdict}))
            .collect();
        write_json(&self.common, &json!({"facts": facts, "passes": passes}))
    }
}

/// Counts what has arrived, over one session as long as it lasts.
struct Watch {
    port: u16,
    imap: Option<Imap>,
    /// Where mailwave writes files itself.
    files: Option<PathBuf>,
}

impl Watch {
    fn new(lab: &Lab, job: &Job) -> Watch {
        let files = job.maildir.then(|| lab.target.mail().join(USER).join("Maildir"));
        Watch { port: lab.target.plain_port, imap: None, files }
    }

    fn count(&mut self) -> u64 {
        if let Some(files) = &self.files {
            let count = |part| std::fs::read_dir(files.join(part)).map_or(0, Iterator::count);
            return (count("cur") + count("new")) as u64;
        }
        if self.imap.is_none() {
            self.imap = Imap::login(self.port, USER).ok();
        }
        self.imap.as_mut().map_or(0, |imap| imap.count(b"INBOX"))
    }
}

fn small_messages(count: u64, seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut mail = MailboxMail::free(seed);
    (0..count).map(move |_| mail.sized(1000).octets)
}

fn job(lab: &Lab) -> Job {
    lab.job(vec![(USER.to_owned(), 1)])
}

fn command(lanes: Vec<Vec<Argv>>) -> Result<Argv> {
    lanes.into_iter().flatten().next().ok_or_else(|| "no command".into())
}

/// The source gets one mailbox with these messages in its inbox, the target becomes empty.
fn refill(lab: &mut Lab, messages: &mut dyn Iterator<Item = Vec<u8>>) -> Result<()> {
    lab.source.stop()?;
    std::fs::remove_dir_all(lab.source.mail())?;
    let root = lab.source.mail().join(USER).join("Maildir");
    make(&root)?;
    for (n, octets) in messages.enumerate() {
        put(&root, n as u64 + 1, &octets, &["\\Seen"], 1_500_000_000 + n as i64)?;
    }
    lab.source.run()?;
    lab.target.wipe()
}

fn mib(octets: u64) -> f64 {
    octets as f64 / 1048576.0
}

fn tell(what: &str, pass: &Pass) {
    println!(
        "{what}: wall {:.2} s, client CPU {:.2} s, source {:.2} s, target {:.2} s, peak {:.1} MiB, exit {}",
        pass.used.wall,
        pass.used.cpu(),
        pass.source_cpu,
        pass.target_cpu,
        mib(pass.used.peak_rss),
        pass.used.exit
    );
    if !pass.used.talk.is_empty() {
        println!("  {}", pass.used.talk);
    }
}
