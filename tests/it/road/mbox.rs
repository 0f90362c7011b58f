//! mbox files of three dialects to Maildirs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::arrived::{maildir_holds, snapshot};
use super::office::{Done, Folders, Names};
use super::works::Works;
use crate::support::mailgen::{Mail, MailGen};

/// How a program writes its mboxes.
#[derive(Clone, Copy)]
struct Dialect {
    name: &'static str,
    /// `>*From ` gets one more `>`; else the length is told.
    quotes: bool,
    crlf: bool,
}

const DIALECTS: [Dialect; 3] = [
    Dialect { name: "mboxrd", quotes: true, crlf: false },
    Dialect { name: "mboxcl2", quotes: false, crlf: false },
    Dialect { name: "auto", quotes: true, crlf: true },
];

const FILES: &[(&[&str], &str)] = &[
    (&["INBOX"], "Inbox"),
    (&["Sent"], "Sent.mbox"),
    (&["Projekte", "Köln & Bonn"], "Projekte.sbd/Köln & Bonn.mbox"),
    (&["quote\"d"], "quote\"d"),
    (&["50% Rabatt"], "50% Rabatt.mbox"),
    (&["back\\slash"], "back\\slash.mbox"),
    (&[" leading blank"], " leading blank"),
    (&["Rabatt 100%"], "Rabatt 100%.mbox"),
];

fn file_of(names: &[&str]) -> &'static str {
    FILES.iter().find(|(known, _)| *known == names).expect("a known folder").1
}

/// Writes a mailbox as a tree of mboxes.
fn write(root: &Path, folders: &Folders, dialect: Dialect) {
    let _ = fs::remove_dir_all(root);
    for (names, mail) in folders {
        let path = root.join(file_of(names));
        fs::create_dir_all(path.parent().expect("it has one")).expect("mkdir");
        let text: Vec<u8> = mail.iter().flat_map(|m| entry(m, dialect)).collect();
        fs::write(path, text).expect("write");
    }
}

/// One message with its From_ line, the fields mail programs keep their notes in, and the blank line behind it.
fn entry(mail: &Mail, dialect: Dialect) -> Vec<u8> {
    let has = |flag: &str| mail.flags.contains(&flag);
    let received =
        jiff::Timestamp::from_second(mail.received).expect("a date").to_zoned(jiff::tz::TimeZone::UTC);
    let text: Vec<u8> = mail.octets.iter().copied().filter(|b| *b != b'\r').collect();
    let end = text.windows(2).position(|w| w == b"\n\n").expect("a header block") + 1;
    let (head, body) = text.split_at(end);
    let mut out =
        format!("From sender@example.org {}\n", received.strftime("%a %b %e %H:%M:%S %Y")).into_bytes();
    out.extend_from_slice(head);
    out.extend_from_slice(if has("\\Seen") { b"Status: RO\n" } else { b"Status: O\n" });
    let letters: String = [("\\Answered", 'A'), ("\\Flagged", 'F'), ("\\Draft", 'T')]
        .into_iter()
        .filter_map(|(flag, letter)| has(flag).then_some(letter))
        .collect();
    let keywords: Vec<&str> = mail.flags.iter().copied().filter(|f| !f.starts_with('\\')).collect();
    out.extend_from_slice(format!("X-Status: {letters}\nX-Keywords: {}\n", keywords.join(" ")).as_bytes());
    if !dialect.quotes {
        // The blank line between the header block and the body is not counted.
        out.extend_from_slice(format!("Content-Length: {}\n", body.len() - 1).as_bytes());
    }
    for line in body.split_inclusive(|b| *b == b'\n') {
        let marks = line.iter().take_while(|b| **b == b'>').count();
        if dialect.quotes && line[marks..].starts_with(b"From ") {
            out.push(b'>');
        }
        out.extend_from_slice(line);
    }
    out.push(b'\n');
    if dialect.crlf {
        return out
            .iter()
            .flat_map(|b| if *b == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(b) })
            .copied()
            .collect();
    }
    out
}

/// The next message that an mbox can hold: it has a header block that ends, and a last line that does.
fn next(made: &mut MailGen, odd: bool) -> Mail {
    loop {
        let mail = if odd { made.odd() } else { made.next() };
        if mail.octets.ends_with(b"\r\n") && mail.octets.windows(4).any(|w| w == b"\r\n\r\n") {
            return mail;
        }
    }
}

fn mailbox(made: &mut MailGen) -> Folders {
    let mut folders = Folders::new();
    for (names, _) in FILES.iter().filter(|(names, _)| *names != ["Rabatt 100%"]) {
        let mut held: Vec<Mail> = (0..20).map(|i| next(made, i % 9 == 4)).collect();
        held[1].received = 0;
        let twin = held[2].clone();
        held.push(twin);
        folders.insert(names.to_vec(), held);
    }
    let big = made.with_attachment(2_000_000);
    folders.get_mut(&["INBOX"][..]).expect("a folder").push(big);
    folders
}

/// What a person does between two passes.
fn change(folders: &mut Folders, made: &mut MailGen, done: &mut Done) {
    let folder = |folders: &mut Folders, names: &[&'static str]| -> Names {
        let names = names.to_vec();
        assert!(folders.contains_key(&names));
        names
    };
    let (inbox, sent) = (folder(folders, &["INBOX"]), folder(folders, &["Sent"]));
    // The inbox is compacted: a message leaves its middle, one goes to another folder, a new one comes.
    let inbox = folders.get_mut(&inbox).expect("a folder");
    inbox.remove(5);
    done.removed += 1;
    let moved = inbox.remove(8);
    done.moved += 1;
    let new = next(made, false);
    done.stored += 1;
    done.bytes += new.octets.len() as u64;
    inbox.push(new);
    let flagged = &mut inbox[6].flags;
    *flagged = if flagged.contains(&"\\Flagged") { vec!["\\Seen"] } else { vec!["\\Flagged", "Projekt-X"] };
    done.reflagged += 1;
    folders.get_mut(&sent).expect("a folder").insert(0, moved);
    // One of two twins goes.
    let quoted = folders.get_mut(&["quote\"d"][..]).expect("a folder");
    assert_eq!(quoted.pop().expect("a twin").octets, quoted[2].octets);
    done.removed += 1;
    let renamed = folders.remove(&["50% Rabatt"][..]).expect("a folder");
    folders.insert(vec!["Rabatt 100%"], renamed);
}

#[test]
fn mbox_trees_of_three_dialects_travel_to_maildirs_octet_by_octet_and_changes_follow() {
    let seed = 104;
    eprintln!("seed {seed}");
    let mut made = MailGen::new(seed, "example.org");
    let mut config = String::new();
    let mut rows = "source,target,source_endpoint\n".to_owned();
    let mut office: BTreeMap<String, (Folders, Dialect)> = BTreeMap::new();
    for (n, dialect) in DIALECTS.iter().cycle().take(2 * DIALECTS.len()).enumerate() {
        let name = dialect.name;
        rows.push_str(&format!("m{n},m{n},{name}\n"));
        office.insert(format!("m{n}"), (mailbox(&mut made), *dialect));
    }
    for Dialect { name, .. } in DIALECTS {
        config
            .push_str(&format!("[source.{name}]\nkind = \"mbox\"\nroot = \"mail\"\nquoting = \"{name}\"\n"));
    }
    let works =
        Works::new(&format!("{config}[target.files]\nkind = \"maildir\"\nroot = \"copies\"\n"), &rows);
    let (mail, root) = (works.path().join("mail"), works.path().join("copies"));
    let write_all = |office: &BTreeMap<String, (Folders, Dialect)>| {
        office.iter().for_each(|(name, (folders, dialect))| write(&mail.join(name), folders, *dialect));
        snapshot(&mail)
    };
    let holds = |office: &BTreeMap<String, (Folders, Dialect)>| {
        for (name, (folders, _)) in office {
            maildir_holds(name, &root.join(name), folders);
        }
    };
    let messages = |office: &BTreeMap<String, (Folders, Dialect)>| {
        office.values().flat_map(|(folders, _)| folders.values()).flatten().cloned().collect::<Vec<Mail>>()
    };

    let source = write_all(&office);
    let all = messages(&office);
    let bytes = all.iter().map(|m| m.octets.len() as u64).sum();
    works.run(Done { stored: all.len() as u64, bytes, ..Done::default() }, office.len(), all.len());
    holds(&office);
    assert!(snapshot(&mail) == source, "no file of the source was written");

    let mut done = Done::default();
    office.values_mut().for_each(|(folders, _)| change(folders, &mut made, &mut done));
    let source = write_all(&office);
    works.run(done, office.len(), messages(&office).len());
    holds(&office);
    assert!(snapshot(&mail) == source, "no file of the source was written");

    let before = snapshot(&root);
    works.run(Done::default(), office.len(), messages(&office).len());
    assert!(snapshot(&root) == before, "a third run writes nothing");
}
