//! A mailbox: its folders and items, what was in them and is gone, and the indexes that make it fast.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::Ids;
use super::state::{Content, Item};
use super::well_known::WELL_KNOWN;
use crate::mock::service::kept::Keepable;
use crate::mock::service::tree::{self, Branch};

/// A container of items.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Folder {
    pub(super) number: u32,
    pub(super) id: String,
    /// 0: none.
    pub(super) parent: u32,
    pub(super) name: String,
    pub(super) class: String,
    /// Its name among the folders every mailbox has.
    pub(super) well_known: Option<String>,
    /// When it was made and last changed, in changes of the mailbox.
    pub(super) made: u64,
    pub(super) change: u64,
    pub(super) properties: BTreeMap<String, Vec<String>>,
    #[serde(skip)]
    pub(super) items: BTreeSet<u64>,
}

impl Folder {
    pub(super) fn change_key(&self) -> String {
        let mut octets = [0u8; 24];
        octets[..4].copy_from_slice(&[1, 0, 0, 0]);
        octets[8..12].copy_from_slice(&self.number.to_be_bytes());
        octets[16..].copy_from_slice(&self.change.to_be_bytes());
        encodify::base64::STANDARD.encode(octets)
    }
}

impl Branch for Folder {
    fn number(&self) -> u32 {
        self.number
    }

    fn parent(&self) -> u32 {
        self.parent
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn is_top(&self) -> bool {
        matches!(self.well_known.as_deref(), Some("root" | "msgfolderroot"))
    }
}

/// An item or folder that is not there any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) id: String,
    /// The folder an item was in; 0 for a folder.
    pub(super) folder: u32,
    pub(super) entered: u64,
    pub(super) at: u64,
}

/// A person's or shared store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mailbox {
    pub(super) address: String,
    pub(super) guid: String,
    pub(super) folders: BTreeMap<u32, Folder>,
    pub(super) items: BTreeMap<u64, Item>,
    pub(super) gone: Vec<Gone>,
    next_folder: u32,
    next_item: u64,
    changes: u64,
    #[serde(skip)]
    index: Index,
}

#[derive(Debug, Default)]
struct Index {
    folder_ids: BTreeMap<String, u32>,
    ids: BTreeMap<String, u64>,
    bytes: u64,
}

impl Keepable for Mailbox {
    fn address(&self) -> &str {
        &self.address
    }

    fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        self.items.values_mut().flat_map(Item::contents_mut)
    }

    fn reindex(&mut self) {
        self.index = Index::default();
        for (number, folder) in &mut self.folders {
            folder.items.clear();
            self.index.folder_ids.insert(folder.id.clone(), *number);
        }
        for (_, item) in std::mem::take(&mut self.items) {
            self.add(item);
        }
    }
}

impl Mailbox {
    /// A mailbox with nothing in it but its well-known folders.
    pub(super) fn new(address: &str, ids: &mut Ids) -> Mailbox {
        let mut mailbox = Mailbox {
            address: address.to_owned(),
            guid: ids.guid(),
            folders: BTreeMap::new(),
            items: BTreeMap::new(),
            gone: Vec::new(),
            next_folder: 1,
            next_item: 1,
            changes: 0,
            index: Index::default(),
        };
        for (well_known, parent, name, class) in WELL_KNOWN {
            let parent = mailbox.well_known(parent).unwrap_or(0);
            let number = mailbox.add_folder(parent, name, class, BTreeMap::new(), ids);
            if let Some(folder) = mailbox.folders.get_mut(&number) {
                folder.well_known = Some((*well_known).to_owned());
            }
        }
        mailbox
    }

    /// Puts a new item in its folder.
    pub(super) fn add(&mut self, item: Item) {
        self.index.ids.insert(item.id.clone(), item.number);
        self.index.bytes += item.size();
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.items.insert(item.number);
        }
        self.items.insert(item.number, item);
    }

    /// A well-known folder's number.
    pub(super) fn well_known(&self, name: &str) -> Option<u32> {
        // There are few, and they are the first ones.
        self.folders
            .values()
            .take(WELL_KNOWN.len() + 1)
            .find(|f| f.well_known.as_deref() == Some(name))
            .map(|f| f.number)
    }

    /// A folder by its id.
    pub(super) fn folder(&self, id: &str) -> Option<u32> {
        self.index.folder_ids.get(id).copied()
    }

    pub(super) fn add_folder(
        &mut self,
        parent: u32,
        name: &str,
        class: &str,
        properties: BTreeMap<String, Vec<String>>,
        ids: &mut Ids,
    ) -> u32 {
        let number = self.next_folder;
        self.next_folder += 1;
        let id = ids.folder();
        let change = self.next_change();
        self.index.folder_ids.insert(id.clone(), number);
        let folder = Folder {
            number,
            id,
            parent,
            name: name.to_owned(),
            class: class.to_owned(),
            well_known: None,
            made: change,
            change,
            properties,
            items: BTreeSet::new(),
        };
        self.folders.insert(number, folder);
        number
    }

    pub(super) fn children(&self, parent: u32) -> impl Iterator<Item = &Folder> {
        tree::children(&self.folders, parent)
    }

    /// Every folder below, each before those below it.
    pub(super) fn below(&self, top: u32) -> Vec<u32> {
        tree::below(&self.folders, top)
    }

    /// Notes a change of a folder.
    pub(super) fn touch_folder(&mut self, number: u32) {
        let change = self.next_change();
        if let Some(folder) = self.folders.get_mut(&number) {
            folder.change = change;
        }
    }

    /// Removes a folder and all below; its items go where `into` says, or for good.
    pub(super) fn remove_folder(&mut self, number: u32, into: Option<u32>, ids: &mut Ids, now: i64) {
        for child in self.children(number).map(|f| f.number).collect::<Vec<u32>>() {
            self.remove_folder(child, into, ids, now);
        }
        let items: Vec<u64> =
            self.folders.get(&number).map(|f| f.items.iter().copied().collect()).unwrap_or_default();
        for item in items {
            match into {
                Some(bin) => self.relocate(item, bin, ids, now),
                None => self.purge(item),
            }
        }
        if let Some(folder) = self.folders.remove(&number) {
            self.index.folder_ids.remove(&folder.id);
            let at = self.next_change();
            self.gone.push(Gone { id: folder.id, folder: 0, entered: folder.made, at });
        }
    }

    /// Is `folder` the folder `top` or below it?
    pub(super) fn is_below(&self, folder: u32, top: u32) -> bool {
        tree::is_below(&self.folders, folder, top)
    }

    /// Its name and those above it, down from the mailbox's top. `/` and `\` in a name are written `\/` and `\\`.
    pub(super) fn path(&self, number: u32) -> String {
        tree::path(&self.folders, number)
    }

    /// How many folders lie above it.
    pub(super) fn depth(&self, number: u32) -> usize {
        tree::depth(&self.folders, number)
    }

    pub(super) fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// The number of the last change.
    pub(super) fn last_change(&self) -> u64 {
        self.changes
    }

    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next_item;
        self.next_item += 1;
        number
    }

    /// An item by its id, which is told apart by case.
    pub(super) fn item(&self, id: &str) -> Option<&Item> {
        self.items.get(self.index.ids.get(id)?)
    }

    /// Changes an item, keeping indexes, change and time. `other`: more than its read flag is changed.
    pub(super) fn update(&mut self, number: u64, now: i64, other: bool, f: impl FnOnce(&mut Item, u64)) {
        let Some(mut item) = self.items.remove(&number) else { return };
        self.index.bytes = self.index.bytes.saturating_sub(item.size());
        item.change = self.next_change();
        if other {
            item.other_change = item.change;
        }
        item.modified = now;
        let change = item.change;
        f(&mut item, change);
        self.index.bytes += item.size();
        self.items.insert(number, item);
    }

    /// Moves an item: its id changes.
    pub(super) fn relocate(&mut self, number: u64, to: u32, ids: &mut Ids, now: i64) {
        let id = ids.item();
        let change = self.next_change();
        let Some(item) = self.items.get_mut(&number) else { return };
        let from = item.folder;
        let old = std::mem::replace(&mut item.id, id.clone());
        let entered = std::mem::replace(&mut item.entered, change);
        (item.folder, item.change, item.other_change, item.modified) = (to, change, change, now);
        self.index.ids.remove(&old);
        self.index.ids.insert(id, number);
        self.gone.push(Gone { id: old, folder: from, entered, at: change });
        if let Some(folder) = self.folders.get_mut(&from) {
            folder.items.remove(&number);
        }
        if let Some(folder) = self.folders.get_mut(&to) {
            folder.items.insert(number);
        }
    }

    /// Removes for good.
    pub(super) fn purge(&mut self, number: u64) {
        let at = self.next_change();
        let Some(item) = self.items.remove(&number) else { return };
        self.index.bytes = self.index.bytes.saturating_sub(item.size());
        self.index.ids.remove(&item.id);
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.items.remove(&number);
        }
        self.gone.push(Gone { id: item.id, folder: item.folder, entered: item.entered, at });
    }

    /// Shows a quota of so many octets on the root (PidTagProhibitReceiveQuota, in units of 1,024).
    pub(super) fn show_quota(&mut self, octets: u64) {
        let root = self.folders.values_mut().find(|f| f.well_known.as_deref() == Some("root"));
        if let Some(root) = root {
            root.properties.insert("Integer 0x666a".to_owned(), vec![(octets / 1024).to_string()]);
        }
    }

    /// Octets in use.
    pub(super) fn bytes(&self) -> u64 {
        self.index.bytes
    }
}
