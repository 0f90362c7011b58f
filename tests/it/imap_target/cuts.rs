//! Connections cut at every kind of octet of an APPEND, with a real Dovecot behind: what may be there is unknown, what
//! never left is not sent, and nothing is called stored that is not.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::env::Env;
use mailwave::limit::Gate;
use mailwave::model::{Digest, Outcome};
use mailwave::target::imap::ImapTarget;
use mailwave::target::{CopyIds, StoreItem, Target, TargetMailbox};

use super::{USER, at_port, held};
use crate::contract_target::{item, wanted};
use crate::support::dovecot::Dovecot;
use crate::support::server::ImapServer;

/// Passes octets on until so many went to the server after the first APPEND; then both sides are closed.
struct Cutter {
    port: u16,
    /// Octets of the first APPEND and what follows that still pass; `usize::MAX`: all.
    left: Arc<AtomicUsize>,
}

impl Cutter {
    fn start(to: u16) -> Cutter {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let shared = left.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", to)).expect("the server");
                let left = shared.clone();
                let (mut from, mut into) =
                    (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
                std::thread::spawn(move || pass_back(server, client));
                std::thread::spawn(move || drop(pass_on(&mut from, &mut into, &left)));
            }
        });
        Cutter { port, left }
    }
}

fn pass_back(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn pass_on(from: &mut TcpStream, to: &mut TcpStream, left: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    let mut appending = false;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut octets = &buffer[..n];
        if !appending && let Some(at) = octets.windows(7).position(|w| w == b"APPEND ") {
            to.write_all(&octets[..at])?;
            octets = &octets[at..];
            appending = true;
        }
        if !appending || left.load(Ordering::SeqCst) == usize::MAX {
            to.write_all(octets)?;
            continue;
        }
        let may = left.load(Ordering::SeqCst).min(octets.len());
        to.write_all(&octets[..may])?;
        left.fetch_sub(may, Ordering::SeqCst);
        if may < octets.len() || left.load(Ordering::SeqCst) == 0 {
            left.store(usize::MAX, Ordering::SeqCst);
            // Everything that passed is read by the server before it sees the end.
            to.shutdown(Shutdown::Both)?;
            return from.shutdown(Shutdown::Both);
        }
    }
}

fn batch() -> Vec<StoreItem> {
    (0..5u64)
        .map(|n| {
            let text = format!("Message-ID: <{n}@x>\r\nSubject: cut\r\n\r\n{}\r\n", "text ".repeat(20));
            item(1, n, text.as_bytes(), "S", Some(1_700_000_000))
        })
        .collect()
}

#[tokio::test]
async fn a_cut_leaves_messages_unknown_only_if_octets_of_them_may_have_left() {
    let Some(dovecot) = Dovecot::start() else { return };
    let cutter = Cutter::start(dovecot.plain_port);
    let env = Env::system();
    let target = ImapTarget::new(env.clone(), at_port(&dovecot.reach(), cutter.port)).expect("settings");
    let mailbox = target.open(USER, "", Gate::unlimited(&env)).await.expect("open");
    let length: usize = batch().iter().map(|i| i.body.len() as usize).sum();
    let (mut unknown, mut there) = (0, 0);
    // In the command's head, in the first message, between messages, in the last one, at its end.
    for (round, at) in [3, 60, 200, length / 2, length, length + 200, length + 1000].into_iter().enumerate() {
        let name = format!("round {round}");
        let folder = mailbox.folder(&wanted(&[&name])).await.expect("folder");
        let anchor = mailbox.anchor(&folder).await.expect("anchor");
        cutter.left.store(at, Ordering::SeqCst);
        let outcomes = store(&env, &mailbox, &folder, batch()).await;
        cutter.left.store(usize::MAX, Ordering::SeqCst);
        let kinds: BTreeSet<&str> = outcomes
            .iter()
            .map(|o| match o {
                Outcome::Stored { .. } => "stored",
                Outcome::Refused(_) => "refused",
                Outcome::NotSent(_) => "not sent",
                Outcome::Unknown(_) => "unknown",
            })
            .collect();
        assert_eq!(kinds.len(), 1, "one command is one fate: {outcomes:?}");
        // What is found after the anchor is all or nothing, and what was said holds.
        let came = mailbox.stored_since(&folder, &anchor, &CopyIds::default()).await.expect("read back");
        assert!(came.is_empty() || came.len() == 5, "round {round}: {} of 5", came.len());
        match kinds.first().copied() {
            Some("unknown") => unknown += 1,
            Some("stored") => assert_eq!(came.len(), 5),
            Some("not sent") => assert!(came.is_empty()),
            other => panic!("{other:?}"),
        }
        if came.is_empty() {
            let outcomes = store(&env, &mailbox, &folder, batch()).await;
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Stored { .. })), "{outcomes:?}");
        } else {
            there += 1;
        }
        // Whoever settles by what came stores each message once.
        let mut client = dovecot.client(USER);
        let wire = client.wire(&[&name]);
        let mut digests: Vec<Digest> = held(&mut client, &wire)
            .into_iter()
            .map(|(_, h)| Digest::of(&h.octets.expect("octets")))
            .collect();
        let mut meant: Vec<Digest> = batch().iter().map(|i| i.body.digest()).collect();
        digests.sort();
        meant.sort();
        assert_eq!(digests, meant, "round {round}");
    }
    assert!(unknown >= 3, "most cuts came after octets of messages ({unknown}, {there} stored)");
}

async fn store(
    env: &Env,
    mailbox: &Arc<dyn TargetMailbox>,
    folder: &mailwave::target::TargetFolderId,
    items: Vec<StoreItem>,
) -> Vec<Outcome> {
    let sizes: Vec<u64> = items.iter().map(|i| i.body.len()).collect();
    let ticket = Gate::unlimited(env).reserve(mailbox.cost(&sizes)).await;
    mailbox.store(folder, items, ticket).await
}
