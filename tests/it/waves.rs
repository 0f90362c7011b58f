//! Waves in their windows: whole nights in virtual time, and the real program with its windows, its socket and its exit
//! codes.

mod control;
mod drain;
mod lend;
mod nights;
mod watched;
mod windows;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::cli::mailwave;
use crate::support::mailgen::MailGen;
use crate::support::process::{GraphProcess, until};

/// Mailboxes of some waves, each with so many messages in a Maildir, and a slow Graph.
struct Bed {
    home: tempfile::TempDir,
    graph: GraphProcess,
    messages: usize,
}

impl Bed {
    /// `rows` are (mailbox, wave, messages); `more` is added to the configuration, before its tables.
    fn new(latency_ms: u64, rows: &[(&str, &str, usize)], keys: &str, tables: &str) -> Bed {
        Bed::with(&json!({ "latency": { "base_ms": latency_ms } }), rows, keys, tables)
    }

    /// With a Graph that is like `options`.
    fn with(options: &serde_json::Value, rows: &[(&str, &str, usize)], keys: &str, tables: &str) -> Bed {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        let mut mails = MailGen::new(11, "example.org");
        let mut list = "source,target,wave\n".to_owned();
        let mut messages = 0;
        for (mailbox, wave, count) in rows {
            list.push_str(&format!("{mailbox},{mailbox}@example.org,{wave}\n"));
            for sub in ["cur", "new", "tmp"] {
                fs::create_dir_all(dir.join("in").join(mailbox).join(sub)).unwrap();
            }
            for n in 0..*count {
                let path = dir.join("in").join(mailbox).join("cur").join(format!("{n:06}.made:2,S"));
                fs::write(path, mails.next().octets).unwrap();
            }
            messages += count;
        }
        let graph = GraphProcess::start(dir, options);
        let config = format!(
            "source_name = \"acme\"\n{keys}\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\
             [target.new]\nkind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\n\
             client_secret = {{ file = \"secret\" }}\nbase_url = \"{0}/v1.0\"\nauthority = \"{0}\"\n{tables}\n",
            graph.base_url
        );
        fs::write(dir.join("mailwave.toml"), config).unwrap();
        fs::write(dir.join("secret"), "secret\n").unwrap();
        fs::set_permissions(dir.join("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(dir.join("mailboxes.csv"), list).unwrap();
        Bed { home, graph, messages }
    }

    fn dir(&self) -> &Path {
        self.home.path()
    }

    /// A run under way.
    fn run(&self, options: &[&str]) -> Going {
        let (out, err) = (self.dir().join("run.out"), self.dir().join("run.err"));
        let child = mailwave(self.dir(), &[&["run", "mailwave.toml", "--json"], options].concat())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Going { child, out, err }
    }

    /// Copies at the target.
    fn copies(&self) -> usize {
        let truth = self.graph.settled();
        assert_eq!(truth.counters.violations.len(), 0, "{:?}", truth.counters.violations);
        truth.mailboxes.values().flat_map(|m| m.folders.values()).map(|f| f.messages.len()).sum()
    }

    /// Waits until so many messages were made.
    fn made(&self, run: &mut Going, count: u64) {
        until("some messages to be made", || {
            assert!(run.child.try_wait().unwrap().is_none(), "it ended: {}", run.talk());
            (self.graph.counters().creates >= count).then_some(())
        });
    }
}

/// A run under way. Killed when dropped.
struct Going {
    child: Child,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
}

impl Going {
    fn talk(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Exit code, JSON and talk, once it has ended by itself.
    fn end(mut self) -> (i32, serde_json::Value, String) {
        let status = until("the run to end", || self.child.try_wait().unwrap());
        let json = serde_json::from_str(&fs::read_to_string(&self.out).unwrap()).unwrap_or_default();
        (status.code().expect("it ended by itself"), json, self.talk())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
