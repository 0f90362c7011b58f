//! Acts in one mailbox: each thing a request asks for by itself, with its own answer.

use super::call::{Call, FolderRef, ItemRef};
use super::ids::{self, Ids};
use super::mailbox::{Folder, Mailbox};
use super::options::EwsOptions;
use super::reply::{self, Fail, Reply};
use super::state::Item;
use super::truth::Counters;

/// One request at work.
pub(super) struct Act<'a> {
    pub(super) mailbox: &'a mut Mailbox,
    pub(super) ids: &'a mut Ids,
    pub(super) options: &'a EwsOptions,
    pub(super) counters: &'a mut Counters,
    /// Milliseconds since 1970.
    pub(super) now: i64,
    /// So many of the things asked for are done; the rest is answered as not tried.
    pub(super) most: usize,
    /// This one of them is not done, for this reason.
    pub(super) failing: Option<(usize, Fail)>,
    /// Exports are cut.
    pub(super) cut_exports: bool,
    /// The messages made: their numbers.
    pub(super) made: Vec<u64>,
}

/// What became of one thing asked for: what its answer holds.
pub(super) type Done = Result<String, Fail>;

impl Act<'_> {
    /// Acts on all of a call.
    pub(super) fn run(&mut self, call: &Call) -> Reply {
        let results = match call {
            Call::GetFolder { shape, ids } => self.each(ids, |act, id| act.get_folder(shape, id)),
            Call::FindFolder { shape, deep, view, restriction, parents } => self
                .each(parents, |act, parent| {
                    act.find_folder(shape, *deep, *view, restriction.as_ref(), parent)
                }),
            Call::CreateFolder { parent, folders } => {
                self.each(folders, |act, given| act.create_folder(parent, given))
            }
            Call::UpdateFolder { changes } => {
                self.each(changes, |act, (id, change)| act.update_folder(id, change))
            }
            Call::MoveFolder { to, ids } => self.each(ids, |act, id| act.move_folder(to, id)),
            Call::DeleteFolder { how, ids } => self.each(ids, |act, id| act.delete_folder(*how, id)),
            Call::EmptyFolder { how, subfolders, ids } => {
                self.each(ids, |act, id| act.empty_folder(*how, *subfolders, id))
            }
            Call::CreateItem { folder, items } => {
                self.each(items, |act, given| act.create_item(folder, given))
            }
            Call::GetItem { shape, ids } => self.each(ids, |act, id| act.get_item(shape, id)),
            Call::FindItem { shape, nothing, view, restriction, order, parents } => self
                .each(parents, |act, parent| {
                    act.find_item(shape, *nothing, *view, restriction.as_ref(), order, parent)
                }),
            Call::UpdateItem { conflict, changes } => {
                self.each(changes, |act, (id, updates)| act.update_item(*conflict, id, updates))
            }
            Call::MoveItem { copy, to, ids, tell } => {
                self.each(ids, |act, id| act.move_item(*copy, to, id, *tell))
            }
            Call::DeleteItem { how, ids } => self.each(ids, |act, id| act.delete_item(*how, id)),
            Call::SyncItems { shape, folder, state, ignore, most } => {
                vec![self.sync_items(shape, folder, state, ignore, *most)]
            }
            Call::SyncHierarchy { shape, folder, state } => vec![self.sync_hierarchy(shape, folder, state)],
            Call::ConvertId { to, ids } => self.each(ids, |act, id| act.convert(to, id)),
            Call::Export { ids } => self.each(ids, |act, id| act.export(id)),
            Call::Upload { items } => self.each(items, |act, item| act.upload(item)),
        };
        let operation = call.operation();
        let inside = match operation {
            "CreateItem" | "GetItem" | "UpdateItem" | "MoveItem" | "CopyItem" => "<m:Items/>",
            "GetFolder" | "CreateFolder" | "UpdateFolder" | "MoveFolder" => "<m:Folders/>",
            _ => "",
        };
        let mut reply = reply::messages(operation, &results, inside);
        reply.created = self.made.iter().map(|number| (self.mailbox.address.clone(), *number)).collect();
        for fail in results.iter().filter_map(|r| r.as_ref().err()) {
            *self.counters.refused.entry(fail.code.to_string()).or_insert(0) += 1;
        }
        reply
    }

    fn each<T>(&mut self, list: &[T], mut f: impl FnMut(&mut Self, &T) -> Done) -> Vec<Done> {
        let (most, failing) = (self.most, self.failing.clone());
        list.iter()
            .enumerate()
            .map(|(place, one)| match &failing {
                _ if place >= most => Err(Fail::stopped()),
                Some((at, fail)) if *at == place => Err(fail.clone()),
                _ => f(self, one),
            })
            .collect()
    }

    /// A folder's number.
    pub(super) fn folder(&self, folder: &FolderRef) -> Result<u32, Fail> {
        match folder {
            FolderRef::Known(_, Some(address)) if *address != self.mailbox.address => {
                Err(Fail::new("ErrorAccessDenied", "Access is denied. Check credentials and try again."))
            }
            FolderRef::Known(name, _) => self.mailbox.well_known(name).ok_or_else(Fail::no_folder),
            FolderRef::Id(id) => {
                checked(id)?;
                if self.mailbox.item(id).is_some() {
                    let text = "An item's id stands where a folder's is due.";
                    return Err(Fail::new("ErrorCannotUseItemIdForFolderId", text));
                }
                self.mailbox.folder(id).ok_or_else(Fail::no_folder)
            }
        }
    }

    /// The same, with the folder.
    pub(super) fn held_folder(&self, folder: &FolderRef) -> Result<&Folder, Fail> {
        self.mailbox.folders.get(&self.folder(folder)?).ok_or_else(Fail::no_folder)
    }

    /// An item.
    pub(super) fn item(&self, item: &ItemRef) -> Result<&Item, Fail> {
        checked(&item.id)?;
        if let Some(key) = &item.change_key
            && super::state::change_of(key).is_none()
        {
            return Err(Fail::new("ErrorInvalidChangeKey", "The change key is invalid."));
        }
        if self.mailbox.folder(&item.id).is_some() {
            let text = "A folder's id stands where an item's is due.";
            return Err(Fail::new("ErrorCannotUseFolderIdForItemId", text));
        }
        self.mailbox.item(&item.id).ok_or_else(Fail::not_found)
    }
}

fn checked(id: &str) -> Result<(), Fail> {
    if id.is_empty() {
        return Err(Fail::new("ErrorInvalidIdEmpty", "Id is empty."));
    }
    if !ids::well_formed(id) {
        return Err(Fail::new("ErrorInvalidIdMalformed", "Id is malformed."));
    }
    Ok(())
}
