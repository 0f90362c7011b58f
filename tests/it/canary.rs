//! What `mailwave check` tells before anything is moved: canaries through every way of writing, what the sources hold, and
//! whether this machine will do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use mailwave::mock::imap::ImapOptions;
use serde_json::Value;

use crate::bad_input::desk::{Desk, Imap, mail};
use crate::cli::{Said, files_config, mailwave, said};

/// The cells of a row of the canaries' table.
fn row<'a>(said: &'a Said, canary: &str) -> Vec<&'a str> {
    let line = said.out.lines().find(|line| line.starts_with(canary));
    let line = line.unwrap_or_else(|| panic!("no {canary} in {}{}", said.out, said.err));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

fn graph_config(dir: &Path) {
    let config = "source_name = \"acme\"\n\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n\n\
                  [target.new]\nkind = \"graph\"\nmock = { state = \"state\" }\n";
    fs::write(dir.join("mailwave.toml"), config).unwrap();
    fs::write(dir.join("mailboxes.csv"), "source,target\nann,ann@example.org\n").unwrap();
}

#[test]
fn a_target_that_keeps_octets_keeps_every_canary() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\n");
    let said = said(dir.path(), &["check", "mailwave.toml", "--canary", "new", "canary"]);
    assert_eq!(said.code, 0, "{}", said.err);
    for canary in ["plain, read", "8-bit", "signed (S/MIME)", "attachment of 30 MB"] {
        assert_eq!(row(&said, canary), [canary, "files", "kept", "kept", "yes", "nothing"]);
    }
    assert!(said.err.contains("new: use files"), "{}", said.err);
    let left = fs::read_dir(dir.path().join("out/canary")).unwrap();
    let left: Vec<String> = left.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for folder in left.iter().filter(|name| name.contains("canary")) {
        let cur = dir.path().join("out/canary").join(folder).join("cur");
        assert_eq!(fs::read_dir(cur).unwrap().count(), 0, "the canaries are gone");
    }
}

#[test]
fn what_graph_makes_of_the_canaries_is_told() {
    let dir = tempfile::tempdir().unwrap();
    graph_config(dir.path());
    let said = said(dir.path(), &["check", "mailwave.toml", "--canary", "new", "canary@example.org"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for canary in ["plain, read", "plain, unread", "draft", "keyword", "HTML with an inline image"] {
        let row = row(&said, canary);
        assert_eq!(&row[1..5], ["json", "kept", "kept", "yes"], "{row:?}");
        assert!(row[5].contains("octets"), "json makes the message anew: {row:?}");
    }
    assert!(said.err.contains("new: use json"), "{}", said.err);
}

#[test]
fn a_missing_role_for_streams_is_one_row_and_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    graph_config(dir.path());
    let said = said(dir.path(), &["check", "mailwave.toml", "--canary", "new", "canary@example.org"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let rows: Vec<&str> = said.out.lines().filter(|line| line.contains("import-stream")).collect();
    assert_eq!(rows.len(), 1, "{}", said.out);
    assert!(rows[0].starts_with("(all)") && rows[0].contains("MailboxItem.ImportExport.All"), "{rows:?}");
    assert!(said.err.contains("import-stream cannot be used here"), "{}", said.err);
}

#[test]
fn canaries_travel_through_an_export_and_an_import_and_keep_everything() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("options.json"), r#"{"import_export": true}"#).unwrap();
    let mut mock = mailwave(dir.path(), &["mock", "graph", "--options", "options.json", "--state", "kept"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(mock.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mock = Running(mock);
    let base = line.trim().strip_prefix("base_url ").unwrap().strip_suffix("/v1.0").unwrap();
    let config = format!(
        "source_name = \"acme\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n[target.new]\nkind = \"graph\"\n\
         base_url = \"{base}/v1.0\"\nauthority = \"{base}\"\ntenant = \"contoso.test\"\nclient_id = \"app\"\n\
         client_secret = {{ env = \"CANARY_SECRET\" }}\n"
    );
    fs::write(dir.path().join("mailwave.toml"), config).unwrap();
    fs::write(dir.path().join("mailboxes.csv"), "source,target\nann,ann@example.org\n").unwrap();
    let check = ["check", "mailwave.toml", "--canary", "new", "canary@example.org"];
    let output = mailwave(dir.path(), &check).env("CANARY_SECRET", "secret").output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let rows: Vec<&str> = out.lines().filter(|line| line.contains("import-stream")).collect();
    assert!(rows.len() >= 10, "{out}");
    for row in rows {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[1..5], ["import-stream", "kept", "kept", "yes"], "{row}");
        // Boundaries are made anew whenever a message of several parts is read.
        let same = ["nothing", "octets, fields"].iter().take(if row.starts_with("plain") { 1 } else { 2 });
        assert!(same.into_iter().any(|word| cells[5] == *word), "{row}");
    }
    assert!(err.contains("import-stream takes what was exported") && !err.contains("authtoken"), "{err}");
    drop(mock);
}

#[test]
fn exchange_takes_its_own_exports_back_and_keeps_everything_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut mock = mailwave(dir.path(), &["mock", "ews", "--tls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(mock.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mock = Running(mock);
    let url = line.trim().strip_prefix("url ").unwrap();
    let config = format!(
        "source_name = \"acme\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n[target.new]\nkind = \"ews\"\n\
         url = \"{url}\"\nuser = 'EXAMPLE\\migrator'\npassword = {{ env = \"CANARY_SECRET\" }}\n\
         ca_file = \"mailwave-mock-ca.pem\"\n"
    );
    fs::write(dir.path().join("mailwave.toml"), config).unwrap();
    fs::write(dir.path().join("mailboxes.csv"), "source,target\nann,ann@example.org\n").unwrap();
    let check = ["check", "mailwave.toml", "--canary", "new", "canary@example.org"];
    let output = mailwave(dir.path(), &check).env("CANARY_SECRET", "secret").output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let ways = |way: &str| out.lines().filter(|line| line.contains(way)).count();
    assert!(ways("CreateItem") >= 8 && ways("CreateItem") == ways("import-stream"), "{out}");
    for row in out.lines().filter(|line| line.contains("import-stream")) {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[1..], ["import-stream", "kept", "kept", "yes", "nothing"], "{row}");
    }
    assert!(err.contains("use CreateItem") && err.contains("import-stream takes what was exported"), "{err}");
    drop(mock);
}

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_imap_server_keeps_the_canaries_it_is_given() {
    let mock = Imap::start(ImapOptions::default());
    mock.mock.store().add_user("canary.box");
    let desk = Desk::new("", "source,target\na,a\n");
    desk.secret("pw", "canary-password\n");
    let there = mock.config("password = { file = \"pw\" }").replace("[source.old]", "[target.new]");
    desk.configure(
        &format!("[source.old]\nkind = \"maildir\"\nroot = \"in\"\n{there}"),
        "source,target\na,a\n",
    );
    let said = said(&desk.path(""), &["check", "mailwave.toml", "--canary", "new", "canary.box"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for canary in ["plain, read", "signed (S/MIME)", "attachment of 4 MB"] {
        assert_eq!(row(&said, canary), [canary, "APPEND", "kept", "kept", "-", "nothing"]);
    }
    assert!(!said.err.contains("canary-password"));
}

#[test]
fn a_target_that_is_not_in_the_configuration_is_named_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\n");
    let said = said(dir.path(), &["check", "mailwave.toml", "--canary", "cloud", "x"]);
    assert_eq!(said.code, 64, "{}", said.err);
    assert!(said.err.contains("there are: new"), "{}", said.err);
}

#[test]
fn the_inventory_tells_what_the_sources_hold_and_what_will_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    graph_config(dir.path());
    let config = fs::read_to_string(dir.path().join("mailwave.toml")).unwrap();
    fs::write(dir.path().join("mailwave.toml"), format!("{config}max_message = \"2KB\"\n")).unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(dir.path().join("in/ann").join(part)).unwrap();
    }
    for n in 0..5 {
        let mut octets = mail("inventory", n);
        octets.extend(vec![b'x'; n * 1000]);
        fs::write(dir.path().join(format!("in/ann/cur/170000000{n}.M{n}P1.host:2,S")), octets).unwrap();
    }
    let json = said(dir.path(), &["check", "mailwave.toml", "--inventory", "--json"]);
    assert_eq!(json.code, 0, "{}{}", json.out, json.err);
    let value: Value = serde_json::from_str(&json.out).unwrap();
    let inventory = &value["mailboxes"][0]["inventory"];
    assert_eq!(
        (&inventory["messages"], &inventory["folders"]),
        (&Value::from(5), &Value::from(1)),
        "{value}"
    );
    let too_large = inventory["too_large"].as_u64().unwrap() + inventory["of_unknown_size"].as_u64().unwrap();
    assert!(too_large >= 2, "{value}");
    let machine = value["machine"].as_array().unwrap();
    assert_eq!(machine.len(), 4, "{value}");
    assert!(
        machine.iter().all(|need| need["needed"].as_u64().is_some() && need["enough"] == true),
        "{value}"
    );
    let text = said(dir.path(), &["check", "mailwave.toml", "--inventory"]);
    assert!(text.err.contains("1 mailboxes hold 5 messages"), "{}", text.err);
    assert!(text.out.contains("open files") && text.out.contains("memory"), "{}", text.out);
}
