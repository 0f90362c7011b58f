use super::*;
use proptest::prelude::*;

fn entry(attributes: &str, separator: char, name: &[u8]) -> ListEntry {
    ListEntry {
        attributes: attributes.split_whitespace().map(str::to_owned).collect(),
        separator: Some(separator as u8),
        name: Bytes::copy_from_slice(name),
        status: None,
    }
}

fn shown(entries: Vec<ListEntry>, namespaces: &Namespaces) -> Vec<String> {
    arrange(entries, namespaces)
        .into_iter()
        .map(|f| {
            let special = f.special.map_or(String::new(), |s| format!(" {s:?}"));
            let container = if f.selectable { "" } else { " container" };
            format!("{}{special}{container}", f.path.names().join(" > "))
        })
        .collect()
}

fn cyrus() -> Namespaces {
    Namespaces {
        personal: vec![("INBOX.".into(), Some(b'.'))],
        others: vec![("user.".into(), Some(b'.'))],
        shared: vec![("".into(), Some(b'.'))],
    }
}

#[test]
fn the_personal_prefix_is_taken_off_and_other_namespaces_are_left_out() {
    let entries = vec![
        entry("", '.', b"user.other.Sent"),
        entry("", '.', b"public"),
        entry("\\Sent", '.', b"INBOX.Sent"),
        entry("", '.', b"INBOX.Entw&APw-rfe.2024"),
        entry("", '.', b"inbox"),
    ];
    assert_eq!(shown(entries, &cyrus()), ["INBOX Inbox", "Entwürfe > 2024", "Sent Sent"]);
}

#[test]
fn without_a_prefix_folders_below_the_inbox_stay_below_it() {
    let entries = vec![entry("", '/', b"inbox/a"), entry("", '/', b"Inbox"), entry("", '/', b"INBOX")];
    assert_eq!(shown(entries, &Namespaces::default()), ["INBOX Inbox", "INBOX > a"]);
}

#[test]
fn two_names_that_decode_to_one_path_stay_two() {
    let entries = vec![
        entry("", '/', b"INBOX"),
        entry("", '/', b"&AOQ-"),
        entry("", '/', "ä".as_bytes()),
        entry("", '/', b"\xe4"),
    ];
    let folders = arrange(entries, &Namespaces::default());
    let paths: Vec<_> = folders.iter().map(|f| f.path.leaf().to_owned()).collect();
    assert_eq!(paths, ["INBOX", "ä", "ä (2)", "ä (3)"]);
    let names: BTreeSet<_> = folders.iter().map(|f| wire_name(&f.handle)).collect();
    assert_eq!(names.len(), 4);
    assert!(names.contains(&b"\xe4"[..]));
}

#[test]
fn a_folder_that_decodes_to_the_inboxs_name_does_not_take_its_place() {
    let entries = vec![entry("", '.', b"INBOX.INBOX"), entry("", '.', b"INBOX")];
    assert_eq!(shown(entries, &cyrus()), ["INBOX Inbox", "INBOX (2)"]);
}

#[test]
fn containers_are_listed_as_such_and_never_shadow_a_folder() {
    let entries = vec![
        entry("\\noselect \\HasChildren", '/', b"a"),
        entry("\\NonExistent", '/', b"b"),
        entry("\\Noselect", '/', b"c/"),
        entry("", '/', b"c"),
        entry("\\Noselect", '/', b""),
    ];
    assert_eq!(shown(entries, &Namespaces::default()), ["a container", "b container", "c"]);
}

#[test]
fn the_root_of_the_users_namespace_is_a_folder_only_if_it_holds_mail() {
    let namespaces = Namespaces { personal: vec![("Mail/".into(), Some(b'/'))], ..Namespaces::default() };
    let entries = |root| vec![entry(root, '/', b"Mail"), entry("", '/', b"Mail/a"), entry("", '/', b"INBOX")];
    assert_eq!(shown(entries("\\Noselect"), &namespaces), ["INBOX Inbox", "a"]);
    assert_eq!(shown(entries(""), &namespaces), ["INBOX Inbox", "Mail", "a"]);
}

#[test]
fn a_role_is_given_once() {
    let entries = vec![
        entry("\\Sent", '/', b"b"),
        entry("\\Sent", '/', b"a"),
        entry("\\Junk \\HasNoChildren", '/', b"c"),
    ];
    assert_eq!(shown(entries, &Namespaces::default()), ["a Sent", "b", "c Junk"]);
}

proptest! {
    #[test]
    fn a_handle_leads_back_to_its_name(name in proptest::collection::vec(any::<u8>(), 0..40), hex in any::<bool>()) {
        let name = if hex { [b"hex:", name.as_slice()].concat() } else { name };
        prop_assert_eq!(wire_name(&handle(&name)), name);
    }

    #[test]
    fn no_path_is_given_twice_and_the_order_does_not_depend_on_the_servers(
        names in proptest::collection::vec("[aA/&\\-ä]{0,5}", 0..12),
    ) {
        let entries: Vec<_> = names.iter().map(|n| entry("", '/', n.as_bytes())).collect();
        let mut backwards = entries.clone();
        backwards.reverse();
        let folders = arrange(entries, &Namespaces::default());
        prop_assert!(folders == arrange(backwards, &Namespaces::default()));
        let paths: BTreeSet<_> = folders.iter().map(|f| f.path.clone()).collect();
        prop_assert_eq!(paths.len(), folders.len());
    }
}
