use super::*;
use proptest::prelude::*;
use std::path::{Component, Path};

fn path(names: &[&str]) -> FolderPath {
    FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).expect("names")
}

fn confined(directory: &str) -> bool {
    Path::new(directory).components().all(|c| matches!(c, Component::Normal(_)))
        && directory.is_ascii()
        && !directory.contains("//")
        && directory.split('/').all(|part| !part.is_empty() && part.len() <= 255)
}

#[test]
fn common_names_look_as_dovecot_writes_them() {
    assert_eq!(directory(&path(&["Inbox"]), Layout::PlusPlus), ".");
    assert_eq!(directory(&path(&["Work", "2026"]), Layout::PlusPlus), ".Work.2026");
    assert_eq!(directory(&path(&["Work", "2026"]), Layout::Fs), "Work/2026");
    assert_eq!(directory(&path(&["Entwürfe"]), Layout::PlusPlus), ".Entw&APw-rfe");
    assert_eq!(directory(&path(&["v1.2"]), Layout::PlusPlus), ".v1\\2e2");
    assert_eq!(directory(&path(&["v1.2"]), Layout::Fs), "v1.2");
    assert_eq!(directory(&path(&["INBOX", "Sent"]), Layout::PlusPlus), ".INBOX.Sent");
}

#[test]
fn hostile_names_stay_inside_and_apart() {
    let long = "x".repeat(4096);
    let longer = format!("{long}y");
    let names = [
        "",
        "..",
        ".",
        "/etc",
        "../../etc",
        "a/b",
        "a\0b",
        "\u{1b}[2J",
        "~root",
        "cur",
        "new",
        "tmp",
        "\\-",
        "\\2e",
        "\\~",
        "%2e",
        "subscriptions",
        "dovecot-uidlist",
        "mailwave-removed",
        "mailwave-folder",
        "&",
        "&-",
        "台北",
        "📁",
        &long,
        &longer,
        "a.b",
        "A.B",
        " ",
    ];
    for layout in [Layout::PlusPlus, Layout::Fs] {
        let mut seen = BTreeSet::new();
        for a in names {
            for b in names.iter().map(|n| Some(*n)).chain([None]) {
                let path = path(&b.map_or_else(|| vec![a], |b| vec![a, b]));
                let directory = directory(&path, layout);
                assert!(confined(&directory), "{a:?} {b:?} gave {directory:?}");
                assert!(seen.insert(directory.clone()), "{a:?} {b:?} gave {directory:?} twice");
            }
        }
        let deep = FolderPath::new(vec!["deep".to_owned(); 1000]).expect("names");
        assert!(confined(&directory(&deep, layout)));
        assert_ne!(directory(&deep, layout), directory(&deep.child("x"), layout));
    }
}

#[test]
fn unique_paths_keep_their_names_and_doubles_get_a_number() {
    let made = unique(vec![
        path(&["INBOX"]),
        path(&["inbox"]),
        path(&["A"]),
        path(&["A"]),
        path(&["A~2"]),
        path(&["B", "A"]),
    ]);
    let made: Vec<&[String]> = made.iter().map(FolderPath::names).collect();
    assert_eq!(made, [&["INBOX"][..], &["inbox~2"], &["A"], &["A~3"], &["A~2"], &["B", "A"]]);
}

#[test]
fn a_role_is_given_once() {
    let paths =
        [path(&["INBOX"]), path(&["Sent Items"]), path(&["Sent"]), path(&["Work", "Sent"]), path(&["Spam"])];
    assert_eq!(
        roles(&paths),
        [Some(SpecialUse::Inbox), None, Some(SpecialUse::Sent), None, Some(SpecialUse::Junk)]
    );
}

proptest! {
    #[test]
    fn a_written_path_is_read_back(names in proptest::collection::vec("[a-zäπ日./\\\\~&%\u{0}-\u{1f}]{0,12}", 1..4)) {
        let path = FolderPath::new(names.clone()).expect("names");
        prop_assume!(!path.is_inbox());
        for layout in [Layout::PlusPlus, Layout::Fs] {
            let directory = directory(&path, layout);
            prop_assert!(confined(&directory), "{directory:?}");
            if directory.contains(SHORTENED) {
                continue;
            }
            let parts: Vec<&str> = match layout {
                Layout::PlusPlus => directory[1..].split('.').collect(),
                Layout::Fs => directory.split('/').collect(),
            };
            let read: Vec<String> =
                parts.iter().map(|p| decode(p.as_bytes(), Coding::Utf7, Some('\\'))).collect();
            prop_assert_eq!(&read, &names);
        }
    }

    #[test]
    fn two_paths_never_share_a_directory(
        a in proptest::collection::vec("[ab./\\\\2e~-]{0,4}", 1..3),
        b in proptest::collection::vec("[ab./\\\\2e~-]{0,4}", 1..3),
    ) {
        prop_assume!(a != b);
        let (a, b) = (FolderPath::new(a).expect("names"), FolderPath::new(b).expect("names"));
        for layout in [Layout::PlusPlus, Layout::Fs] {
            prop_assert_ne!(directory(&a, layout), directory(&b, layout));
        }
    }
}
