//! Messages that cannot be read, or that are hardly messages.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use mailwave::mock::graph::GraphOptions;

use super::desk::{Desk, Graph, mail};

const NO_FILE: &str = "unreadable: the message is no plain file (a link, FIFO or device), which is not opened — make the message readable at the source (rights, disk, server log) and run again";
const LOCKED: &str = "unreadable: the message's file cannot be read (permission denied) — make the message readable at the source (rights, disk, server log) and run again";
const ROW: &str = "source,target\ncanary.ann,ann\n";

#[test]
fn what_cannot_be_read_is_skipped_with_reason_and_remedy_and_moved_once_it_can() {
    let desk = Desk::files(ROW);
    desk.fill("canary.ann", 5);
    let fifo = desk.path("in/canary.ann/cur/6.fifo:2,S");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // A link would lead out of the mailbox.
    fs::write(desk.path("outside"), "canary outside").unwrap();
    let link = desk.path("in/canary.ann/cur/7.link:2,S");
    symlink(desk.path("outside"), &link).unwrap();
    fs::create_dir(desk.path("in/canary.ann/cur/8.directory")).unwrap();
    // Rights bite unless the test runs as root.
    let locked = desk.put("canary.ann", "", "9.locked", &mail("canary.ann", 9));
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let root = fs::read(&locked).is_ok();

    let ran = desk.run();
    ran.ended(1);
    let mut expected = vec![NO_FILE, NO_FILE];
    if !root {
        expected.push(LOCKED);
        expected.sort_unstable();
    }
    assert_eq!(ran.skipped(), expected);
    assert_eq!(ran.mailbox(2)["skipped"], expected.len());
    assert_eq!(ran.mailbox(2)["verdict"], "investigate");
    let mut there: Vec<Vec<u8>> = (1..=5).map(|n| mail("canary.ann", n)).collect();
    if root {
        there.push(mail("canary.ann", 9));
    }
    assert_eq!(desk.arrived("ann"), there, "the rest goes on");

    // As the remedy says.
    for path in [fifo, link] {
        fs::remove_file(&path).unwrap();
        let n = path.file_name().unwrap().to_str().unwrap()[..1].parse().unwrap();
        fs::write(&path, mail("canary.ann", n)).unwrap();
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.skipped(), [""; 0]);
    let there: Vec<Vec<u8>> = [1, 2, 3, 4, 5, 6, 7, 9].into_iter().map(|n| mail("canary.ann", n)).collect();
    assert_eq!(desk.arrived("ann"), there);
}

/// Octets that are hardly a message, by name. Line ends are CRLF already.
fn odd() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("0-octets", Vec::new()),
        ("no-headers", b"\r\nonly a canary text\r\n".to_vec()),
        ("neither-headers-nor-blank-line", b"canary text from the first octet on".to_vec()),
        ("only-headers", b"Subject: canary only\r\nFrom: canary@example.org\r\n".to_vec()),
        ("nul", b"Subject: canary \0 nul\r\n\r\na\0b\0\0canary\r\n".to_vec()),
        ("8-bit", b"Subject: canary \xe4\xf6\xfc\r\nFrom: \xff\xfe <canary@example.org>\r\n\r\n\xe9\x80\xc3\r\n".to_vec()),
        ("all-octets", [b"Subject: canary all\r\n\r\n".to_vec(), (0..=255).filter(|b| !b"\r\n".contains(b)).collect()].concat()),
        ("one-long-line", [b"Subject: canary long\r\n\r\n".to_vec(), vec![b'x'; 1_000_000]].concat()),
        ("escapes", b"Subject: \x1b]0;canary\x07\x1b[2J\r\nFrom: canary@example.org\r\n\r\n\x1b[31mred\r\n".to_vec()),
        ("half-a-multipart", b"Subject: canary half\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/pl".to_vec()),
    ]
}

/// A message of more than 60 MB: two attachments that need an upload session each.
fn large() -> Vec<u8> {
    let mut octets =
        b"Subject: canary large\r\nFrom: canary@example.org\r\nMessage-ID: <large@canary.example>\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nlarge\r\n"
            .to_vec();
    for n in 0..2 {
        let head = format!(
            "--b\r\nContent-Type: application/octet-stream; name=canary{n}.bin\r\n\
             Content-Disposition: attachment; filename=canary{n}.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        );
        octets.extend_from_slice(head.as_bytes());
        let line = [&[b'A' + n; 76][..], b"\r\n"].concat();
        octets.extend_from_slice(&line.repeat(400_000));
    }
    octets.extend_from_slice(b"--b--\r\n");
    assert!(octets.len() > 60_000_000);
    octets
}

#[test]
fn odd_and_large_messages_reach_a_maildir_octet_by_octet() {
    let desk = Desk::files(ROW);
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for (n, (name, octets)) in odd().into_iter().chain([("large", large())]).enumerate() {
        desk.put("canary.ann", "", &format!("{n}.{name}"), &octets);
        expected.push(octets);
    }
    expected.sort();
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.count("stored"), expected.len() as u64);
    assert!(desk.arrived("ann") == expected, "octet by octet"); // too large to be printed
    let spool = fs::read_dir(desk.path("mailwave-spool")).unwrap().count();
    assert_eq!(spool, 0, "nothing is left in the spool");
    let again = desk.run();
    again.ended(0);
    assert_eq!(again.count("stored"), 0);
}

#[test]
fn odd_messages_reach_graph_or_are_skipped_by_name_and_what_is_lost_is_declared() {
    let graph = Graph::start(GraphOptions::default());
    let desk = Desk::graph(&graph, "source,target\ncanary.ann,ann@canary.example\n");
    desk.fill("canary.ann", 3);
    let odd = odd();
    for (n, (name, octets)) in odd.iter().enumerate() {
        desk.put("canary.ann", "", &format!("1{n}.{name}"), octets);
    }
    let ran = desk.run();
    assert_eq!(
        ran.skipped(),
        [
            "not-a-message: the message has no octets — nothing to move; look at it at the source and approve it"
        ]
    );
    assert_eq!(
        ran.mailbox(2)["reasons"],
        serde_json::json!(["1 message skipped and not approved", "9 messages with a declared loss"])
    );
    ran.ended(1);
    let there = graph.messages("ann@canary.example");
    assert_eq!(there.len(), 3 + odd.len() - ran.skipped().len(), "every one is there or named");
    let subjects: BTreeSet<String> = there.iter().filter_map(|m| m.subject.clone()).collect();
    for subject in ["canary only", "canary all", "canary long", "canary half"] {
        assert!(subjects.contains(subject), "{subject}: {subjects:?}");
    }
    let writes = graph.mock.writes();
    let again = desk.run();
    again.ended(1);
    assert_eq!((again.count("stored"), graph.mock.writes()), (0, writes));
}

#[test]
fn a_message_of_60_mb_reaches_graph_by_upload_sessions() {
    let graph = Graph::start(GraphOptions::default());
    let desk = Desk::graph(&graph, "source,target\ncanary.ann,ann@canary.example\n");
    desk.fill("canary.ann", 3);
    desk.put("canary.ann", "", "4.large", &large());
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(ran.count("stored"), 4);
    let there = graph.messages("ann@canary.example");
    let large = there.iter().find(|m| m.subject.as_deref() == Some("canary large")).expect("the large one");
    let sizes: Vec<u64> = large.attachments.iter().map(|a| a.size).collect();
    assert_eq!(sizes, [57 * 400_000; 2]);
    assert_eq!(graph.mock.counters().upload_sessions, 2);
}

#[test]
fn a_message_beyond_the_limit_is_skipped_and_moved_once_the_limit_is_raised() {
    let desk = Desk::files(ROW);
    desk.fill("canary.ann", 3);
    let large = [mail("canary.ann", 4), vec![b'x'; 100_000]].concat();
    desk.put("canary.ann", "", "4.large", &large);
    let config = fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    fs::write(desk.path("mailwave.toml"), config.replace("tries = 2", "tries = 2\nmax_message = \"64KiB\""))
        .unwrap();
    let ran = desk.run();
    ran.ended(1);
    assert_eq!(
        ran.skipped(),
        [
            "too-large: 100200 bytes, the limit is 65536 — raise the target's size limit (or `max_message`) and run again, or hand the message over as a file"
        ]
    );
    assert_eq!(desk.arrived("ann").len(), 3);
    fs::write(desk.path("mailwave.toml"), config).unwrap();
    let ran = desk.run();
    ran.ended(0);
    assert_eq!((ran.count("stored"), ran.skipped().len()), (1, 0));
    assert!(desk.arrived("ann").contains(&large));
}
