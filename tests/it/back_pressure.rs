//! What is not taken at one end is not read at the other, and what lies in between is bounded and goes away by itself.
//! The real program, with mocks in other processes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::mailwave;
use crate::support::process::{GraphProcess, Running, until};

const MAILBOXES: usize = 8;
const MESSAGES: usize = 200;
const SIZE: usize = 60_000;
/// The body budget of the run: the least that can be set.
const MEMORY: u64 = 16 << 20;
/// What may lie in sockets and read buffers of one connection beside it.
const IN_SOCKETS: u64 = 6 << 20;

fn message(n: usize, size: usize) -> Vec<u8> {
    let mut octets =
        format!("Message-ID: <{n}@example.org>\r\nSubject: {n}\r\nContent-Type: text/plain\r\n\r\n")
            .into_bytes();
    while octets.len() < size {
        octets.extend_from_slice(format!("{n} {:016x}\r\n", octets.len()).as_bytes());
    }
    octets
}

fn maildirs(root: &Path, mailboxes: usize, messages: usize, size: usize) {
    for mailbox in 1..=mailboxes {
        let maildir = root.join(format!("user{mailbox}"));
        ["cur", "new", "tmp"].iter().for_each(|part| fs::create_dir_all(maildir.join(part)).unwrap());
        for n in 0..messages {
            fs::write(maildir.join(format!("cur/{n:06}.made:2,S")), message(n, size)).unwrap();
        }
    }
}

fn configure(dir: &Path, graph: &str, run: &str, source: &str, mailboxes: usize) {
    let config = format!(
        "source_name = \"acme\"\n[run]\nsettle = \"200ms\"\n{run}\n[source.old]\n{source}\n\
         [target.new]\nkind = \"graph\"\ntenant = \"contoso\"\nclient_id = \"mover\"\n\
         client_secret = {{ file = \"secret\" }}\nbase_url = \"{graph}/v1.0\"\nauthority = \"{graph}\"\n"
    );
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("secret"), "secret\n").unwrap();
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let rows: String = (1..=mailboxes).map(|n| format!("user{n},user{n}@example.org\n")).collect();
    fs::write(dir.join("mailboxes.csv"), format!("source,target\n{rows}")).unwrap();
}

/// `mailwave mock imap` in a process of its own. Killed when dropped.
struct ImapProcess(Child, String);

impl ImapProcess {
    fn start(dir: &Path, mail: &str) -> ImapProcess {
        let mut child =
            mailwave(dir, &["mock", "imap", "--state", mail]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.next().expect("the mock tells its address");
        ImapProcess(child, told.strip_prefix("listening ").unwrap().to_owned())
    }
}

impl Drop for ImapProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stands before a server: counts what it says, and can stop reading what it is told.
#[derive(Clone)]
struct Proxy {
    address: String,
    said: Arc<AtomicU64>,
    deaf: Arc<AtomicBool>,
}

impl Proxy {
    fn before(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap().to_string(),
            said: Arc::default(),
            deaf: Arc::default(),
        };
        let (server, all) = (server.to_owned(), proxy.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(behind) = TcpStream::connect(&server) else { return };
                let (up, down) = (all.clone(), all.clone());
                let (from, to) = (client.try_clone().unwrap(), behind.try_clone().unwrap());
                std::thread::spawn(move || {
                    pass(from, to, |_| {
                        while up.deaf.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    })
                });
                std::thread::spawn(move || {
                    pass(behind, client, |n| {
                        down.said.fetch_add(n as u64, Ordering::Relaxed);
                    })
                });
            }
        });
        proxy
    }

    fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

/// Hands on what comes until either end is closed; `first` is told of each piece before it is handed on.
fn pass(mut from: TcpStream, mut to: TcpStream, first: impl Fn(usize)) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(n) = from.read(&mut piece) {
        first(n);
        if n == 0 || to.write_all(&piece[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn when_the_target_stops_reading_the_source_is_not_read_any_more_two_seconds_later() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    maildirs(&dir.join("mail"), MAILBOXES, MESSAGES, SIZE);
    let graph = GraphProcess::start(dir, &json!({ "latency": { "base_ms": 20 }, "keep_content": false }));
    let imap = ImapProcess::start(dir, "mail");
    let (source, target) =
        (Proxy::before(&imap.1), Proxy::before(graph.base_url.trim_start_matches("http://")));
    let (host, port) = source.address.split_once(':').unwrap();
    let from = format!(
        "kind = \"imap\"\nhost = \"{host}\"\nport = {port}\ntls = \"off\"\npassword = {{ file = \"secret\" }}\nlogin_interval = \"0ms\""
    );
    configure(
        dir,
        &format!("http://{}", target.address),
        &format!("memory = \"{MEMORY}B\""),
        &from,
        MAILBOXES,
    );
    let all = (MAILBOXES * MESSAGES * SIZE) as u64;

    let mut run = Running::start(dir);
    until("the run to be in full swing", || {
        assert!(run.ended().is_none(), "{}", run.talk());
        (source.said() > all / 10).then_some(())
    });
    target.deaf.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    let at_stop = source.said();
    while stopped.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5)); // the bound itself
    }
    let later = source.said();
    // Twice as long again: what is read then was not stopped by the stop.
    while stopped.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (within, after) = (later - at_stop, source.said() - later);
    println!(
        "read of the source within 2 s after the target's stop: {within} bytes; within the next 2 s: {after}"
    );
    assert_eq!(after, 0, "the source is read although nothing can be sent");
    assert!(at_stop + within < all, "there is something left to read");
    let bound = MEMORY + MAILBOXES as u64 * IN_SOCKETS;
    assert!(within <= bound, "{within} bytes were read into nowhere; {bound} have room");

    target.deaf.store(false, Ordering::Relaxed);
    let (code, json, err) = run.end();
    assert_eq!(code, 0, "{json}\n{err}");
    assert_eq!(json["messages"]["stored"], MAILBOXES * MESSAGES, "{json}");
}

/// Files of a process that were made in this directory.
fn open_below(pid: u32, dir: &Path) -> Vec<PathBuf> {
    let Ok(all) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let below = |path: &PathBuf| fs::read_link(path).is_ok_and(|to| to.starts_with(dir));
    all.flatten().map(|entry| entry.path()).filter(below).collect()
}

#[test]
fn spooled_messages_have_no_name_and_no_reader_but_us_and_nothing_of_them_is_left_after_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().canonicalize().unwrap();
    maildirs(&dir.join("in"), 2, 6, 3_000_000);
    let graph = GraphProcess::start(&dir, &json!({ "latency": { "base_ms": 100 }, "keep_content": false }));
    let run = "spool_above = \"64KiB\"\nspool = \"spool\"";
    configure(&dir, &graph.base_url, run, "kind = \"maildir\"\nroot = \"in\"", 2);
    let spool = dir.join("spool");
    let left = || fs::read_dir(&spool).unwrap().flatten().map(|e| e.path()).collect::<Vec<_>>();
    let in_use = |run: &mut Running| {
        until("a message in the spool", || {
            assert!(run.ended().is_none(), "{}", run.talk());
            // Some of them end between two looks.
            let seen: Vec<fs::Metadata> =
                open_below(run.id(), &spool).iter().filter_map(|fd| fs::metadata(fd).ok()).collect();
            (!seen.is_empty()).then_some(seen)
        })
    };

    for _ in 0..3 {
        let mut run = Running::start(&dir);
        for file in in_use(&mut run) {
            assert_eq!((file.mode() & 0o7777, file.nlink()), (0o600, 0));
        }
        assert_eq!(left(), Vec::<PathBuf>::new(), "no name, also while it is used");
        run.kill();
        assert_eq!(left(), Vec::<PathBuf>::new(), "after kill -9");
    }
    // Drained half way.
    let mut run = Running::start(&dir);
    in_use(&mut run);
    run.interrupt();
    let (code, json, err) = run.end();
    assert_eq!(code, 75, "{json}\n{err}");
    assert_eq!(left(), Vec::<PathBuf>::new(), "after a drain");
    let (code, json, err) = Running::start(&dir).end();
    assert_eq!(code, 0, "{json}\n{err}");
    assert_eq!(left(), Vec::<PathBuf>::new(), "after the end");
    assert_eq!(json["copies"]["at_target"], 12, "{json}");
}

#[test]
fn a_run_that_would_come_to_the_limit_of_open_files_is_refused_with_the_arithmetic() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    maildirs(&dir.join("in"), 1, 1, 100);
    configure(dir, "http://127.0.0.1:1", "", "kind = \"maildir\"\nroot = \"in\"", 40);
    let run = |limit: u64| {
        let words = format!("ulimit -n {limit} && exec \"$0\" run mailwave.toml");
        let program = mailwave(dir, &[]).get_program().to_owned();
        let mut command = std::process::Command::new("sh");
        let out =
            command.current_dir(dir).arg("-c").arg(words).arg(program).stdin(Stdio::null()).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, err) = run(128);
    assert_eq!(code, Some(64), "{err}");
    for told in
        ["open files", "may have 128", "40 open mailboxes: 320 connections and files", "64 of its own"]
    {
        assert!(err.contains(told), "{told}: {err}");
    }
    assert!(!dir.join("mailwave-ledger").exists(), "nothing was begun");
    // With enough of them it goes on to the next thing that is wrong.
    let (_, err) = run(4_096);
    assert!(!err.contains("open files"), "{err}");
}
