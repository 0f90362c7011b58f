//! Source = target: a mailbox that would be moved into itself.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::config::{Settings, SourceKind, TargetKind};
use crate::model::Mailbox;

/// Where a mailbox lies in files, at both ends; `None` for an end that is a server.
pub(super) fn places(settings: &Settings, mailbox: &Mailbox) -> (Option<PathBuf>, Option<PathBuf>) {
    let source = match settings.sources.get(&mailbox.source_endpoint) {
        Some(SourceKind::Maildir(maildir)) => Some(&maildir.root),
        Some(SourceKind::Mbox(mbox)) => Some(&mbox.root),
        Some(SourceKind::Imap(_)) | None => None,
    };
    let target = match settings.targets.get(&mailbox.target_endpoint) {
        Some(TargetKind::Maildir(maildir)) => Some(&maildir.root),
        Some(TargetKind::Ews(_) | TargetKind::Graph(_) | TargetKind::Imap(_)) | None => None,
    };
    (source.map(|root| place(root, &mailbox.source)), target.map(|root| place(root, &mailbox.target)))
}

/// What is wrong if one of the two lies in the other; `None` if nothing is.
pub(super) fn same_place(source: &Path, target: &Path) -> Option<&'static str> {
    if source == target {
        Some("source and target are the same directory: a mailbox cannot be moved into itself")
    } else if target.starts_with(source) || source.starts_with(target) {
        Some("one of source and target lies inside the other")
    } else {
        None
    }
}

/// The line of a source that a target lies in, or that lies in the target.
pub(super) fn source_at(target: &Path, sources: &BTreeMap<PathBuf, u64>) -> Option<u64> {
    let above = target.ancestors().find_map(|place| sources.get(place));
    let below = || sources.range(target.to_owned()..).next().filter(|(place, _)| place.starts_with(target));
    above.or_else(|| below().map(|(_, line)| line)).copied()
}

/// The path of a mailbox: its name joined to the root, or put into the root's pattern.
fn expand(root: &Path, name: &str) -> PathBuf {
    let Some(pattern) = root.to_str().filter(|text| text.contains('{')) else { return root.join(name) };
    let (user, domain) = name.rsplit_once('@').unwrap_or((name, ""));
    PathBuf::from(pattern.replace("{mailbox}", name).replace("{user}", user).replace("{domain}", domain))
}

/// The real place of a mailbox, symbolic links followed as far as it exists.
fn place(root: &Path, name: &str) -> PathBuf {
    let path = expand(root, name);
    let whole = std::path::absolute(&path).unwrap_or(path);
    let mut clean = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    for there in clean.ancestors() {
        if let Ok(real) = there.canonicalize() {
            let rest = clean.strip_prefix(there).unwrap_or(Path::new(""));
            return real.join(rest);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mailbox_is_not_moved_into_itself_not_even_by_a_link() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        std::fs::create_dir_all(root.join("in/ann")).expect("made");
        std::os::unix::fs::symlink(root.join("in"), root.join("link")).expect("linked");
        let config = |target: &str| {
            let text = format!(
                "source_name = \"acme\"\n[source.old]\nkind = \"maildir\"\nroot = \"in\"\n[target.new]\nkind = \"maildir\"\nroot = \"{target}\"\n"
            );
            crate::config::parse(&root.join("mailwave.toml"), &text).expect("right").settings
        };
        let error = |target: &str, row: &str| {
            super::super::parse(&config(target), format!("source,target\n{row}\n").as_bytes())
                .err()
                .map(|all| all[0].what.clone())
        };
        let other = error("in", "ann,new\nbob,ann").expect("refused");
        assert!(
            other.ends_with("mailboxes.csv:3: this target is (or is in) the source of line 2"),
            "{other}"
        );
        assert!(error("in", "ann/deep,new\nbob,ann").expect("refused").ends_with("the source of line 2"));
        for target in ["in", "./x/../in", "link"] {
            assert!(error(target, "ann,ann").expect("refused").contains("moved into itself"), "{target}");
        }
        assert!(error("in/ann", "ann,deep").expect("refused").contains("inside the other"));
        assert_eq!(error("out", "ann,ann"), None);
        assert_eq!(error("in", "ann,bob"), None);
        assert!(error("{domain}/{user}", "ann,ann@in").expect("refused").contains("moved into itself"));
    }
}
