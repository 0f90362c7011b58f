//! Which folder of an Exchange mailbox a source folder becomes, the same by Graph and by EWS. It depends on the folder's path,
//! its role and what is there, not on what was asked before:
//! - the inbox is the well-known inbox, and what lies below it lies below it;
//! - a role (`\Sent`, `\Trash` …) leads to the well-known folder, if the source folder lies at the root, or directly
//!   below the inbox or Gmail's own parent; deeper ones are ordinary folders, so that two mailboxes merged into one do
//!   not fall into each other;
//! - every other name is looked for by its mapped name (`transform::graph::folder_names`), and created if missing.
//!
//! In a place other than the root there are no well-known folders: every name is an ordinary one.

use crate::model::{FolderPath, SpecialUse};

/// The archive folder. Not every mailbox has one, nor does every server know of it.
pub(super) const ARCHIVE: &str = "archive";

/// The well-known folders that lead to a source folder, the best first, and the names below each that are left of its
/// path. Where none of them is there, its path leads down from the root.
pub(super) fn ways(
    path: &FolderPath,
    special: Option<SpecialUse>,
) -> impl Iterator<Item = (&'static str, &[String])> {
    let own = role(path, special).map(|role| (role, &[][..]));
    let below_inbox = match path.names() {
        [first, below @ ..] if first.eq_ignore_ascii_case("INBOX") => Some(("inbox", below)),
        _ => None,
    };
    own.into_iter().chain(below_inbox)
}

/// The well-known folder for a source folder, if it has one at this level.
fn role(path: &FolderPath, special: Option<SpecialUse>) -> Option<&'static str> {
    if path.is_inbox() {
        return Some("inbox");
    }
    let here = match path.names() {
        [_] => true,
        [above, _] => ["INBOX", "[Gmail]", "[Google Mail]"].iter().any(|p| above.eq_ignore_ascii_case(p)),
        _ => false,
    };
    match special.filter(|_| here)? {
        SpecialUse::Inbox => Some("inbox"),
        SpecialUse::Archive => Some(ARCHIVE),
        SpecialUse::Drafts => Some("drafts"),
        SpecialUse::Junk => Some("junkemail"),
        SpecialUse::Sent => Some("sentitems"),
        SpecialUse::Trash => Some("deleteditems"),
        // Views of other folders' messages: no such folder is there, their messages go to one of their name.
        SpecialUse::All | SpecialUse::Flagged => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str], special: Option<SpecialUse>) -> Vec<(&'static str, usize)> {
        let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).unwrap();
        ways(&path, special).map(|(role, below)| (role, below.len())).collect()
    }

    #[test]
    fn a_role_counts_at_the_root_and_directly_below_the_inbox_alone() {
        let sent = Some(SpecialUse::Sent);
        assert_eq!(told(&["Gesendet"], sent), [("sentitems", 0)]);
        assert_eq!(told(&["[Gmail]", "Gesendet"], sent), [("sentitems", 0)]);
        assert_eq!(told(&["INBOX", "Sent"], sent), [("sentitems", 0), ("inbox", 1)]);
        assert_eq!(told(&["Old", "Sent"], sent), []);
        assert_eq!(told(&["INBOX", "Old", "Sent"], sent), [("inbox", 2)]);
        assert_eq!(told(&["All Mail"], Some(SpecialUse::All)), []);
    }

    #[test]
    fn what_lies_below_the_inbox_is_looked_for_below_it() {
        assert_eq!(told(&["inbox", "Projects", "2020"], None), [("inbox", 2)]);
        assert_eq!(told(&["INBOX"], None), [("inbox", 0), ("inbox", 0)]);
        assert_eq!(told(&["Projects"], None), []);
    }
}
