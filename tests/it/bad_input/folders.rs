//! Folder names that would climb out of a directory, command a terminal, or collide.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use mailwave::mock::graph::GraphOptions;
use mailwave::mock::imap::{ImapOptions, InternalDate};

use super::desk::{Desk, Graph, Imap, MAILDIR_TARGET, mail, tree};

/// Names as a hostile or careless server may give them. `/` separates levels; `&AC8-` is a `/` within a name.
const WIRE: &[&[u8]] = &[
    b"canary&AC8-slash",
    b"canary/../../../up",
    b"..",
    b"../..",
    b"/canary/absolute",
    b"canary/./dot",
    b"canary//empty",
    b".canary.hidden.dots",
    b"cur",
    b"canary/new",
    b"canary\x1b[2J\x1b]0;owned\x07escape",
    b"canary\x01\x02\x7fcontrol",
    b"canary&AAoADQ-newline",
    b"canary&IC4-direction",
    b"canary raw \xc3\xa4\xff octets",
    b"canary&broken",
    b"CANARY case",
    b"canary case",
    b" canary blanks ",
    b"canary%2Fpercent",
    b"canary\\backslash",
    b"canary:2,S",
];

const PASSWORD: &str = "password = { file = \"pw\" }";

/// A server with one message in each folder of these names; how many there are.
fn hostile() -> (Imap, usize) {
    let imap = Imap::start(ImapOptions::default());
    imap.fill("canary.ann", "INBOX", 1);
    for (n, wire) in WIRE.iter().enumerate() {
        let folder = format!("f{n}");
        let mut store = imap.mock.store();
        store.add_folder_as("canary.ann", &folder, wire);
        store.add("canary.ann", &folder, mail("canary.ann", n + 2), &[], InternalDate::utc(1_200_000_000));
    }
    (imap, WIRE.len() + 1)
}

#[test]
fn hostile_names_of_an_imap_server_stay_within_the_target_maildir() {
    let (imap, count) = hostile();
    for layout in ["maildir++", "fs"] {
        let target = format!("{MAILDIR_TARGET}layout = \"{layout}\"\n");
        let desk =
            Desk::new(&format!("{}{target}", imap.config(PASSWORD)), "source,target\ncanary.ann,ann\n");
        desk.secret("pw", "canary-password\n");
        let before: BTreeSet<_> = tree(&desk.path("."));
        assert!(before.is_empty());
        let ran = desk.run();
        ran.ended(0);
        assert_eq!(ran.count("stored"), count as u64, "{layout}");
        let mut expected: Vec<Vec<u8>> = (1..=count).map(|n| mail("canary.ann", n)).collect();
        expected.sort();
        assert_eq!(desk.arrived("ann"), expected, "{layout}");
        let all = tree(&desk.path("."));
        assert_eq!(all.len(), count, "nowhere else: {all:?}");
        assert!(all.iter().all(|p| !p.to_string_lossy().chars().any(char::is_control)), "{all:?}");
        let folders: BTreeSet<_> = all.iter().map(|p| p.parent().unwrap().to_owned()).collect();
        assert_eq!(folders.len(), count, "each its own folder: {folders:?}");
        let again = desk.run();
        again.ended(0);
        assert_eq!((again.count("stored"), again.count("already_there")), (0, count as u64));
    }
}

#[test]
fn hostile_names_of_an_imap_server_become_folders_of_their_own_in_graph() {
    let (imap, count) = hostile();
    let graph = Graph::start(GraphOptions::default());
    let desk = Desk::new(
        &format!("{}{}", imap.config(PASSWORD), graph.config()),
        "source,target\ncanary.ann,ann@canary.example\n",
    );
    desk.secret("pw", "canary-password\n");
    desk.secret("app-secret", "canary-app-secret");
    let ran = desk.run();
    ran.ended(0);
    assert_eq!(graph.messages("ann@canary.example").len(), count);
    let truth = graph.mock.truth();
    let folders = &truth.mailboxes["ann@canary.example"].folders;
    let used = folders.values().filter(|f| !f.messages.is_empty()).count();
    assert_eq!(used, count, "each its own folder: {:?}", folders.keys());
    assert!(folders.keys().all(|name| !name.chars().any(char::is_control)), "{:?}", folders.keys());
    let again = desk.run();
    again.ended(0);
    assert_eq!((again.count("stored"), again.count("already_there")), (0, count as u64));
}

#[test]
fn hostile_directory_names_of_a_maildir_are_moved_and_stay_within_the_target() {
    let desk = Desk::files("source,target\ncanary.ann,ann\n");
    desk.fill("canary.ann", 1);
    let names: &[&[u8]] = &[
        b"...canary",
        b".canary..double",
        b".canary.&AC8-slash",
        b".canary\x1b[2J",
        b".canary\nnewline",
        b".canary \xff\xfe octets",
        b".canary&-and",
        b".&broken canary",
        b".canary.",
        b".CANARY case",
        b".canary case",
        b".cur",
    ];
    for (n, name) in names.iter().enumerate() {
        let folder = desk.path("in/canary.ann").join(OsStr::from_bytes(name));
        for sub in ["cur", "new", "tmp"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        fs::write(folder.join("cur/1.one:2,"), mail("canary.ann", n + 2)).unwrap();
    }
    let ran = desk.run();
    ran.ended(0);
    let mut expected: Vec<Vec<u8>> = (1..=names.len() + 1).map(|n| mail("canary.ann", n)).collect();
    expected.sort();
    assert_eq!(desk.arrived("ann"), expected);
    let there = tree(&desk.path("."));
    assert_eq!(there.len(), 2 * expected.len(), "source and target, and nothing elsewhere: {there:?}");
    let folders: BTreeSet<_> =
        tree(&desk.path("out")).iter().map(|p| p.parent().unwrap().to_owned()).collect();
    assert_eq!(folders.len(), expected.len(), "each its own folder: {folders:?}");
    let again = desk.run();
    again.ended(0);
    assert_eq!(again.count("stored"), 0);
}

#[test]
fn a_mailbox_name_that_would_leave_the_root_is_refused_and_the_others_go_on() {
    let desk = Desk::files("source,target\n../canary.away,ann\ncanary.bob,../canary-away\ncanary.cal,cal\n");
    for user in ["canary.bob", "canary.cal"] {
        desk.fill(user, 2);
    }
    fs::create_dir_all(desk.path("canary.away/cur")).unwrap();
    fs::write(desk.path("canary.away/cur/1.x:2,"), mail("x", 1)).unwrap();
    let ran = desk.run();
    ran.ended(2);
    let told = "the mailbox's name is not a plain relative path — correct its row in the list of mailboxes";
    assert_eq!(ran.errors(), [format!("2: {told}"), format!("3: {told}")]);
    assert_eq!(desk.arrived("cal").len(), 2);
    assert!(!desk.path("canary-away").exists());
    assert!(desk.arrived("ann").is_empty());
}
