//! The IMAP target against a real Dovecot, and against peers that do what Dovecot does not.

mod contract;
mod cuts;
mod peer;
mod peers;
mod refusals;
mod road;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use mailwave::imap::{Credentials, Server, TlsMode};
use mailwave::model::{Flags, Timestamp};
use mailwave::target::imap::ImapTargetSettings;

use crate::contract_target::Held;
use crate::support::imap_client::Client;
use crate::support::server::{ImapServer, Reach};

pub const USER: &str = "user01";

/// Clear text, every mailbox with its own password.
pub fn settings(server: &impl ImapServer) -> ImapTargetSettings {
    let reach = server.reach();
    at_port(&reach, reach.plain_port)
}

pub fn at_port(reach: &Reach, port: u16) -> ImapTargetSettings {
    let all: BTreeMap<_, _> = reach.users.iter().map(|(u, p)| (u.clone(), p.as_str().into())).collect();
    ImapTargetSettings::of(Server {
        port,
        tls: TlsMode::Plain,
        login_interval: Duration::ZERO,
        idle_timeout: Duration::from_secs(20),
        ..Server::new("127.0.0.1", Credentials::PerMailbox(all))
    })
}

/// A folder's name as a quoted string.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for b in name {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*b);
    }
    out.push(b'"');
    out
}

/// The names on the wire of all folders that hold mail.
pub fn names(client: &mut Client) -> Vec<Vec<u8>> {
    let (text, _) = client.run(&[b"LIST \"\" \"*\""]);
    let mut names = Vec::new();
    for line in text.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(rest) = line.strip_prefix(b"* LIST (") else { continue };
        let close = rest.iter().position(|b| *b == b')').expect("attributes");
        if String::from_utf8_lossy(&rest[..close]).to_lowercase().contains("\\noselect") {
            continue;
        }
        let name = &rest[close + 6..]; // `) "/" `
        let name = match name.strip_prefix(b"\"") {
            Some(quoted) => {
                let mut out = Vec::new();
                let mut octets = quoted[..quoted.len() - 1].iter();
                while let Some(b) = octets.next() {
                    out.push(if *b == b'\\' { *octets.next().expect("escaped") } else { *b });
                }
                out
            }
            None => name.to_vec(),
        };
        names.push(name);
    }
    names
}

/// Everything a folder holds, by UID.
pub fn held(client: &mut Client, name: &[u8]) -> Vec<(u32, Held)> {
    client.run(&[b"SELECT ", &quoted(name)]);
    let (text, _) = client.run(&[b"UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"]);
    let mut all = Vec::new();
    let mut rest = &text[..];
    while let Some(at) = find(rest, b" FETCH (") {
        rest = &rest[at + 8..];
        let mut open = find(rest, b"BODY[] ").expect("a body") + 7;
        if rest[open] == b'~' {
            open += 1; // a literal8
        }
        let head = String::from_utf8_lossy(&rest[..open]).into_owned();
        let (octets, after) = if rest[open] == b'{' {
            let close = find(&rest[open..], b"}\r\n").expect("a literal") + open;
            let len: usize =
                std::str::from_utf8(&rest[open + 1..close]).expect("digits").parse().expect("a number");
            (rest[close + 3..close + 3 + len].to_vec(), close + 3 + len)
        } else {
            let end = find(&rest[open + 1..], b"\"").expect("a string") + open + 1;
            (rest[open + 1..end].to_vec(), end)
        };
        rest = &rest[after..];
        let uid = head.split("UID ").nth(1).and_then(|t| t.split(' ').next()).expect("a UID");
        let words = head.split("FLAGS (").nth(1).and_then(|t| t.split(')').next()).expect("flags");
        let date = head.split("INTERNALDATE \"").nth(1).and_then(|t| t.split('"').next()).expect("a date");
        let mut flags = Flags::default();
        words.split(' ').for_each(|word| flags.add(word));
        let received = Timestamp::from_imap(date).expect("a date").seconds;
        all.push((
            uid.parse().expect("a number"),
            Held { stamp: None, octets: Some(octets), flags: flags.encode(), received },
        ));
    }
    all
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}
