//! Many mailboxes with many nearly empty folders, already copied: what it costs to find out that nothing has changed.

use serde_json::json;

use crate::lab::{Lab, Pass, facts, median, write_json};
use crate::proxy::{Proxy, Seen};
use crate::store::{dir_name, make, put};
use crate::tools::{Job, Tool};
use crate::{Common, Result};

#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 1000)]
    mailboxes: usize,
    /// Folders of each mailbox; every fourth has a message.
    #[arg(long, default_value_t = 40)]
    folders: usize,
    /// Passes without changes.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, value_enum, value_delimiter = ',', default_value = "mailwave")]
    tools: Vec<Tool>,
}

pub fn run(options: &Options) -> Result<()> {
    let facts = facts(&options.tools);
    let mut lab = Lab::new(&options.common)?;
    lab.source.stop()?;
    let users: Vec<(String, u64)> = (1..=options.mailboxes).map(|n| (format!("user{n:04}"), 1)).collect();
    for (user, _) in &users {
        let root = lab.source.mail().join(user).join("Maildir");
        make(&root)?;
        for n in 1..options.folders {
            let name = format!("Folder {n:02}");
            let dir = root.join(dir_name(&[&name]));
            make(&dir)?;
            if n % 4 == 0 {
                let text = format!(
                    "From: a@example.org\r\nMessage-ID: <{n}.{user}@example.org>\r\nSubject: {n}\r\n\r\ntext\r\n"
                );
                put(&dir, n as u64, text.as_bytes(), &["\\Seen"], 1_600_000_000 + n as i64)?;
            }
        }
    }
    lab.source.run()?;
    lab.keep("first")?;
    println!(
        "{} mailboxes x {} folders, {} connections to each server",
        options.mailboxes, options.folders, options.common.connections
    );
    let mut results = Vec::new();
    for tool in options.tools.iter().copied().filter(|t| t.program().is_some()) {
        lab.show("first")?;
        lab.target.wipe()?;
        let round_trip = std::time::Duration::from_millis(options.common.rtt);
        let source = Proxy::start(lab.source.tls_port, round_trip)?;
        let target = Proxy::start(lab.target.tls_port, round_trip)?;
        let job = Job { source_port: source.port, target_port: target.port, ..lab.job(users.clone()) };
        let dir = lab.fresh(tool)?;
        let first = lab.pass(tool, &dir, &job)?;
        told(tool, "first copy", &first, users.len());
        let mut passes = Vec::new();
        for _ in 0..options.rounds {
            let pass = lab.pass(tool, &dir, &job)?;
            told(tool, "no change", &pass, users.len());
            passes.push(pass);
        }
        // Once more without TLS: each time a client waited for an answer is seen.
        source.towards(lab.source.plain_port);
        target.towards(lab.target.plain_port);
        let before = (source.seen(), target.seen());
        let plain = lab.pass(tool, &dir, &Job { tls: false, ..job })?;
        let seen = (since(&before.0, source.seen()), since(&before.1, target.seen()));
        told(tool, "without TLS", &plain, users.len());
        let each = |n: u64| n as f64 / users.len() as f64;
        println!(
            "{:<9} round trips a mailbox: source {:.2} over {:.2} connections, target {:.2} over {:.2}",
            tool.name(),
            each(seen.0.turns),
            each(seen.0.connections),
            each(seen.1.turns),
            each(seen.1.connections)
        );
        for (side, seen) in [("source", &seen.0), ("target", &seen.1)] {
            let commands: Vec<String> =
                seen.commands.iter().map(|(shape, n)| format!("{:.2} {shape}", each(*n))).collect();
            println!("{:<9} commands a mailbox, {side}: {}", tool.name(), commands.join("; "));
        }
        let of = |f: &dyn Fn(&Pass) -> f64| median(&passes.iter().map(f).collect::<Vec<_>>());
        let (wall, cpu) = (of(&|p| p.used.wall), of(&|p| p.used.cpu()));
        println!(
            "{:<9} median no change: wall {wall:.1} s, client CPU {:.2} ms a mailbox (TLS handshakes in it; without TLS {:.2} ms)",
            tool.name(),
            cpu * 1000.0 / users.len() as f64,
            plain.used.cpu() * 1000.0 / users.len() as f64
        );
        results.push(json!({
            "tool": tool.name(), "first": first, "no_change": passes, "without_tls": plain, "median_wall": wall,
            "client_cpu_ms_a_mailbox": cpu * 1000.0 / users.len() as f64,
            "client_cpu_ms_a_mailbox_without_tls": plain.used.cpu() * 1000.0 / users.len() as f64,
            "source": seen.0, "target": seen.1,
            "source_turns_a_mailbox": each(seen.0.turns), "target_turns_a_mailbox": each(seen.1.turns),
        }));
    }
    let value = json!({"facts": facts, "mailboxes": options.mailboxes, "folders": options.folders,
        "connections": options.common.connections, "rtt_ms": options.common.rtt, "results": results});
    write_json(&options.common, &value)
}

fn since(before: &Seen, after: Seen) -> Seen {
    Seen {
        connections: after.connections - before.connections,
        turns: after.turns - before.turns,
        commands: after.commands, // none before: that was TLS
    }
}

fn told(tool: Tool, what: &str, pass: &Pass, mailboxes: usize) {
    println!(
        "{:<9} {what:<11} wall {:>7.2} s, client {:>6.2} s ({:.2} ms a mailbox), source {:>6.2} s, target {:>6.2} s, {:>5.0} MiB, exit {}",
        tool.name(),
        pass.used.wall,
        pass.used.cpu(),
        pass.used.cpu() * 1000.0 / mailboxes as f64,
        pass.source_cpu,
        pass.target_cpu,
        pass.used.peak_rss as f64 / 1048576.0,
        pass.used.exit
    );
    if !pass.used.talk.is_empty() {
        println!("  {}", pass.used.talk.replace('\n', "\n  "));
    }
}
