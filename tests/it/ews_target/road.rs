//! Maildirs into a mock of Exchange in another process, through the program: what arrived is what was made; then people
//! change their mail, and another pass mirrors it; then a third writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use mailwave::mock::ews::Truth;

use crate::road::office::Done;
use crate::road::works::Works;

const USERS: [&str; 3] = ["anna", "ben", "carla"];

/// `mailwave mock ews` as a process of its own; ended when dropped.
pub struct Exchange {
    child: Child,
    home: tempfile::TempDir,
    url: String,
    truth: String,
    token: String,
}

impl Exchange {
    pub fn start() -> Exchange {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mailwave"))
            .current_dir(home.path())
            .args(["mock", "ews", "--truth", "127.0.0.1:0", "--ca", "ca.pem", "--tls"])
            .env_remove("MAILWAVE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut next = || lines.next().expect("a line").expect("text");
        let url = next().strip_prefix("url ").expect("its address").to_owned();
        let line = next();
        let (truth, token) =
            line.strip_prefix("truth http://").and_then(|l| l.split_once(' ')).expect("the truth");
        Exchange { url, truth: truth.to_owned(), token: token.to_owned(), child, home }
    }

    pub fn config(&self) -> String {
        format!(
            "[target.exchange]\nkind = \"ews\"\nurl = \"{}\"\nuser = 'EXAMPLE\\migrator'\n\
             password = {{ env = \"ROAD_GRAPH\" }}\nca_file = \"{}\"\n",
            self.url,
            self.home.path().join("ca.pem").display()
        )
    }

    pub fn truth(&self) -> Truth {
        let mut stream = TcpStream::connect(&self.truth).expect("the mock");
        let request = format!(
            "GET /truth HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.truth, self.token
        );
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a header") + 4;
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..end]));
        serde_json::from_slice(&answer[end..]).expect("the truth")
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Folder, digest, received, read, flagged.
type Seen = (String, String, String, bool, bool);

/// A Maildir++ tree: directory of a folder → its name at the target.
const FOLDERS: [(&str, &str); 4] =
    [("", "Inbox"), (".Sent", "Sent Items"), (".Projekte", "Projekte"), (".Projekte.2026", "Projekte/2026")];

fn put(root: &Path, folder: &str, number: u64, letters: &str) -> PathBuf {
    let cur = root.join(folder).join("cur");
    fs::create_dir_all(&cur).expect("dir");
    for below in ["new", "tmp"] {
        fs::create_dir_all(root.join(folder).join(below)).expect("dir");
    }
    let path = cur.join(format!("{}.M{number}P1.host:2,{letters}", 1_600_000_000 + number));
    let text = "lorem ipsum\r\n".repeat(usize::try_from(number % 97).expect("small") * 9);
    fs::write(&path, format!("Message-ID: <{number}@x>\r\nSubject: \u{fc} {number}\r\n\r\n{text}"))
        .expect("write");
    let file = fs::File::options().write(true).open(&path).expect("open");
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_500_000_000 + number)).expect("time");
    path
}

/// What the source holds, as the target should show it.
fn meant(root: &Path) -> BTreeMap<Seen, usize> {
    let mut all = BTreeMap::new();
    for (folder, name) in FOLDERS {
        for entry in fs::read_dir(root.join(folder).join("cur")).expect("dir") {
            let path = entry.expect("entry").path();
            let octets = fs::read(&path).expect("read");
            let at = fs::metadata(&path).expect("seen").modified().expect("time");
            let at = at.duration_since(UNIX_EPOCH).expect("later").as_secs();
            let received = mailwave::model::Timestamp::utc(i64::try_from(at).expect("small")).to_rfc3339();
            let letters = path.to_string_lossy().rsplit_once(":2,").expect("flags").1.to_owned();
            let digest = blake3::hash(&octets).to_hex().to_string();
            let seen = (name.to_owned(), digest, received, letters.contains('S'), letters.contains('F'));
            *all.entry(seen).or_default() += 1;
        }
    }
    all
}

fn holds(exchange: &Exchange, mails: &Path) {
    let truth = exchange.truth();
    assert_eq!(truth.mailboxes.len(), USERS.len());
    assert!(truth.counters.violations.is_empty(), "{:?}", truth.counters.violations);
    for user in USERS {
        let mailbox = &truth.mailboxes[&format!("{user}@target.example")];
        let mut found: BTreeMap<Seen, usize> = BTreeMap::new();
        let mut stamps = BTreeSet::new();
        for (path, folder) in mailbox.folders.iter().filter(|(path, _)| !path.contains("Recoverable Items")) {
            for m in &folder.messages {
                let received = format!("{}Z", &m.received[..19]);
                let seen = (path.clone(), m.mime_digest.clone(), received, m.is_read, m.flag == "Flagged");
                *found.entry(seen).or_default() += 1;
                assert!(!m.is_draft && m.from_mime);
                stamps.extend(m.named.values().flatten().cloned());
            }
        }
        assert!(found == meant(&mails.join(user)), "{user}\n{found:?}\n{:?}", meant(&mails.join(user)));
        assert_eq!(stamps.len(), found.values().sum::<usize>(), "{user}: each copy has its stamp");
    }
}

#[test]
fn maildirs_travel_to_exchange_and_changes_follow() {
    let exchange = Exchange::start();
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut rows = "source,target\n".to_owned();
    let mut all = Done::default();
    for (at, user) in USERS.into_iter().enumerate() {
        let root = home.path().join(user);
        for number in 0..60 {
            let (folder, _) = FOLDERS[number % FOLDERS.len()];
            let number = (at * 1000 + number) as u64;
            let path = put(&root, folder, number, ["", "S", "FS", "RS"][number as usize % 3]);
            all.stored += 1;
            all.bytes += fs::metadata(path).expect("seen").len();
        }
        rows.push_str(&format!("{user},{user}@target.example\n"));
    }
    let source = format!("[source.files]\nkind = \"maildir\"\nroot = \"{}\"\n", home.path().display());
    let works = Works::new(&format!("{source}{}", exchange.config()), &rows);
    let copies = usize::try_from(all.stored).expect("small");
    works.run(all, USERS.len(), copies);
    holds(&exchange, home.path());

    // Anna reads one, files one, deletes one and gets one.
    let anna = home.path().join("anna");
    let cur = |folder: &str| {
        let mut files: Vec<PathBuf> = fs::read_dir(anna.join(folder).join("cur"))
            .expect("dir")
            .map(|e| e.expect("entry").path())
            .collect();
        files.sort();
        files
    };
    let unread = cur("").into_iter().find(|p| p.to_string_lossy().ends_with(":2,")).expect("an unread one");
    fs::rename(&unread, format!("{}S", unread.display())).expect("rename");
    let filed = cur(".Sent").remove(0);
    fs::rename(&filed, anna.join(".Projekte/cur").join(filed.file_name().expect("name"))).expect("rename");
    fs::remove_file(cur(".Projekte.2026").remove(0)).expect("remove");
    let new = put(&anna, ".Sent", 777, "");
    let bytes = fs::metadata(new).expect("seen").len();
    works.run(Done { stored: 1, moved: 1, removed: 1, reflagged: 1, bytes }, USERS.len(), copies);
    holds(&exchange, home.path());

    let writes = exchange.truth().counters.writes();
    works.run(Done::default(), USERS.len(), copies);
    assert_eq!(works.verb("verify")["exit_code"], 0);
    assert_eq!(exchange.truth().counters.writes(), writes, "a third run writes nothing");
}

#[test]
fn what_exchange_makes_of_the_canaries_is_told() {
    let exchange = Exchange::start();
    let home = tempfile::tempdir().expect("a temporary folder");
    let source = "source_name = \"acme\"\n\n[source.files]\nkind = \"maildir\"\nroot = \"in\"\n";
    fs::write(home.path().join("mailwave.toml"), format!("{source}{}", exchange.config())).expect("write");
    fs::write(home.path().join("mailboxes.csv"), "source,target\nanna,anna@target.example\n").expect("write");
    let checked = Command::new(env!("CARGO_BIN_EXE_mailwave"))
        .current_dir(home.path())
        .args(["check", "mailwave.toml", "--canary", "exchange", "canary@target.example"])
        .env_remove("MAILWAVE_LOG")
        .env("ROAD_GRAPH", "secret")
        .output()
        .expect("the program");
    let (out, err) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert_eq!(checked.status.code(), Some(0), "{out}{err}");
    for canary in ["plain, read", "plain, unread", "draft", "8-bit", "attachment of 30 MB"] {
        let row =
            out.lines().find(|line| line.starts_with(canary)).unwrap_or_else(|| panic!("{canary}: {out}"));
        assert!(row.contains("CreateItem") && row.contains("kept"), "{row}");
        assert!(!row.contains("not tried"), "{row}");
    }
    let truth = exchange.truth();
    assert!(truth.counters.violations.is_empty(), "{:?}", truth.counters.violations);
    let left = &truth.mailboxes["canary@target.example"].folders;
    let left: usize =
        left.iter().filter(|(name, _)| name.contains("canary")).map(|(_, f)| f.messages.len()).sum();
    assert_eq!(left, 0, "the canaries are gone");
}
