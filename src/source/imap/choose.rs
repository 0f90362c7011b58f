//! Which folders are read, and in what order.

use super::config::ImapSettings;
use crate::imap::Namespaces;
use crate::source::SourceFolder;

/// Makes the namespaces of others that shall be read too part of the tree: their folders keep their whole names. Gives
/// the prefixes to list.
pub(super) fn open_namespaces(namespaces: &mut Namespaces, wanted: &[String]) -> Vec<Vec<u8>> {
    let mut opened = Vec::new();
    for spaces in [&mut namespaces.others, &mut namespaces.shared] {
        spaces.retain(|(prefix, _)| {
            let open = wanted.iter().any(|w| w.as_bytes() == prefix.as_ref());
            if open {
                opened.push(prefix.to_vec());
            }
            !open
        });
    }
    opened
}

/// The folders that are wanted; those that are only views of the others come last.
pub(super) fn choose(mut folders: Vec<SourceFolder>, settings: &ImapSettings) -> Vec<SourceFolder> {
    folders.retain(|folder| {
        let name = folder.path.names().join("/");
        let among = |list: &[String]| list.iter().any(|top| is_at_or_below(&name, top));
        (settings.folders.is_empty() || among(&settings.folders)) && !among(&settings.leave_out)
    });
    let last = settings.server.preset.last;
    folders.sort_by_key(|folder| {
        folder.special.and_then(|s| last.iter().position(|l| *l == s)).map_or(0, |n| n + 1)
    });
    folders
}

fn is_at_or_below(name: &str, top: &str) -> bool {
    let rest = if top.eq_ignore_ascii_case("INBOX")
        || top.get(..6).is_some_and(|t| t.eq_ignore_ascii_case("INBOX/"))
    {
        // The inbox's name has no case; what lies below it has.
        name.strip_prefix("INBOX").and_then(|rest| rest.strip_prefix(top.get(5..)?))
    } else {
        name.strip_prefix(top)
    };
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::{Credentials, Server, presets};
    use crate::model::{FolderPath, SpecialUse};

    fn folder(name: &str, special: Option<SpecialUse>) -> SourceFolder {
        SourceFolder {
            path: FolderPath::new(name.split('/').map(str::to_owned).collect()).expect("a path"),
            special,
            selectable: true,
            subscribed: None,
            object_id: None,
            counters: None,
            handle: name.to_owned(),
        }
    }

    fn chosen(settings: &ImapSettings) -> Vec<String> {
        let all = [
            ("INBOX", Some(SpecialUse::Inbox)),
            ("INBOX/Work", None),
            ("All", Some(SpecialUse::All)),
            ("Calendar", None),
            ("Calendar/Birthdays", None),
            ("Calendars", None),
            ("Starred", Some(SpecialUse::Flagged)),
            ("Work", None),
        ];
        let folders = all.into_iter().map(|(name, special)| folder(name, special)).collect();
        choose(folders, settings).iter().map(|f| f.handle.clone()).collect()
    }

    #[test]
    fn what_is_named_is_meant_with_all_below_it_and_views_come_last() {
        let with = |preset| {
            ImapSettings::of(Server::like(preset, "localhost", Credentials::Fixed { password: "x".into() }))
        };
        let mut plain = with(&presets::PLAIN);
        assert_eq!(chosen(&plain).len(), 8);
        plain.folders = vec!["inbox".to_owned(), "Calendar".to_owned()];
        plain.leave_out = vec!["Calendar/Birthdays".to_owned()];
        assert_eq!(chosen(&plain), ["INBOX", "INBOX/Work", "Calendar"]);
        assert!(
            !chosen(&with(&presets::EXCHANGE)).iter().any(|n| n.starts_with("Calendar/") || n == "Calendar")
        );
        assert_eq!(chosen(&with(&presets::GMAIL))[6..], ["Starred", "All"]);
    }

    #[test]
    fn namespaces_of_others_are_opened_by_their_prefix_only() {
        let space = |prefix: &'static str| (bytes::Bytes::from_static(prefix.as_bytes()), Some(b'/'));
        let mut namespaces = Namespaces {
            personal: vec![space("")],
            others: vec![space("Users/")],
            shared: vec![space("Public/"), space("Archive/")],
        };
        let opened = open_namespaces(&mut namespaces, &["Public/".to_owned(), "Nowhere/".to_owned()]);
        assert_eq!(opened, [b"Public/".to_vec()]);
        assert_eq!((namespaces.others.len(), namespaces.shared.len()), (1, 1));
    }
}
