//! A spool that cannot be written.

use std::fs;

use super::desk::{Desk, mail};

/// A desk with a message that goes to the spool, and the spool at a place.
fn desk(spool: &str) -> Desk {
    let desk = Desk::files("source,target\ncanary.ann,ann\ncanary.bob,bob\n");
    desk.fill("canary.ann", 3);
    desk.fill("canary.bob", 3);
    desk.put("canary.ann", "", "4.large", &[mail("canary.ann", 4), vec![b'x'; 6 << 20]].concat());
    let config = fs::read_to_string(desk.path("mailwave.toml")).unwrap();
    let config = config.replace("tries = 2", &format!("tries = 2\nspool = \"{spool}\""));
    fs::write(desk.path("mailwave.toml"), config).unwrap();
    desk
}

#[test]
fn a_spool_directory_that_cannot_be_made_is_told_before_anything_is_begun() {
    let desk = desk("taken");
    fs::write(desk.path("taken"), "a file").unwrap();
    let said = crate::cli::said(&desk.path("."), &["run", "mailwave.toml"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.err,
        "error: the spool taken could not be made (File exists (os error 17)) — name a directory with room in it with `run.spool`\n"
    );
    assert!(!desk.path("mailwave-ledger").exists() && !desk.path("out").exists(), "nothing was begun");
}

#[test]
fn a_spool_directory_that_cannot_be_written_is_told_before_anything_is_begun() {
    // Not even root makes a file there.
    let desk = desk("/proc/self");
    let said = crate::cli::said(&desk.path("."), &["run", "mailwave.toml"]);
    let why = tempfile::tempfile_in("/proc/self").unwrap_err();
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert_eq!(
        said.err,
        format!(
            "error: no file can be made in the spool /proc/self ({why}) — name a directory with room in it with `run.spool`\n"
        )
    );
    assert!(!desk.path("mailwave-ledger").exists() && !desk.path("out").exists(), "nothing was begun");
}
