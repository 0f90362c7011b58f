//! The quickstart as a user sees it, and what it moved compared with the fixtures, which are read here once more by
//! other means than the crate's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mail_parser::{MessageParser, MimeHeaders, PartType};
use mailwave::mock::graph::{AttachmentTruth, GraphMock, GraphOptions, MessageTruth, Truth};
use mailwave::mock::server::RealWorld;
use mailwave::model::Timestamp;
use serde_json::Value;

use crate::cli::{Said, said};

const CONFIG: &str = "fixtures/quickstart/mailwave.toml";

/// A copy of the fixtures, as in a fresh checkout: with file times of now.
fn checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), &dir.path().join("fixtures"));
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn run(dir: &Path, more: &[&str]) -> Said {
    said(dir, &[&["run", CONFIG], more].concat())
}

fn json(said: &Said) -> Value {
    assert_eq!(said.out.lines().count(), 1, "one object: {}", said.out);
    serde_json::from_str(&said.out).unwrap()
}

/// What the mock holds, read from its state.
fn truth(dir: &Path) -> Truth {
    let state = dir.join("quickstart-out/mock-graph");
    GraphMock::open(&state, GraphOptions::default(), Arc::new(RealWorld)).unwrap().truth()
}

/// Every file but those below `quickstart-out`, with its octets.
fn outside(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path != dir.join("quickstart-out") {
                    all.insert(path.clone(), Vec::new());
                    todo.push(path);
                }
            } else {
                all.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn the_first_run_moves_every_message_and_says_so() {
    let dir = checkout();
    let before = outside(dir.path());
    let first = run(dir.path(), &[]);
    assert_eq!(first.code, 0, "{}", first.err);
    let header = first.out.lines().next().unwrap();
    assert!(header.starts_with("csv line") && header.ends_with("verdict"), "{header}");
    let rows: Vec<&str> = first.out.lines().skip(1).filter(|l| !l.contains(": ")).collect();
    assert!(rows.len() >= 6, "{}", first.out);
    for row in rows {
        assert!(row.ends_with("good") || row.ends_with("perfect"), "a verdict per mailbox: {row}");
    }
    let report = first.err.lines().find_map(|l| l.strip_prefix("Report: ")).expect("where the report lies");
    assert!(fs::read_to_string(dir.path().join(report)).unwrap().contains("good"));
    assert!(outside(dir.path()) == before, "all it writes lies below quickstart-out");

    let expected = fixtures(dir.path());
    let total: usize = expected.values().map(Vec::len).sum();
    assert!((250..=350).contains(&total), "about 300 messages: {total}");
    let line = format!("{total} copies at the target, {total} in the ledger.");
    assert!(first.err.contains(&line), "{}", first.err);
    let truth = truth(dir.path());
    assert_eq!(truth.pending, 0);
    assert!(truth.counters.violations.is_empty(), "{:?}", truth.counters.violations);
    let got = arrived(&truth, &expected);
    let count = |all: &Moved| -> BTreeMap<_, _> { all.iter().map(|(k, v)| (k.clone(), v.len())).collect() };
    assert_eq!(count(&got), count(&expected), "messages per folder");
    let pairs = expected.iter().flat_map(|(place, meant)| got[place].iter().zip(meant));
    let unlike: Vec<_> = pairs.filter(|(got, meant)| got != meant).collect();
    assert!(unlike.is_empty(), "{} arrived otherwise: {unlike:#?}", unlike.len());
    // The fixtures are worth comparing.
    let all: Vec<&Moving> = expected.values().flatten().collect();
    for mark in 0..4 {
        assert!(all.iter().any(|m| m.marks[mark]) && all.iter().any(|m| !m.marks[mark]));
    }
    let many = |what: fn(&&&Moving) -> bool| all.iter().filter(what).count();
    assert!(many(|m| !m.files.is_empty()) >= 30 && many(|m| m.text.is_some()) >= 30);
    assert!(many(|m| !m.categories.is_empty()) >= 20 && many(|m| m.message_id.is_empty()) >= 1);
}

#[test]
fn a_second_run_compares_the_targets_truth_and_writes_nothing() {
    let dir = checkout();
    let first = json(&run(dir.path(), &["--json"]));
    let total = first["messages"]["stored"].as_u64().unwrap();
    assert_eq!(first["copies"]["at_target"], total);
    let content = fs::read(dir.path().join("quickstart-out/mock-graph/content.bin")).unwrap();
    let before = truth(dir.path());

    let second = run(dir.path(), &[]);
    assert_eq!(second.code, 0, "{}", second.err);
    let line = format!("{total} copies at the target, {total} in the ledger, nothing written to the target.");
    assert!(second.err.contains(&line), "{}", second.err);
    let after = truth(dir.path());
    assert_eq!(after.counters.writes(), before.counters.writes(), "no write of any kind");
    assert_eq!(after.counters.uploaded_bytes > 0, before.counters.uploaded_bytes > 0);
    assert!(after.counters.requests > before.counters.requests, "the target was asked");
    assert!(after.mailboxes == before.mailboxes, "not a thing is other than before");
    assert!(fs::read(dir.path().join("quickstart-out/mock-graph/content.bin")).unwrap() == content);

    let third = json(&run(dir.path(), &["--json"]));
    assert_eq!((&third["messages"]["stored"], &third["bytes"]), (&0.into(), &0.into()));
    assert_eq!(third["messages"]["already_there"], total);
    assert_eq!(third["copies"], serde_json::json!({ "at_target": total, "in_ledger": total }));
}

#[test]
fn an_emptied_target_is_noticed_and_left_alone_until_told_to_start_over() {
    let dir = checkout();
    let total = json(&run(dir.path(), &["--json"]))["messages"]["stored"].as_u64().unwrap();
    fs::remove_dir_all(dir.path().join("quickstart-out/mock-graph")).unwrap();

    let noticed = run(dir.path(), &[]);
    assert_eq!(noticed.code, 2, "{}", noticed.err);
    assert!(noticed.err.contains("Nothing written to the target."), "{}", noticed.err);
    assert_eq!(noticed.err.matches("run again with --start-over").count(), 6, "what to do: {}", noticed.err);
    let empty = truth(dir.path());
    assert_eq!(empty.counters.writes(), 0, "nothing is written");
    assert!(empty.mailboxes.values().flat_map(|m| m.folders.values()).all(|f| f.messages.is_empty()));
    let again = json(&run(dir.path(), &["--json"]));
    assert_eq!((&again["exit_code"], &again["failed"]), (&2.into(), &6.into()), "and again");
    assert_eq!(truth(dir.path()).counters.writes(), 0);

    let anew = run(dir.path(), &["--json", "--start-over"]);
    assert_eq!(anew.code, 0, "{}", anew.err);
    let anew = json(&anew);
    assert_eq!(anew["messages"]["stored"], total, "all of it is copied again");
    let expected = fixtures(dir.path());
    assert!(arrived(&truth(dir.path()), &expected) == expected);
    let after = json(&run(dir.path(), &["--json"]));
    assert_eq!((&after["messages"]["stored"], &after["copies"]["at_target"]), (&0.into(), &total.into()));
}

#[test]
fn verify_status_and_report_tell_the_same_of_it() {
    let dir = checkout();
    let total = json(&run(dir.path(), &["--json"]))["messages"]["stored"].as_u64().unwrap();
    let writes = truth(dir.path()).counters.writes();

    let verified = said(dir.path(), &["verify", "--json", CONFIG]);
    assert_eq!(verified.code, 0, "{}", verified.err);
    let verified = json(&verified);
    assert_eq!(verified["equal"], true);
    assert_eq!((&verified["recorded"], &verified["at_target"]), (&total.into(), &total.into()));
    let mailboxes = verified["mailboxes"].as_array().unwrap();
    assert!(mailboxes.len() >= 6 && mailboxes.iter().all(|m| m["equal"] == true));

    let status = json(&said(dir.path(), &["status", "--json", CONFIG]));
    assert_eq!((&status["totals"]["messages"], &status["totals"]["failed"]), (&total.into(), &0.into()));
    let copies: u64 =
        status["mailboxes"].as_array().unwrap().iter().filter_map(|m| m["messages"].as_u64()).sum();
    assert_eq!(copies, total);

    let report = said(dir.path(), &["report", CONFIG, "--out", "elsewhere"]);
    assert_eq!(report.code, 0, "{}", report.err);
    let written: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("elsewhere/report.json")).unwrap()).unwrap();
    assert_eq!(written["totals"]["messages"], total);
    let rows = fs::read_to_string(dir.path().join("elsewhere/report-mailboxes.csv")).unwrap();
    assert_eq!(rows.lines().count(), mailboxes.len() + 1, "{rows}");
    assert_eq!(truth(dir.path()).counters.writes(), writes, "looking writes nothing");

    // A copy taken away behind our back is missed by name, and by its exit code.
    let state = dir.path().join("quickstart-out/mock-graph/state.json");
    let mut target: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    take_one(&mut target);
    fs::write(&state, target.to_string()).unwrap();
    let missed = said(dir.path(), &["verify", "--json", CONFIG]);
    assert_eq!(missed.code, 1, "{}", missed.err);
    let missed = json(&missed);
    assert_eq!((&missed["equal"], &missed["at_target"]), (&false.into(), &(total - 1).into()));
}

/// Takes the last item of the first mailbox out of a saved state.
fn take_one(state: &mut Value) {
    let mailbox = &mut state["mailboxes"][0];
    let number = match &mut mailbox["items"] {
        Value::Object(items) => {
            let last = items.keys().next_back().unwrap().clone();
            items.remove(&last).unwrap()["number"].clone()
        }
        Value::Array(items) => items.pop().unwrap()["number"].clone(),
        other => panic!("items: {other}"),
    };
    let folders: Vec<&mut Value> = match &mut mailbox["folders"] {
        Value::Object(folders) => folders.values_mut().collect(),
        Value::Array(folders) => folders.iter_mut().collect(),
        other => panic!("folders: {other}"),
    };
    for folder in folders {
        if let Some(items) = folder["items"].as_array_mut() {
            items.retain(|n| *n != number);
        }
    }
}

/// What is true of a message on either side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Moving {
    received: i64,
    /// Without its brackets; empty if the fixture has none.
    message_id: String,
    subject: String,
    /// Read, draft, flagged, answered.
    marks: [bool; 4],
    categories: Vec<String>,
    /// BLAKE3 of each file's octets, and the subject of each attached message, sorted. Of S/MIME only the signed entity, of
    /// other signed and encrypted mail only the whole original.
    files: Vec<String>,
    /// BLAKE3 of the text, of mail that is nothing but plain text.
    text: Option<String>,
}

/// By target mailbox and folder; sorted.
type Moved = BTreeMap<(String, String), Vec<Moving>>;

fn digest(octets: &[u8]) -> String {
    blake3::hash(octets).to_string()
}

/// The mock's truth in the same terms.
fn arrived(truth: &Truth, expected: &Moved) -> Moved {
    let mut all = Moved::new();
    for (address, mailbox) in &truth.mailboxes {
        for (path, folder) in mailbox.folders.iter().filter(|(_, f)| !f.messages.is_empty()) {
            let place = (address.clone(), path.clone());
            let meant = expected.get(&place).map_or(&[][..], Vec::as_slice);
            let mut messages: Vec<Moving> = folder.messages.iter().map(|m| moving(m, meant)).collect();
            messages.sort();
            all.insert(place, messages);
        }
    }
    all
}

fn moving(m: &MessageTruth, meant: &[Moving]) -> Moving {
    let number = |part: &str| part.parse::<u32>().unwrap();
    let r = &m.received;
    let (h, min, s) = (number(&r[11..13]), number(&r[14..16]), number(&r[17..19]));
    let received =
        Timestamp::from_civil(r[..4].parse().unwrap(), number(&r[5..7]), number(&r[8..10]), h, min, s, 0);
    let received = received.unwrap().seconds;
    let id = m.internet_message_id.trim_matches(['<', '>']);
    let subject = m.subject.clone().unwrap_or_default();
    // The service makes an id where there is none.
    let ours = meant.iter().find(|w| w.message_id == id);
    let twin = ours.or_else(|| meant.iter().find(|w| w.received == received && w.subject == subject));
    let told = |a: &AttachmentTruth| match a.kind.as_str() {
        "item" => format!("message {}", a.name),
        _ => a.digest.clone(),
    };
    let mut files: Vec<String> = m.attachments.iter().map(told).collect();
    if let Some([original]) = twin.map(|w| &w.files[..])
        && m.attachments.iter().any(|a| a.name == "original-message.eml" && a.digest == *original)
    {
        files = vec![original.clone()];
    }
    files.sort();
    let verb = m.tagged.get("Integer 0x1081").map(String::as_str);
    let mut categories = m.categories.clone();
    categories.sort();
    if verb == Some("104") {
        categories.push("(forwarded)".to_owned());
    }
    Moving {
        received,
        message_id: if ours.is_some() { id.to_owned() } else { String::new() },
        subject,
        marks: [m.is_read, m.is_draft, m.flag == "flagged", verb == Some("102")],
        categories,
        files,
        text: twin.and_then(|w| w.text.as_ref()).map(|_| m.body_digest.clone()),
    }
}

/// A message as it lies in the fixtures, with what its store says of it.
struct Lying {
    octets: Vec<u8>,
    received: i64,
    seen: bool,
    draft: bool,
    flagged: bool,
    answered: bool,
    forwarded: bool,
    keywords: Vec<String>,
}

fn crlf(octets: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = octets.iter().copied().filter(|b| *b != b'\r').collect();
    text.iter().flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] }).collect()
}

/// A message without the fields that are about the message and not about what it holds.
fn signed_entity(octets: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(octets.to_vec()).expect("these fixtures are text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    let unfolded = head.replace("\r\n ", "\0 ").replace("\r\n\t", "\0\t");
    let content = unfolded.split("\r\n").filter(|f| f.to_lowercase().starts_with("content-"));
    let head: String = content.map(|f| f.replace('\0', "\r\n") + "\r\n").collect();
    format!("{head}\r\n{body}").into_bytes()
}

/// A message in the terms of the comparison, read by mail-parser.
fn meant(lying: Lying) -> Moving {
    let octets = crlf(&lying.octets);
    let parsed = MessageParser::default().parse(&octets).unwrap_or_default();
    let of_type = |main: &str, subs: &[&str]| {
        parsed.parts.iter().filter_map(MimeHeaders::content_type).any(|t| {
            t.ctype().eq_ignore_ascii_case(main)
                && subs.iter().any(|s| t.subtype().is_some_and(|sub| sub.eq_ignore_ascii_case(s)))
        })
    };
    let guarded = of_type("multipart", &["signed", "encrypted"])
        || of_type("application", &["pkcs7-mime", "x-pkcs7-mime"]);
    // Octets as they are, or decoded: mail-parser turns texts into Unicode, and a file is no text.
    let file = |part: &mail_parser::MessagePart<'_>| match (part.encoding, &part.body) {
        (_, PartType::Message(nested)) => format!("message {}", nested.subject().unwrap_or_default()),
        (mail_parser::Encoding::None, _) => {
            digest(&octets[part.raw_body_offset() as usize..part.raw_end_offset() as usize])
        }
        _ => digest(part.contents()),
    };
    let mut files: Vec<String> = parsed.attachments().map(file).collect();
    if of_type("application", &["pkcs7-signature"]) {
        files = vec![digest(&signed_entity(&octets))];
    } else if guarded {
        files = vec![digest(&octets)];
    }
    files.sort();
    let plain = parsed.parts.len() == 1
        && parsed.parts[0].content_type().is_none_or(|t| t.ctype() == "text" && t.subtype() == Some("plain"));
    let mut categories = lying.keywords;
    if lying.forwarded && lying.answered {
        categories.push("$Forwarded".to_owned()); // there is one verb for both
    }
    categories.sort();
    if lying.forwarded && !lying.answered {
        categories.push("(forwarded)".to_owned());
    }
    // Octets that are no UTF-8 are Latin-1 in these fixtures.
    let octets_of = |l: &&[u8]| l.starts_with(b"Subject: ") && std::str::from_utf8(l).is_err();
    let bare = octets.split(|b| *b == b'\n').take_while(|l| *l != b"\r").find(octets_of);
    let bare = bare.map(|l| l[9..].iter().map(|b| char::from(*b)).collect::<String>().trim().to_owned());
    Moving {
        received: lying.received,
        message_id: parsed.message_id().unwrap_or_default().to_owned(),
        subject: short(bare.unwrap_or_else(|| parsed.subject().unwrap_or_default().to_owned())),
        marks: [lying.seen, lying.draft, lying.flagged, lying.answered],
        categories,
        files,
        text: plain.then(|| digest(&crlf(parsed.body_text(0).unwrap_or_default().as_bytes()))),
    }
}

/// The target takes 255 characters of a subject; a cut is marked, and declared.
fn short(subject: String) -> String {
    if subject.chars().count() <= 255 {
        return subject;
    }
    subject.chars().take(254).chain(['…']).collect()
}

/// Source folders with a role, and the target's own folders for them.
fn place(names: &[String]) -> String {
    match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["INBOX"] => "Inbox".to_owned(),
        ["Sent"] => "Sent Items".to_owned(),
        ["Trash"] => "Deleted Items".to_owned(),
        ["Junk"] => "Junk Email".to_owned(),
        ["Entwürfe"] => "Drafts".to_owned(),
        _ => names.join("/"),
    }
}

/// All fixtures, by the rows of the list.
fn fixtures(dir: &Path) -> Moved {
    let root = dir.join("fixtures/quickstart");
    let mut all = Moved::new();
    for row in fs::read_to_string(root.join("mailboxes.csv")).unwrap().lines().skip(1) {
        let [source, target, endpoint] = row.split(',').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let folders = match endpoint {
            "archive" => maildir(&root.join("maildir").join(source)),
            _ => mbox_tree(&root.join("mbox").join(source), &[]),
        };
        for (names, lying) in folders {
            let place = (target.to_owned(), place(&names));
            all.entry(place).or_default().push(meant(lying));
        }
    }
    all.values_mut().for_each(|messages| messages.sort());
    all
}

/// Modified UTF-7 (RFC 3501 §5.1.3), by hand.
fn unicode(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((plain, coded)) = rest.split_once('&') {
        let (coded, after) = coded.split_once('-').unwrap();
        out.push_str(plain);
        let (mut bits, mut held, mut units) = (0u32, 0, Vec::new());
        for c in coded.bytes() {
            const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";
            bits = bits << 6 | DIGITS.iter().position(|d| *d == c).unwrap() as u32;
            held += 6;
            if held >= 16 {
                held -= 16;
                units.push((bits >> held) as u16);
                bits &= (1 << held) - 1;
            }
        }
        out.push_str(&if coded.is_empty() { "&".to_owned() } else { String::from_utf16(&units).unwrap() });
        rest = after;
    }
    out + rest
}

fn maildir(root: &Path) -> Vec<(Vec<String>, Lying)> {
    let mut all = Vec::new();
    let mut folders = vec![(vec!["INBOX".to_owned()], root.to_path_buf())];
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // A name of a plain "&" followed by other letters than its code's is text as it is.
        let coded = |n: &str| if n == "R&D" { n.to_owned() } else { unicode(n) };
        if let Some(names) = name.strip_prefix('.') {
            folders.push((names.split('.').map(coded).collect(), path));
        }
    }
    for (names, dir) in folders {
        let keywords = fs::read_to_string(dir.join("dovecot-keywords")).unwrap_or_default();
        let keywords: BTreeMap<char, &str> = keywords
            .lines()
            .map(|l| l.split_once(' ').unwrap())
            .map(|(n, k)| (char::from(b'a' + n.parse::<u8>().unwrap()), k))
            .collect();
        for sub in ["cur", "new"].map(|s| dir.join(s)).iter().filter(|s| s.is_dir()) {
            for entry in fs::read_dir(sub).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let flags = name.split_once(":2,").map_or("", |(_, f)| f);
                let has = |c| flags.contains(c);
                let lying = Lying {
                    octets: fs::read(&path).unwrap(),
                    received: name.split('.').next().unwrap().parse().unwrap(),
                    seen: has('S'),
                    draft: has('D'),
                    flagged: has('F'),
                    answered: has('R'),
                    forwarded: has('P'),
                    keywords: keywords
                        .iter()
                        .filter(|(c, _)| has(**c))
                        .map(|(_, k)| (*k).to_owned())
                        .collect(),
                };
                all.push((names.clone(), lying));
            }
        }
    }
    all
}

fn mbox_tree(at: &Path, above: &[String]) -> Vec<(Vec<String>, Lying)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".mbox").to_owned();
        let stem = if above.is_empty() && stem == "Inbox" { "INBOX".to_owned() } else { stem };
        let names = [above, &[stem]].concat();
        if path.is_dir() {
            all.extend(mbox_tree(&path, &names));
        } else {
            let octets = fs::read(&path).unwrap();
            all.extend(
                mbox(&octets)
                    .into_iter()
                    .map(|(place, lying)| (place.unwrap_or_else(|| names.clone()), lying)),
            );
        }
    }
    all
}

/// One file; the place is given by labels, if it has them.
fn mbox(octets: &[u8]) -> Vec<(Option<Vec<String>>, Lying)> {
    let octets: Vec<u8> = octets.iter().copied().filter(|b| *b != b'\r').collect();
    let lines: Vec<&[u8]> = octets.split_inclusive(|b| *b == b'\n').collect();
    let mut all = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let from = String::from_utf8(lines[at].to_vec()).unwrap();
        at += 1;
        let mut header: Vec<&[u8]> = Vec::new();
        while lines[at] != b"\n" {
            header.push(lines[at]);
            at += 1;
        }
        at += 1;
        let field = |name: &str| {
            let of = |l: &&&[u8]| {
                l.len() > name.len()
                    && l[..name.len()].eq_ignore_ascii_case(name.as_bytes())
                    && l[name.len()] == b':'
            };
            header.iter().find(of).map(|l| String::from_utf8_lossy(&l[name.len() + 1..]).trim().to_owned())
        };
        let mut body = Vec::new();
        if let Some(length) = field("Content-Length") {
            let length: usize = length.parse().unwrap();
            while body.len() < length {
                body.extend_from_slice(lines[at]);
                at += 1;
            }
            assert_eq!(body.len(), length, "a length that ends with a line");
            at += usize::from(lines.get(at) == Some(&&b"\n"[..]));
        } else {
            while at < lines.len() && !(lines[at].starts_with(b"From ") && lines[at - 1] == b"\n") {
                let marks = lines[at].iter().take_while(|b| **b == b'>').count();
                let quoted = marks > 0 && lines[at][marks..].starts_with(b"From ");
                body.extend_from_slice(&lines[at][usize::from(quoted)..]);
                at += 1;
            }
            assert_eq!(body.pop(), Some(b'\n'), "a blank line ends each");
        }
        let status = field("Status").unwrap_or_default() + &field("X-Status").unwrap_or_default();
        let has = |c| status.contains(c);
        let mut lying = Lying {
            octets: Vec::new(),
            received: postmark(&from),
            seen: has('R'),
            draft: has('T'),
            flagged: has('F'),
            answered: has('A'),
            forwarded: false,
            keywords: field("X-Keywords").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        };
        let labels = field("X-Gmail-Labels").map(|coded| labels(&coded));
        let taken = ["Status", "X-Status", "X-Keywords", "X-Gmail-Labels", "Content-Length"];
        let kept = header.iter().filter(|l| !taken.iter().any(|t| l.starts_with(format!("{t}:").as_bytes())));
        lying.octets = [kept.copied().collect::<Vec<_>>().concat(), b"\n".to_vec(), body].concat();
        let place = labels.map(|labels| filed(&labels, &mut lying));
        all.push((place, lying));
    }
    all
}

/// `From x Wed Jan  1 08:35:54 2020`, or with a zone before the year.
fn postmark(line: &str) -> i64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|m| *m == words[3]).unwrap() as u32 + 1;
    let time: Vec<u32> = words[5].split(':').map(|n| n.parse().unwrap()).collect();
    let year = words.last().unwrap().parse().unwrap();
    assert!(words.len() == 7 || words[6] == "+0000", "{line}");
    Timestamp::from_civil(year, month, words[4].parse().unwrap(), time[0], time[1], time[2], 0)
        .unwrap()
        .seconds
}

/// The labels as text: encoded words are those of any header field (RFC 2047).
fn labels(coded: &str) -> String {
    let header = format!("Subject: {coded}\r\n\r\n");
    let text = MessageParser::default().parse(header.as_bytes()).unwrap().subject().unwrap().to_owned();
    assert!(!text.contains("=?"), "decoded: {text}");
    text
}

/// The folder of a message with labels: the first a user made, else the first role; the rest are marks and keywords.
fn filed(labels: &str, lying: &mut Lying) -> Vec<String> {
    let all: Vec<&str> = labels.split(',').map(str::trim).collect();
    let has = |l: &str| all.contains(&l);
    let roles = [
        ("Inbox", "INBOX"),
        ("Sent", "Sent"),
        ("Drafts", "Drafts"),
        ("Spam", "Junk"),
        ("Trash", "Trash"),
        ("Archived", "Archive"),
    ];
    let marks = ["Starred", "Unread", "Opened", "Important"];
    let own: Vec<&str> =
        all.iter().copied().filter(|l| !roles.iter().any(|(r, _)| r == l) && !marks.contains(l)).collect();
    let home = own.iter().find(|l| !l.starts_with("Category ")).copied();
    lying.seen = !has("Unread");
    lying.flagged = has("Starred");
    lying.draft = has("Drafts");
    lying.keywords = own.iter().filter(|l| Some(**l) != home).map(|l| l.replace(' ', "_")).collect();
    if has("Important") {
        lying.keywords.push("$Important".to_owned());
    }
    match home {
        Some(home) => home.split('/').map(str::to_owned).collect(),
        None => vec![roles.iter().find(|(l, _)| has(l)).map_or("Archive", |(_, name)| name).to_owned()],
    }
}
