//! The command line, seen from outside: streams, exit codes, JSON, files it writes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary, in a directory, with nothing of the caller's environment that could change what it does.
pub fn mailwave(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailwave"));
    command.current_dir(dir).args(args).env_remove("MAILWAVE_LOG").stdin(Stdio::null());
    command
}

/// What it said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs it to its end. Whatever it says is text without a control octet: nobody here is a terminal.
pub fn said(dir: &Path, args: &[&str]) -> Said {
    let Output { status, stdout, stderr } = mailwave(dir, args).output().unwrap();
    let text = |octets: Vec<u8>| {
        let text = String::from_utf8(octets).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "control characters in {text:?}");
        text
    };
    Said { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

/// A configuration from Maildirs to Maildirs, and its list.
pub fn files_config(dir: &Path, rows: &str) {
    let config = "source_name = \"acme\"\n\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\n\
                  [target.new]\nkind = \"maildir\"\nroot = \"out\"\n";
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("mailboxes.csv"), format!("source,target\n{rows}")).unwrap();
}

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let dir = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&[][..], 64),
        (&["--bogus"], 64),
        (&["run"], 64),
        (&["fly", "mailwave.toml"], 64),
        (&["--log", "loud", "status", "x"], 64),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
    ] {
        let said = said(dir.path(), args);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        assert_eq!(said.out.is_empty(), code == 64, "data on stdout, talk on stderr: {args:?}");
        assert!(!said.err.contains("panicked"), "{}", said.err);
    }
    assert!(said(dir.path(), &["--help"]).out.contains("Exit codes: 0 perfect or good"));
}

#[test]
fn init_writes_a_configuration_that_parses_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = said(dir.path(), &["init", "--dir", "wave"]);
    assert_eq!((first.code, first.out.as_str()), (0, "wave/mailwave.toml\nwave/mailboxes.csv\n"));
    assert!(first.err.contains("mailwave run wave/mailwave.toml"));
    // It parses as it is: status reads it, and its list, whole.
    let status = said(dir.path(), &["status", "wave/mailwave.toml"]);
    assert_eq!(status.code, 0, "{}", status.err);

    fs::write(dir.path().join("wave/mailwave.toml"), "mine").unwrap();
    let again = said(dir.path(), &["init", "--dir", "wave"]);
    assert_eq!(again.code, 64);
    assert_eq!(
        again.err,
        "error: wave/mailwave.toml is there already and is not overwritten — choose another directory with --dir, or move the file away\n"
    );
    assert_eq!(fs::read_to_string(dir.path().join("wave/mailwave.toml")).unwrap(), "mine");
}

#[test]
fn init_writes_neither_file_if_one_is_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mailboxes.csv"), "mine").unwrap();
    assert_eq!(said(dir.path(), &["init"]).code, 64);
    assert!(!dir.path().join("mailwave.toml").exists());
}

#[test]
fn status_before_the_first_run_shows_every_mailbox_as_new() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann@example.org,ann\nbob@example.org,bob\n");
    let plain = said(dir.path(), &["status", "mailwave.toml"]);
    assert_eq!(plain.code, 0, "{}", plain.err);
    assert_eq!(plain.out.lines().count(), 3, "{}", plain.out);
    assert!(plain.err.contains("2 mailboxes, 2 not begun, 0 failed"));
    assert!(!plain.out.contains("example.org"), "mailboxes appear by pseudonym");

    let json = said(dir.path(), &["status", "--json", "mailwave.toml"]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json.out.lines().count(), 1);
    assert_eq!(value["totals"]["not_begun"], 2);
    assert_eq!(value["mailboxes"][1]["csv_line"], 3);
    assert_eq!(value["mailboxes"][1]["state"], "new");
    assert_eq!(value["exit_code"], 0);
    assert!(!dir.path().join("mailwave-ledger").exists(), "reading makes no ledger");
}

#[test]
fn report_writes_four_files_and_names_them() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann@example.org,ann\n");
    let report = said(dir.path(), &["report", "mailwave.toml", "--out", "out/report"]);
    assert_eq!(report.code, 0, "{}", report.err);
    let names: Vec<&str> = report.out.lines().collect();
    assert_eq!(names.len(), 4);
    for name in names {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(!text.is_empty() && !text.contains("example.org"), "{name}");
    }
}

#[test]
fn a_wrong_configuration_is_one_json_object_if_json_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\nann,bob\n");
    for verb in ["run", "status", "verify"] {
        let said = said(dir.path(), &[verb, "--json", "mailwave.toml"]);
        assert_eq!(said.code, 64, "{verb}: {}", said.err);
        assert_eq!(said.out.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(value["exit_code"], 64);
        assert_eq!(value["errors"][0]["what"], "mailboxes.csv:3: this source mailbox is in line 2 already");
        assert!(said.err.starts_with("error: mailboxes.csv:3: "), "people read stderr");
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = (0..20_000).map(|n| format!("s{n},t{n}\n")).collect();
    files_config(dir.path(), &rows);
    let mut child = mailwave(dir.path(), &["status", "mailwave.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(!err.contains("panicked") && !err.contains("Broken pipe"), "{err}");
}

#[test]
fn only_and_wave_choose_and_a_name_that_matches_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\n");
    let said = said(dir.path(), &["run", "mailwave.toml", "--only", "line:2", "nobody"]);
    assert_eq!(said.code, 64);
    assert_eq!(
        said.err,
        "error: mailbox 2 of those asked for by --only is in no row — compare with the rows of mailboxes.csv\n"
    );
}

#[test]
fn a_mock_serves_nobody_but_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let said = said(dir.path(), &["mock", "graph", "--listen", "0.0.0.0:0"]);
    assert_eq!(said.code, 64);
    assert_eq!(said.err, "error: a mock listens on a loopback address only — use --listen 127.0.0.1:PORT\n");
}

/// A child that is killed when the test ends, however it ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_that_was_told_to_wait_for_minutes_stops_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    // A service that takes thirty requests in ten minutes, and an operator who thinks it takes more.
    fs::write(dir.path().join("options.json"), r#"{"limits": {"requests": 30}}"#).unwrap();
    let mut mock = Running(
        mailwave(dir.path(), &["mock", "graph", "--options", "options.json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(mock.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().strip_prefix("base_url ").unwrap().strip_suffix("/v1.0").unwrap().to_owned();
    // It tells the target to put into a configuration; that is used here as it is.
    let mut target = String::new();
    for line in BufReader::new(mock.0.stderr.take().unwrap()).lines().map(|l| l.unwrap()) {
        if !target.is_empty() || line == "[target.mock]" {
            target.push_str(&line);
            target.push('\n');
        }
        if line.starts_with("client_secret") {
            break;
        }
    }
    assert!(target.contains(&format!("authority = \"{base}\"")), "{target}");
    files_config(dir.path(), "ann,ann@example.org\n");
    let config = format!("source_name = \"acme\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n{target}");
    fs::write(dir.path().join("mailwave.toml"), config).unwrap();
    for sub in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.path().join("in/ann").join(sub)).unwrap();
    }
    for n in 0..100 {
        let name = dir.path().join(format!("in/ann/cur/{}.M{n}P1.mail:2,S", 1_600_000_000 + n));
        fs::write(name, format!("Subject: {n}\n\ntext {n}\n")).unwrap();
    }
    let mut run = Running(
        mailwave(dir.path(), &["run", "mailwave.toml"])
            .env("MAILWAVE_GRAPH_SECRET", "secret")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut talk = BufReader::new(run.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("HTTP 429") {
        assert!(talk.read_line(&mut said).unwrap() > 0, "it ended instead of waiting: {said}");
    }
    let asked = Instant::now();
    let pid = run.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let code = loop {
        if let Some(status) = run.0.try_wait().unwrap() {
            break status.code();
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "the wait of ten minutes is waited for: {said}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, Some(75), "{said}");
    talk.read_to_string(&mut said).unwrap();
    assert!(said.contains("draining") && said.contains("1 stopped"), "{said}");
    assert_eq!(said.matches("HTTP 429").count(), 1, "several requests told the same are one line: {said}");
}
