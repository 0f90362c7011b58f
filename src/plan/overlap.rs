//! Source = target: a mailbox that would be moved into itself.

use std::path::{Component, Path, PathBuf};

use crate::config::{Settings, SourceKind, TargetKind};
use crate::model::Mailbox;

/// What is wrong if the mailbox's target lies in its source, or its source in its target; `None` if nothing is.
pub(super) fn same_place(settings: &Settings, mailbox: &Mailbox) -> Option<&'static str> {
    let source = match settings.sources.get(&mailbox.source_endpoint)? {
        SourceKind::Maildir(maildir) => &maildir.root,
        SourceKind::Mbox(mbox) => &mbox.root,
        SourceKind::Imap(_) => return None,
    };
    let TargetKind::Maildir(target) = settings.targets.get(&mailbox.target_endpoint)? else { return None };
    let from = place(source, &mailbox.source);
    let to = place(&target.root, &mailbox.target);
    if from == to {
        Some("source and target are the same directory: a mailbox cannot be moved into itself")
    } else if to.starts_with(&from) || from.starts_with(&to) {
        Some("one of source and target lies inside the other")
    } else {
        None
    }
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
        for target in ["in", "./x/../in", "link"] {
            assert!(error(target, "ann,ann").expect("refused").contains("moved into itself"), "{target}");
        }
        assert!(error("in/ann", "ann,deep").expect("refused").contains("inside the other"));
        assert_eq!(error("out", "ann,ann"), None);
        assert_eq!(error("in", "ann,bob"), None);
        assert!(error("{domain}/{user}", "ann,ann@in").expect("refused").contains("moved into itself"));
    }
}
