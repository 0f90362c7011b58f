//! Folders in folders, known by number; 0 is the parent of what has none.

use std::collections::BTreeMap;

/// A folder, as far as the tree is concerned.
pub(in crate::mock) trait Branch {
    fn number(&self) -> u32;
    /// 0: none.
    fn parent(&self) -> u32;
    fn name(&self) -> &str;
    /// Does it hold the others, so that its name is no part of theirs?
    fn is_top(&self) -> bool;
}

impl<F: Branch> Branch for Box<F> {
    fn number(&self) -> u32 {
        (**self).number()
    }

    fn parent(&self) -> u32 {
        (**self).parent()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn is_top(&self) -> bool {
        (**self).is_top()
    }
}

/// The folders directly in one.
pub(in crate::mock) fn children<F: Branch>(
    folders: &BTreeMap<u32, F>,
    parent: u32,
) -> impl Iterator<Item = &F> {
    folders.values().filter(move |f| f.parent() == parent)
}

/// Every folder below, each before those below it.
pub(in crate::mock) fn below<F: Branch>(folders: &BTreeMap<u32, F>, top: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open: Vec<u32> = children(folders, top).map(F::number).collect();
    open.reverse();
    while let Some(number) = open.pop() {
        found.push(number);
        let mut next: Vec<u32> = children(folders, number).map(F::number).collect();
        next.reverse();
        open.append(&mut next);
    }
    found
}

/// Is `folder` the folder `top` or below it?
pub(in crate::mock) fn is_below<F: Branch>(folders: &BTreeMap<u32, F>, folder: u32, top: u32) -> bool {
    let mut at = folder;
    while at != 0 {
        if at == top {
            return true;
        }
        at = folders.get(&at).map_or(0, F::parent);
    }
    false
}

/// Its name and those above it, down from the mailbox's top. `/` and `\` in a name are written `\/` and `\\`.
pub(in crate::mock) fn path<F: Branch>(folders: &BTreeMap<u32, F>, number: u32) -> String {
    let mut names = Vec::new();
    let mut at = number;
    while let Some(folder) = folders.get(&at) {
        if folder.is_top() && !names.is_empty() {
            break;
        }
        names.push(folder.name().replace('\\', "\\\\").replace('/', "\\/"));
        at = folder.parent();
    }
    names.reverse();
    names.join("/")
}

/// How many folders lie above it, itself among them.
pub(in crate::mock) fn depth<F: Branch>(folders: &BTreeMap<u32, F>, number: u32) -> usize {
    let (mut at, mut depth) = (number, 0);
    while let Some(folder) = folders.get(&at) {
        at = folder.parent();
        depth += 1;
    }
    depth
}
