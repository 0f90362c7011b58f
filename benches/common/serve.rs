//! Servers of ours, in processes of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::PROGRAM;

/// A process of ours, ended when it is dropped.
pub struct Server(Child);

impl Server {
    /// Its place in `/proc`.
    pub fn place(&self) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server; gives what it says on lines that begin with `words`, in their order.
pub fn serve(program: &str, arguments: &[&str], words: &[&str]) -> (Server, Vec<String>) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = words.iter().map(|word| {
        loop {
            let line = lines.next().expect("the server goes on").unwrap();
            if let Some(rest) = line.strip_prefix(word) {
                break rest.trim().to_owned();
            }
        }
    });
    let told = told.collect();
    (Server(child), told)
}

/// The port at the end of an address.
pub fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Starts a run of `mailwave.toml` in a directory, with `before` put before its command; what it says goes to `run.json` and
/// `run.err` there.
pub fn engine_in(root: &Path, before: &[String]) -> Child {
    let mut words: Vec<&str> = before.iter().map(String::as_str).collect();
    words.extend([PROGRAM, "run", "mailwave.toml", "--json"]);
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .current_dir(root)
        .env("BENCH_PASSWORD", "any")
        .env("BENCH_SECRET", "secret")
        .stdin(Stdio::null())
        .stdout(fs::File::create(root.join("run.json")).unwrap())
        .stderr(fs::File::create(root.join("run.err")).unwrap());
    command.spawn().unwrap()
}
