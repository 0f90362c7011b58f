//! Configurations, lists and secrets that are wrong: told with file, line and remedy, and nothing is begun.

use std::fs;

use crate::cli::{files_config, said};

/// Runs `status` (or another verb) with one thing changed in a good configuration, and gives what it said.
fn told(verb: &str, from: &str, to: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\n");
    let path = dir.path().join("mailwave.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(&path, text.replace(from, to)).unwrap();
    let said = said(dir.path(), &[verb, "mailwave.toml"]);
    assert_eq!((said.code, said.out.as_str()), (64, ""), "{}", said.err);
    assert!(!dir.path().join("mailwave-ledger").exists(), "nothing was begun");
    said.err
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_likely_one() {
    insta::assert_snapshot!(
        told("status", "root = \"in\"", "rooot = \"in\""),
        @r#"
    error: mailwave.toml:3: source.old.root: this key is missing — add `root = "/var/vmail"`
    error: mailwave.toml:5: source.old.rooot: this key is not known — did you mean `root`?
    "#
    );
}

#[test]
fn an_invalid_source_name_is_told() {
    insta::assert_snapshot!(
        told("status", "\"acme\"", "\"ACME-1\""),
        @"error: mailwave.toml:1: source_name: is not 1 to 16 of a-z and 0-9 — choose a short name of the installation you move away from; it is part of every stamp and must never change"
    );
}

const IMAP: &str = "kind = \"imap\"\nhost = \"127.0.0.1\"\n";

#[test]
fn an_inline_secret_is_refused_and_never_shown() {
    let told = told("status", "kind = \"maildir\"\nroot = \"in\"", &format!("{IMAP}password = \"hunter2\""));
    insta::assert_snapshot!(
        told,
        @r#"error: mailwave.toml:6: source.old.password: a secret must not stand in the configuration — write `{ env = "NAME" }`, `{ file = "path" }` or `{ command = ["pass", "show", "name"] }`"#
    );
}

#[test]
fn a_missing_secret_is_told_before_anything_is_begun() {
    insta::assert_snapshot!(
        told("status", "kind = \"maildir\"\nroot = \"in\"", IMAP),
        @r#"error: mailwave.toml:3: source.old.password: no secret is named — add one: `password = { env = "NAME" }` (or file, or command), `passwords = "FILE"`, `token = { … }` or a table `oauth`"#
    );
    let unset = format!("{IMAP}password = {{ env = \"MAILWAVE_TEST_NOT_SET\" }}");
    insta::assert_snapshot!(
        told("run", "kind = \"maildir\"\nroot = \"in\"", &unset),
        @r#"error: mailwave.toml:6: source.old.password: the environment variable MAILWAVE_TEST_NOT_SET is not set — set MAILWAVE_TEST_NOT_SET, or take the secret from a file (`{ file = "…" }`) or a command (`{ command = ["…"] }`)"#
    );
}

#[test]
fn source_equal_to_target_is_refused() {
    insta::assert_snapshot!(
        told("run", "root = \"out\"", "root = \"./in\""),
        @"error: mailboxes.csv:2: source and target are the same directory: a mailbox cannot be moved into itself — give the target another root, or remove the row"
    );
}

#[test]
fn a_unit_that_is_missing_and_a_number_out_of_range_are_told_together() {
    insta::assert_snapshot!(
        told("status", "[source.old]", "[run]\nsettle = 10\ntries = 99\nmemory = \"1 MiB\"\n\n[source.old]"),
        @r#"
    error: mailwave.toml:4: run.settle: wants a duration with its unit (ms, s, m, h, d), in quotes — write it like `settle = "10s"`
    error: mailwave.toml:5: run.tries: 99 is out of range — write a number from 1 to 20
    error: mailwave.toml:6: run.memory: 1MiB is out of range — write from "16MiB" to "1TiB"
    "#
    );
}

#[test]
fn rows_that_move_a_mailbox_twice_are_refused_with_both_lines() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "# pilot\nann,x\n\nann,y\nbob,x\n");
    let said = said(dir.path(), &["run", "mailwave.toml"]);
    assert_eq!(said.code, 64);
    insta::assert_snapshot!(
        said.err,
        @"
    error: mailboxes.csv:5: this source mailbox is in line 3 already — remove one of the two rows; one mailbox is moved once
    error: mailboxes.csv:6: this target and place is in line 3 already — give one of the two rows another `target_place`, or remove it
    "
    );
}

#[test]
fn a_missing_configuration_and_a_missing_list_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let none = said(dir.path(), &["run", "mailwave.toml"]);
    assert_eq!(none.code, 64);
    insta::assert_snapshot!(
        none.err,
        @"error: the configuration mailwave.toml cannot be read (No such file or directory (os error 2)) — `mailwave init --dir DIR` writes a commented one"
    );
    files_config(dir.path(), "ann,ann\n");
    fs::remove_file(dir.path().join("mailboxes.csv")).unwrap();
    insta::assert_snapshot!(
        said(dir.path(), &["run", "mailwave.toml"]).err,
        @r#"error: the list of mailboxes mailboxes.csv cannot be read (No such file or directory (os error 2)) — name it with `mailboxes = "…"`; its first line is `source,target`"#
    );
}

#[test]
fn a_secret_file_that_others_may_read_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    files_config(dir.path(), "ann,ann\n");
    let path = dir.path().join("mailwave.toml");
    let text = fs::read_to_string(&path).unwrap();
    let imap = format!("{IMAP}password = {{ file = \"pw\" }}");
    fs::write(&path, text.replace("kind = \"maildir\"\nroot = \"in\"", &imap)).unwrap();
    fs::write(dir.path().join("pw"), "hunter2\n").unwrap();
    fs::set_permissions(dir.path().join("pw"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let said = said(dir.path(), &["status", "mailwave.toml"]);
    assert_eq!(said.code, 0);
    assert!(
        said.err.starts_with(
            "warning: mailwave.toml:6: source.old.password: others may read this secret's file (mode 0644) — chmod 600 it\n"
        ),
        "{}",
        said.err
    );
    assert!(!said.err.contains("hunter2"));
}
