use super::*;
use crate::model::FolderPath;
use crate::source::Counters;

fn folder(name: &str, special: Option<SpecialUse>, messages: u64) -> SourceFolder {
    SourceFolder {
        path: FolderPath::new(name.split('/').map(str::to_owned).collect()).expect("a path"),
        special,
        selectable: name != "[Gmail]",
        subscribed: None,
        object_id: None,
        counters: Some(Counters { epoch: 1, next: 9, messages, modseq: 5 }),
        handle: name.to_owned(),
    }
}

fn folders() -> Vec<SourceFolder> {
    vec![
        folder("INBOX", Some(SpecialUse::Inbox), 1),
        folder("B", None, 1),
        folder("Entw&APw-rfe", None, 1),
        folder("[Gmail]", None, 0),
        folder("All", Some(SpecialUse::All), 1),
        folder("Drafts", Some(SpecialUse::Drafts), 0),
        folder("Important", None, 1),
        folder("Trash", Some(SpecialUse::Trash), 1),
        folder("Starred", Some(SpecialUse::Flagged), 1),
    ]
}

fn claims(policy: Labels) -> Claims {
    let mut claims = Claims::new(policy);
    let arranged = claims.arrange(folders(), &BTreeSet::from(["Important".to_owned()]), true);
    let order: Vec<&str> = arranged.iter().map(|f| f.handle.as_str()).collect();
    assert_eq!(order, ["Drafts", "INBOX", "B", "Entw&APw-rfe", "[Gmail]", "All", "Trash"]);
    assert_eq!(arranged[5].special, Some(SpecialUse::Archive));
    claims
}

fn entry(id: u64, labels: &[&str]) -> Entry {
    let labels = labels.iter().map(|l| (*l).to_owned()).collect();
    Entry { gmail_id: Some(id), labels: Some(labels), ..Entry::default() }
}

/// Lists a folder whole; its flags if it claims the message, and whether anything is contested.
fn list(claims: &mut Claims, handle: &str, entries: Vec<Entry>) -> (Vec<Option<String>>, bool) {
    let mut turn = claims.turn(handle).expect("a folder");
    let told = entries.into_iter().map(|e| turn.claim(e).map(|e| e.flags.encode())).collect();
    turn.is_whole();
    (told, turn.is_contested())
}

fn flags(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_first_folder_claims_and_the_others_leave_out() {
    let mut claims = claims(Labels::Keywords);
    let inbox =
        list(&mut claims, "INBOX", vec![entry(7, &["B", "\\Starred", "Entw&APw-rfe 2", "\\\\Important"])]);
    assert_eq!(inbox, (vec![flags("F $Important B Entwürfe_2")], false));
    let b = list(&mut claims, "B", vec![entry(7, &["\\Inbox"]), entry(8, &["Entw&APw-rfe"])]);
    assert_eq!(b, (vec![None, flags(" Entwürfe")], false));
    let all = vec![entry(7, &["\\Inbox", "B"]), entry(8, &["B"]), entry(9, &["Hidden"])];
    assert_eq!(list(&mut claims, "All", all), (vec![None, None, flags(" Hidden")], false));
    assert_eq!(list(&mut claims, "Trash", vec![entry(7, &["B"])]), (vec![flags(" B")], false));
}

#[test]
fn where_labels_and_holders_disagree_whoever_holds_it_keeps_it_and_it_is_told() {
    let mut claims = claims(Labels::Ignore);
    list(&mut claims, "INBOX", vec![entry(7, &[])]);
    assert_eq!(list(&mut claims, "B", vec![entry(7, &[])]), (vec![None], true), "it lost its label since");
    let labelled = list(&mut claims, "All", vec![entry(8, &["\\Inbox"])]);
    assert_eq!(labelled, (vec![flags("")], true), "the inbox does not show it");
    let without = Entry { gmail_id: None, ..entry(0, &[]) };
    assert_eq!(list(&mut claims, "All", vec![without]), (vec![flags("")], true), "it has no id");
    // Listed once more, a folder does not stand in its own way.
    assert_eq!(list(&mut claims, "All", vec![entry(8, &[])]), (vec![flags("")], false));
}

#[test]
fn of_copies_each_label_has_one_and_all_mail_what_has_none() {
    let mut claims = claims(Labels::Copies);
    assert_eq!(list(&mut claims, "INBOX", vec![entry(7, &["B"])]).0, [flags("")]);
    assert_eq!(list(&mut claims, "B", vec![entry(7, &["\\Inbox"])]).0, [flags("")]);
    let all = list(&mut claims, "All", vec![entry(7, &["\\Inbox", "B"]), entry(8, &[])]);
    assert_eq!(all, (vec![None, flags("")], false));
}

#[test]
fn half_a_million_ids_take_a_few_megabytes() {
    let mut ids = Ids::default();
    for run in 0..100u64 {
        ids.add((0..5_000).map(|n| (n * 100 + run) * 7919).collect());
    }
    assert!(ids.0.len() < 12 && ids.has(499_999 * 7919) && !ids.has(1));
    let held: usize = ids.0.iter().map(|run| run.capacity() * 8).sum();
    assert!(held < 5 << 20, "{held} bytes");
}
