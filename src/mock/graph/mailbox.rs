//! A mailbox: its folders and messages, with the indexes that make it fast.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{Id, Ids, Immutable, Kind, OfFolder, OfMessage, print};
use super::options::Language;
use super::state::{Content, Item, Recipient, is_named};
use super::well_known::{Known, WELL_KNOWN};
use crate::mock::service::kept::Keepable;
use crate::mock::service::tree::{self, Branch};

/// A container of messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Folder {
    pub(super) number: u32,
    pub(super) id: Id<OfFolder>,
    /// 0: none.
    pub(super) parent: u32,
    pub(super) name: Box<str>,
    pub(super) hidden: bool,
    pub(super) well_known: Known,
    /// The last change of the folder itself, and the one that made it.
    #[serde(default)]
    pub(super) change: u64,
    #[serde(default)]
    pub(super) entered: u64,
    /// Its class, where it is not `IPF.Note`.
    #[serde(default)]
    pub(super) class: Option<Box<str>>,
    #[serde(skip)]
    pub(super) items: BTreeSet<u64>,
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
        self.parent == 0 && self.well_known.name() == Some("msgfolderroot")
    }
}

/// A message that left a folder: what a delta tells of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Gone {
    pub(super) change: u64,
    pub(super) folder: u32,
    pub(super) entered: u64,
    pub(super) id: Id<OfMessage>,
    pub(super) immutable: Id<Immutable>,
    /// It is elsewhere, or can be recovered.
    pub(super) recoverable: bool,
}

/// A folder that is no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GoneFolder {
    pub(super) change: u64,
    pub(super) entered: u64,
    pub(super) id: Id<OfFolder>,
}

/// So many departures of messages are remembered; tokens from before the oldest of them expire.
const REMEMBERED: usize = 200_000;

/// A person's or shared store.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mailbox {
    pub(super) address: String,
    pub(super) guid: String,
    pub(super) created: i64,
    pub(super) folders: BTreeMap<u32, Box<Folder>>,
    pub(super) items: BTreeMap<u64, Box<Item>>,
    next_folder: u32,
    next_item: u64,
    changes: u64,
    #[serde(default)]
    gone: VecDeque<Gone>,
    #[serde(default)]
    pub(super) gone_folders: Vec<GoneFolder>,
    /// Departures up to this change are no longer remembered.
    #[serde(default)]
    pub(super) forgotten: u64,
    #[serde(skip)]
    index: Index,
}

/// Prints of ids ([`print`]) with what has them. The texts are held once, by the items.
#[derive(Debug, Default)]
struct Index {
    folder_ids: BTreeSet<(u64, u32)>,
    ids: BTreeSet<(u64, u64)>,
    immutable: BTreeSet<(u64, u64)>,
    /// Ids of extended properties and media types, held once for all items.
    words: BTreeSet<Arc<str>>,
    /// Those whom messages are to, held once for all items.
    people: BTreeSet<Arc<[Recipient]>>,
    /// Named property → (value, item).
    named: BTreeMap<Arc<str>, BTreeSet<(Arc<str>, u64)>>,
    bytes: u64,
}

/// Replaces what an item holds by an equal one that is known, or makes it known.
fn share<T: ?Sized + Ord>(known: &mut BTreeSet<Arc<T>>, own: &mut Arc<T>) {
    match known.get(own) {
        Some(held) => *own = held.clone(),
        None => drop(known.insert(own.clone())),
    }
}

fn key<K: Kind>(id: &Id<K>) -> u64 {
    print(&id.text())
}

/// What an index has under a print.
fn under<N: Copy + Ord>(
    set: &BTreeSet<(u64, N)>,
    text: &str,
    (least, most): (N, N),
) -> impl Iterator<Item = N> {
    let print = print(text);
    set.range((print, least)..=(print, most)).map(|(_, number)| *number)
}

impl Keepable for Mailbox {
    fn address(&self) -> &str {
        &self.address
    }

    fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content> {
        self.items.values_mut().flat_map(|item| item.contents_mut())
    }

    fn reindex(&mut self) {
        self.index = Index::default();
        for (number, folder) in &mut self.folders {
            folder.items.clear();
            self.index.folder_ids.insert((key(&folder.id), *number));
            if folder.change == 0 {
                // Saved before folders had changes.
                self.changes += 1;
                (folder.change, folder.entered) = (self.changes, self.changes);
            }
        }
        let items = std::mem::take(&mut self.items);
        for (_, item) in items {
            self.enlist(item);
        }
    }
}

impl Mailbox {
    /// A mailbox with nothing in it but its well-known folders.
    pub(super) fn new(address: &str, language: Language, ids: &mut Ids, now: i64) -> Mailbox {
        let mut mailbox = Mailbox {
            address: address.to_owned(),
            guid: ids.guid(),
            created: now,
            folders: BTreeMap::new(),
            items: BTreeMap::new(),
            next_folder: 1,
            next_item: 1,
            changes: 0,
            gone: VecDeque::new(),
            gone_folders: Vec::new(),
            forgotten: 0,
            index: Index::default(),
        };
        let column = match language {
            Language::English => 0,
            Language::German => 1,
            Language::French => 2,
        };
        for (place, (_, parent, hidden, names)) in WELL_KNOWN.iter().enumerate() {
            let parent = mailbox.well_known(parent).unwrap_or(0);
            let number = mailbox.add_folder(parent, names[column], *hidden, ids);
            if let Some(folder) = mailbox.folders.get_mut(&number) {
                folder.well_known = Known::at(place);
            }
        }
        mailbox
    }

    fn enlist(&mut self, mut item: Box<Item>) {
        item.shrink();
        self.index.ids.insert((key(&item.id), item.number));
        self.index.immutable.insert((key(&item.immutable), item.number));
        self.index_properties(&mut item);
        self.index.bytes += item.size();
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.items.insert(item.number);
        }
        self.items.insert(item.number, item);
    }

    fn index_properties(&mut self, item: &mut Item) {
        let media = item.attachments.iter_mut().filter_map(|a| a.content_type.as_mut());
        item.properties.ids_mut().chain(media).for_each(|word| share(&mut self.index.words, word));
        share(&mut self.index.people, &mut item.to);
        for (id, value) in item.properties.named() {
            let values = match self.index.named.get_mut(id) {
                Some(values) => values,
                None => self.index.named.entry(id.clone()).or_default(),
            };
            values.insert((value.clone(), item.number));
        }
    }

    fn unindex_properties(&mut self, item: &Item) {
        for (id, value) in item.properties.named() {
            if let Some(values) = self.index.named.get_mut(id) {
                values.remove(&(value.clone(), item.number));
            }
        }
    }

    /// A well-known folder's number.
    pub(super) fn well_known(&self, name: &str) -> Option<u32> {
        // There are few, and they are the first ones.
        self.folders
            .values()
            .take(WELL_KNOWN.len() + 1)
            .find(|f| f.well_known.name().is_some_and(|w| w.eq_ignore_ascii_case(name)))
            .map(|f| f.number)
    }

    /// A folder by its id or well-known name.
    pub(super) fn folder(&self, id: &str) -> Option<u32> {
        under(&self.index.folder_ids, id, (0, u32::MAX))
            .find(|number| self.folders.get(number).is_some_and(|folder| folder.id.is(id)))
            .or_else(|| self.well_known(id))
    }

    pub(super) fn add_folder(&mut self, parent: u32, name: &str, hidden: bool, ids: &mut Ids) -> u32 {
        let number = self.next_folder;
        self.next_folder += 1;
        let id = ids.draw();
        let change = self.next_change();
        self.index.folder_ids.insert((key(&id), number));
        self.folders.insert(
            number,
            Box::new(Folder {
                number,
                id,
                parent,
                name: name.into(),
                hidden,
                well_known: Known::NO,
                change,
                entered: change,
                class: None,
                items: BTreeSet::new(),
            }),
        );
        number
    }

    pub(super) fn children(&self, parent: u32) -> impl Iterator<Item = &Folder> {
        tree::children(&self.folders, parent).map(Box::as_ref)
    }

    /// Removes a folder and all below; its messages become recoverable.
    pub(super) fn remove_folder(&mut self, number: u32, ids: &mut Ids, now: i64) {
        let below: Vec<u32> = self.children(number).map(|f| f.number).collect();
        for child in below {
            self.remove_folder(child, ids, now);
        }
        let items: Vec<u64> =
            self.folders.get(&number).map(|f| f.items.iter().copied().collect()).unwrap_or_default();
        for item in items {
            self.delete(item, ids, now);
        }
        if let Some(folder) = self.folders.remove(&number) {
            self.index.folder_ids.remove(&(key(&folder.id), number));
            let change = self.next_change();
            self.gone_folders.push(GoneFolder { change, entered: folder.entered, id: folder.id });
        }
    }

    /// Is `folder` the folder `top` or below it?
    pub(super) fn is_below(&self, folder: u32, top: u32) -> bool {
        tree::is_below(&self.folders, folder, top)
    }

    /// Its name and those above it, the root's left out. `/` and `\` in a name are written `\/` and `\\`.
    pub(super) fn path(&self, number: u32) -> String {
        tree::path(&self.folders, number)
    }

    /// How many folders lie above it.
    pub(super) fn depth(&self, number: u32) -> usize {
        tree::depth(&self.folders, number)
    }

    pub(super) fn recoverable(&self) -> u32 {
        self.well_known("recoverableitemsdeletions").unwrap_or(0)
    }

    /// Notes that a folder itself changed.
    pub(super) fn touch_folder(&mut self, number: u32) {
        let change = self.next_change();
        if let Some(folder) = self.folders.get_mut(&number) {
            folder.change = change;
        }
    }

    /// The number of the last change.
    pub(super) fn last_change(&self) -> u64 {
        self.changes
    }

    /// The messages that left a folder after `change`.
    pub(super) fn gone_after(&self, change: u64) -> impl Iterator<Item = &Gone> {
        self.gone.iter().skip(self.gone.partition_point(|g| g.change <= change))
    }

    fn remember(&mut self, gone: Gone) {
        if self.gone.len() >= REMEMBERED
            && let Some(oldest) = self.gone.pop_front()
        {
            self.forgotten = oldest.change;
        }
        self.gone.push_back(gone);
    }

    pub(super) fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    pub(super) fn next_number(&mut self) -> u64 {
        let number = self.next_item;
        self.next_item += 1;
        number
    }

    /// Puts a new message in its folder.
    pub(super) fn add(&mut self, item: Item) {
        self.enlist(Box::new(item));
    }

    /// A message by either id. What is recoverably deleted is not found by its immutable id.
    pub(super) fn item(&self, id: &str) -> Option<&Item> {
        let all = (0, u64::MAX);
        let held = |number| self.items.get(&number).map(Box::as_ref);
        if let Some(item) = under(&self.index.ids, id, all).filter_map(held).find(|item| item.id.is(id)) {
            return Some(item);
        }
        let item =
            under(&self.index.immutable, id, all).filter_map(held).find(|item| item.immutable.is(id))?;
        (item.folder != self.recoverable()).then_some(item)
    }

    /// Changes a message, keeping indexes, change key and time.
    pub(super) fn update<R>(&mut self, number: u64, now: i64, f: impl FnOnce(&mut Item) -> R) -> Option<R> {
        let mut item = self.items.remove(&number)?;
        self.unindex_properties(&item);
        self.index.bytes = self.index.bytes.saturating_sub(item.size());
        let result = f(&mut item);
        item.shrink();
        item.change = self.next_change();
        item.modified = now;
        self.index.bytes += item.size();
        self.index_properties(&mut item);
        self.items.insert(number, item);
        Some(result)
    }

    /// Moves a message: its classic id changes.
    pub(super) fn relocate(&mut self, number: u64, to: u32, ids: &mut Ids, now: i64) {
        let id = ids.draw::<OfMessage>();
        let change = self.next_change();
        let Some(item) = self.items.get_mut(&number) else { return };
        let from = item.folder;
        let old = std::mem::replace(&mut item.id, id.clone());
        (item.folder, item.change, item.modified) = (to, change, now);
        let entered = std::mem::replace(&mut item.entered, change);
        let immutable = item.immutable.clone();
        self.index.ids.remove(&(key(&old), number));
        self.index.ids.insert((key(&id), number));
        if let Some(folder) = self.folders.get_mut(&from) {
            folder.items.remove(&number);
        }
        if let Some(folder) = self.folders.get_mut(&to) {
            folder.items.insert(number);
        }
        self.remember(Gone { change, folder: from, entered, id: old, immutable, recoverable: true });
    }

    /// Deletes recoverably; what is recoverably deleted already goes for good.
    pub(super) fn delete(&mut self, number: u64, ids: &mut Ids, now: i64) {
        let bin = self.recoverable();
        if self.items.get(&number).is_some_and(|i| i.folder == bin) {
            self.purge(number);
        } else {
            self.relocate(number, bin, ids, now);
        }
    }

    /// Removes for good.
    pub(super) fn purge(&mut self, number: u64) {
        let Some(item) = self.items.remove(&number) else { return };
        self.unindex_properties(&item);
        self.index.ids.remove(&(key(&item.id), number));
        self.index.immutable.remove(&(key(&item.immutable), number));
        self.index.bytes = self.index.bytes.saturating_sub(item.size());
        if let Some(folder) = self.folders.get_mut(&item.folder) {
            folder.items.remove(&number);
        }
        let Item { folder, entered, id, immutable, .. } = *item;
        let change = self.next_change();
        self.remember(Gone { change, folder, entered, id, immutable, recoverable: false });
    }

    /// Octets in use.
    pub(super) fn bytes(&self) -> u64 {
        self.index.bytes
    }

    /// The items whose named property begins with `value`, in order of number; `None` if no index can tell.
    pub(super) fn having(&self, property: &str, value: &str) -> Option<Vec<u64>> {
        if !is_named(property) {
            return None;
        }
        let mut found: Vec<u64> = self
            .index
            .named
            .get(property)
            .map(|values| {
                values
                    .range((value.into(), 0)..)
                    .take_while(|(v, _)| v.starts_with(value))
                    .map(|(_, number)| *number)
                    .collect()
            })
            .unwrap_or_default();
        found.sort_unstable();
        Some(found)
    }
}
