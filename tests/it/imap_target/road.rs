//! Whole migrations from one real server to another, as an operator runs them: first copy, nothing to do, deltas.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::road::works::Works;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::{self, Dovecot};
use crate::support::holding::What;
use crate::support::server::{ImapServer, Reach};

const USERS: [&str; 2] = ["user01", "user02"];
const FOLDERS: [&[&str]; 8] = [
    &["INBOX"],
    &["Sent"],
    &["quote\"d"],
    &["50% Rabatt"],
    &["back\\slash"],
    &["😀 Smile"],
    &["one", "two", "vier & fünf"],
    &["v1,2"],
];

fn endpoint(reach: &Reach) -> String {
    format!(
        "host = \"127.0.0.1\"\nport = {}\ntls = \"off\"\nmaster_user = \"{}\"\npassword = {{ env = \"ROAD_MASTER\" }}\nlogin_interval = \"1ms\"\n",
        reach.plain_port, reach.master.0
    )
}

fn works(source: &Reach, target: &Reach) -> Works {
    let config = format!(
        "[source.a]\nkind = \"imap\"\n{}[target.b]\nkind = \"imap\"\n{}",
        endpoint(source),
        endpoint(target)
    );
    let rows: String = USERS.iter().map(|user| format!("{user},{user}\n")).collect();
    Works::new(&config, &format!("source,target\n{rows}"))
}

fn fill(server: &impl ImapServer) -> usize {
    let mut count = 0;
    for user in USERS {
        let mut client = server.client(user);
        for folder in FOLDERS.iter().filter(|f| f.len() > 1 || !["INBOX", "Sent"].contains(&f[0])) {
            client.create(folder);
        }
        client.create(&["Sent"]);
        for folder in FOLDERS {
            for n in 0..25 {
                // Every fifth is an exact double of its neighbour.
                let k = n - usize::from(n % 5 == 4);
                let text = format!(
                    "Message-ID: <{k}@x>\r\nSubject: message {k}\r\n\r\n{}\r\n",
                    "text\r\n".repeat(k * 40)
                );
                let flags = ["", "\\Seen", "\\Seen \\Flagged $Forwarded", "\\Answered work"][n % 4];
                let date = [
                    "01-Jan-1970 00:00:00 +0000",
                    "29-Feb-2024 23:59:59 -0730",
                    "21-Nov-2020 08:00:00 +0100",
                ][n % 3];
                client.append(folder, text.as_bytes(), flags, Some(date));
                count += 1;
            }
        }
        let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(150_000));
        client.append(&["INBOX"], large.as_bytes(), "\\Seen", None);
        count += 1;
    }
    count
}

/// What each folder that holds mail holds, as a multiset.
fn holds(server: &impl ImapServer, user: &str) -> BTreeMap<Vec<String>, Vec<What>> {
    let folders = server.holding(user).folders.into_iter();
    folders
        .map(|(path, held)| {
            let mut what: Vec<What> = held.messages.into_iter().map(|m| m.what).collect();
            what.sort();
            (path, what)
        })
        .filter(|(_, what)| !what.is_empty())
        .collect()
}

fn stored(json: &Value) -> u64 {
    assert_eq!(
        (json["messages"]["skipped"].as_u64(), json["messages"]["unknown"].as_u64()),
        (Some(0), Some(0)),
        "{json}"
    );
    json["messages"]["stored"].as_u64().expect("a number")
}

fn there_and_back(source: &impl ImapServer, target: &impl ImapServer) {
    let count = fill(source);
    let works = works(&source.reach(), &target.reach());
    assert_eq!(stored(&works.verb("run")), count as u64);
    for user in USERS {
        assert_eq!(holds(source, user), holds(target, user), "{user}");
    }
    assert_eq!(stored(&works.verb("run")), 0, "the second pass finds nothing to do");
    // New, flagged, moved and removed mail.
    for user in USERS {
        let mut client = source.client(user);
        client.append(&["INBOX"], b"Subject: new\r\n\r\nx\r\n", "", None);
        let uids = client.uids(&["INBOX"]);
        client.set_flags(&["INBOX"], uids[0], "\\Seen \\Flagged later");
        client.move_to(&["INBOX"], uids[1], &["v1,2"]);
        client.expunge(&["INBOX"], uids[2]);
    }
    works.verb("run");
    for user in USERS {
        let mut there = holds(target, user);
        // Removed copies lie in the trash.
        let trash: BTreeSet<Vec<String>> = there.keys().filter(|p| p[0] == "Trash").cloned().collect();
        trash.iter().for_each(|path| drop(there.remove(path)));
        assert_eq!(holds(source, user), there, "{user}");
    }
    assert_eq!(stored(&works.verb("run")), 0);
}

#[test]
fn mail_moves_between_two_dovecots_whole_and_later_passes_follow() {
    let (Some(source), Some(target)) = (Dovecot::start(), Dovecot::start()) else { return };
    there_and_back(&source, &target);
}

#[test]
fn folders_are_subscribed_to_as_their_originals_are() {
    let (Some(source), Some(target)) = (Dovecot::start(), Dovecot::start()) else { return };
    fill(&source);
    let subscribed = |server: &Dovecot| {
        let (text, _) = server.client(USERS[0]).run(&[b"LSUB \"\" *"]);
        let mut names: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        names.retain(|line| line.starts_with("* LSUB"));
        names.sort();
        names
    };
    let mut client = source.client(USERS[0]);
    client.run(&[b"SUBSCRIBE \"50% Rabatt\""]);
    client.run(&[b"SUBSCRIBE Sent"]);
    client.run(&[b"SUBSCRIBE INBOX"]);
    let meant = subscribed(&source);
    assert_eq!(meant.len(), 3);
    works(&source.reach(), &target.reach()).verb("run");
    assert_eq!(subscribed(&target), meant);
}

#[test]
fn mail_moves_into_a_dovecot_with_another_separator_and_a_prefix() {
    let options =
        dovecot::Options { separator: '.', prefix: "INBOX.".to_owned(), ..dovecot::Options::default() };
    let (Some(source), Some(target)) = (Dovecot::start(), Dovecot::with(&options)) else { return };
    let count = fill(&source);
    let works = works(&source.reach(), &target.reach());
    assert_eq!(stored(&works.verb("run")), count as u64);
    for user in USERS {
        assert_eq!(holds(&source, user), holds(&target, user), "{user}");
    }
    assert_eq!(stored(&works.verb("run")), 0);
}

#[test]
fn mail_moves_into_a_cyrus_whatever_it_calls_the_folders() {
    let (Some(source), Some(target)) = (Dovecot::start(), Cyrus::start()) else { return };
    let count = fill(&source);
    let there = works(&source.reach(), &target.reach());
    assert_eq!(stored(&there.verb("run")), count as u64);
    assert_eq!(stored(&there.verb("run")), 0);
    // It takes no `\` and no `"` in names, and would turn the first second of 1970 into now: it gets the next.
    for user in USERS {
        let mut meant = messages(&source, user);
        meant.iter_mut().for_each(|m| m.received = m.received.max(1));
        meant.sort();
        assert_eq!(meant, messages(&target, user), "{user}");
    }
}

/// What all folders hold together, as a multiset.
fn messages(server: &impl ImapServer, user: &str) -> Vec<What> {
    let mut all: Vec<What> = holds(server, user).into_values().flatten().collect();
    all.sort();
    all
}
