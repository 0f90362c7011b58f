//! A link of a given length: a proxy on loopback that hands every octet on after half a round trip, without a limit on
//! throughput, and counts how often a client waited.
//!
//! It runs in the bench's own process; its CPU is in nobody's figures. A new connection takes one round trip more, as
//! TCP's own greeting does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Octets read at once, and how many such pieces may be on the way in one direction: 64 MiB, more than any window.
const PIECE: usize = 64 * 1024;
const ON_THE_WAY: usize = 1024;

/// A proxy; it ends with the process or when dropped.
pub struct Proxy {
    pub port: u16,
    to: Arc<AtomicU16>,
    counts: Arc<Counts>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    turns: AtomicU64,
    commands: Mutex<BTreeMap<String, u64>>,
}

/// What went through.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Seen {
    pub connections: u64,
    /// How often a client sent something after it had received something. On a clear-text connection these are, at most,
    /// the round trips between the greeting and the end, a last LOGOUT by itself left out.
    pub turns: u64,
    /// Commands of clear-text connections by their shape: numbers are `n`, a range that spans a thousand or more is `MANY`.
    pub commands: BTreeMap<String, u64>,
}

impl Proxy {
    /// One to `to` on loopback, with this round-trip time.
    pub fn start(to: u16, round_trip: Duration) -> io::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (counts, over) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let to = Arc::new(AtomicU16::new(to));
        let (seen, stop, towards) = (counts.clone(), over.clone(), to.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, to) = (seen.clone(), towards.load(Ordering::SeqCst));
                std::thread::spawn(move || {
                    std::thread::sleep(round_trip);
                    let _ = connect(client, to, round_trip / 2, &seen);
                });
            }
        });
        Ok(Proxy { port, to, counts, over })
    }

    /// New connections go to this port from now on.
    pub fn towards(&self, to: u16) {
        self.to.store(to, Ordering::SeqCst);
    }

    /// Counts so far.
    pub fn seen(&self) -> Seen {
        let read = |n: &AtomicU64| n.load(Ordering::SeqCst);
        let commands = self.counts.commands.lock().map(|c| c.clone()).unwrap_or_default();
        Seen { connections: read(&self.counts.connections), turns: read(&self.counts.turns), commands }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the listener
    }
}

fn connect(client: TcpStream, to: u16, delay: Duration, counts: &Arc<Counts>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", to))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    counts.connections.fetch_add(1, Ordering::SeqCst);
    // Has the client received something since it sent last?
    let answered = Arc::new(AtomicBool::new(false));
    let (sent, received) = (counts.clone(), answered.clone());
    let up = pass(client.try_clone()?, server.try_clone()?, delay, move |piece| {
        if received.swap(false, Ordering::SeqCst) && !is_logout(piece) {
            sent.turns.fetch_add(1, Ordering::SeqCst);
        }
        if let Ok(mut commands) = sent.commands.lock() {
            for shape in piece.split(|b| *b == b'\n').filter_map(shape) {
                *commands.entry(shape).or_default() += 1;
            }
        }
    });
    let down = pass(server, client, delay, move |_| answered.store(true, Ordering::SeqCst));
    let _ = (up.join(), down.join());
    Ok(())
}

/// The shape of a command; `None` where the line is none (TLS, a part of a message). Without names, of which there are
/// many, and without secrets.
fn shape(line: &[u8]) -> Option<String> {
    const COMMANDS: &[&str] = &[
        "APPEND",
        "AUTHENTICATE",
        "CAPABILITY",
        "CLOSE",
        "COMPRESS",
        "COPY",
        "CREATE",
        "ENABLE",
        "EXAMINE",
        "EXPUNGE",
        "FETCH",
        "ID",
        "IDLE",
        "LIST",
        "LOGIN",
        "LOGOUT",
        "LSUB",
        "MOVE",
        "NAMESPACE",
        "NOOP",
        "SEARCH",
        "SELECT",
        "STATUS",
        "STORE",
        "SUBSCRIBE",
        "UID",
        "UNSELECT",
    ];
    let line = std::str::from_utf8(line.get(..line.len().min(300))?).ok()?.trim_end();
    let mut words = line.split(' ').skip(1);
    let command = words.next()?.to_ascii_uppercase();
    if !COMMANDS.contains(&command.as_str()) {
        return None;
    }
    let shown = match command.as_str() {
        "UID" => 4,
        "FETCH" | "STORE" | "SEARCH" => 3,
        _ => 0,
    };
    Some(words.take(shown).fold(command, |all, word| all + " " + &numbers(word)))
}

/// A word with its numbers hidden, and the span of its widest range told.
fn numbers(word: &str) -> String {
    let wide = word.split(',').filter_map(|r| r.split_once(':')).any(|(from, to)| {
        match (from.parse::<u64>(), to.parse::<u64>()) {
            (Ok(from), Ok(to)) => to.abs_diff(from) >= 1000,
            (Ok(_), Err(_)) => to == "*",
            _ => false,
        }
    });
    if wide {
        return "MANY".to_owned();
    }
    if word.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ':') {
        "n".to_owned()
    } else {
        word.to_owned()
    }
}

/// A lone `tag LOGOUT`.
fn is_logout(piece: &[u8]) -> bool {
    piece.len() < 64
        && piece.to_ascii_uppercase().ends_with(b" LOGOUT\r\n")
        && piece.iter().filter(|b| **b == b'\n').count() == 1
}

/// Hands on one direction. `note` sees each piece when it arrives at the far side's end of the link, before that side does.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    delay: Duration,
    mut note: impl FnMut(&[u8]) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(length) = from.read(&mut piece) {
            if length == 0 || sender.send((Instant::now() + delay, piece[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        while let Ok((due, piece)) = receiver.recv() {
            if let Some(rest) = due.checked_duration_since(Instant::now()).filter(|r| !r.is_zero()) {
                std::thread::sleep(rest);
            }
            note(&piece);
            if to.write_all(&piece).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}
