//! What is done with folders.

use super::act::{Act, Done};
use super::call::{Delete, FolderRef, Given, View};
use super::input::FolderInput;
use super::mailbox::Folder;
use super::render;
use super::reply::Fail;
use super::restriction::Restriction;
use super::shape::Shape;

impl Act<'_> {
    pub(super) fn get_folder(&mut self, shape: &Shape, id: &FolderRef) -> Done {
        let folder = self.held_folder(id)?;
        Ok(format!("<m:Folders>{}</m:Folders>", render::folder(folder, shape, self.mailbox)))
    }

    pub(super) fn find_folder(
        &mut self,
        shape: &Shape,
        deep: bool,
        view: Option<View>,
        restriction: Option<&Restriction>,
        parent: &FolderRef,
    ) -> Done {
        let parent = self.folder(parent)?;
        let mailbox = &*self.mailbox;
        let numbers =
            if deep { mailbox.below(parent) } else { mailbox.children(parent).map(|f| f.number).collect() };
        let fits = |folder: &&Folder| {
            let values = |path: &super::shape::Path| render::folder_values(folder, path, mailbox);
            restriction.is_none_or(|r| r.holds(&values, true))
        };
        let found: Vec<&Folder> =
            numbers.iter().filter_map(|n| mailbox.folders.get(n)).filter(fits).collect();
        let page = page(found.len(), view, self.options.limits.find)?;
        let folders: String =
            found[page.from..page.to].iter().map(|f| render::folder(f, shape, mailbox)).collect();
        Ok(format!("<m:RootFolder {}><t:Folders>{folders}</t:Folders></m:RootFolder>", page.attributes()))
    }

    pub(super) fn create_folder(&mut self, parent: &FolderRef, given: &Given<FolderInput>) -> Done {
        let given = given.as_ref().map_err(Clone::clone)?;
        let parent = self.folder(parent)?;
        let name = given.name.as_deref().unwrap_or("");
        self.check_name(parent, name, None)?;
        let sizes = &self.options.sizes;
        if self.mailbox.children(parent).count() >= sizes.subfolders
            || self.mailbox.depth(parent) >= sizes.folder_depth
        {
            let quota = Fail::new("ErrorQuotaExceeded", "The mailbox has too many folders here.");
            return Err(Fail::wrapped(&quota));
        }
        let class = given.class.as_deref().unwrap_or("");
        let number = self.mailbox.add_folder(parent, name, class, given.properties.clone(), self.ids);
        self.counters.folder_writes += 1;
        self.told(number)
    }

    /// The answer to a change of a folder: its id.
    fn told(&self, number: u32) -> Done {
        let folder = self.mailbox.folders.get(&number).ok_or_else(Fail::no_folder)?;
        Ok(format!("<m:Folders><t:Folder>{}</t:Folder></m:Folders>", render::folder_id(folder)))
    }

    /// Names are unique among siblings, without regard to case. `own`: the folder that is to bear it.
    fn check_name(&self, parent: u32, name: &str, own: Option<u32>) -> Result<(), Fail> {
        if name.is_empty() || name.chars().count() > self.options.sizes.folder_name {
            let text = "The display name of the folder is missing or too long.";
            return Err(Fail::new("ErrorFolderSavePropertyError", text));
        }
        let folded = name.to_lowercase();
        let taken = |f: &Folder| Some(f.number) != own && f.name.to_lowercase() == folded;
        if self.mailbox.children(parent).any(taken) {
            return Err(Fail::new("ErrorFolderExists", "A folder with the specified name already exists., "));
        }
        Ok(())
    }

    pub(super) fn update_folder(
        &mut self,
        id: &FolderRef,
        change: &Given<(FolderInput, Vec<String>)>,
    ) -> Done {
        let (given, deleted) = change.as_ref().map_err(Clone::clone)?;
        let number = self.folder(id)?;
        let folder = self.held_folder(id)?;
        if let Some(name) = &given.name
            && *name != folder.name
        {
            if folder.well_known.is_some() {
                return Err(Fail::new("ErrorFolderSave", "A distinguished folder cannot be renamed."));
            }
            self.check_name(folder.parent, name, Some(number))?;
        }
        if let Some(folder) = self.mailbox.folders.get_mut(&number) {
            folder.name = given.name.clone().unwrap_or_else(|| folder.name.clone());
            folder.class = given.class.clone().unwrap_or_else(|| folder.class.clone());
            folder.properties.extend(given.properties.clone());
            folder.properties.retain(|id, _| !deleted.contains(id));
        }
        self.mailbox.touch_folder(number);
        self.counters.folder_writes += 1;
        self.told(number)
    }

    pub(super) fn move_folder(&mut self, to: &FolderRef, id: &FolderRef) -> Done {
        let to = self.folder(to)?;
        let folder = self.held_folder(id)?;
        let (number, name) = (folder.number, folder.name.clone());
        if folder.well_known.is_some() {
            return Err(Fail::new("ErrorMoveDistinguishedFolder", "Distinguished folders cannot be moved."));
        }
        if self.mailbox.is_below(to, number) {
            return Err(Fail::new("ErrorMoveCopyFailed", "A folder cannot be moved into itself."));
        }
        self.check_name(to, &name, Some(number))?;
        if let Some(folder) = self.mailbox.folders.get_mut(&number) {
            folder.parent = to;
        }
        self.mailbox.touch_folder(number);
        self.counters.folder_writes += 1;
        self.told(number)
    }

    pub(super) fn delete_folder(&mut self, how: Delete, id: &FolderRef) -> Done {
        let folder = self.held_folder(id)?;
        let (number, name) = (folder.number, folder.name.clone());
        if folder.well_known.is_some() {
            let text = "Distinguished folders cannot be deleted.";
            return Err(Fail::new("ErrorDeleteDistinguishedFolder", text));
        }
        self.counters.folder_writes += 1;
        let bin = self.mailbox.well_known("deleteditems").unwrap_or(0);
        if how == Delete::ToDeletedItems && !self.mailbox.is_below(number, bin) {
            // In the folder of deleted items a name that is taken gets a number.
            let mut free = name.clone();
            let mut count = 1;
            while self.check_name(bin, &free, Some(number)).is_err() && count < 10_000 {
                free = format!("{name} ({count})");
                count += 1;
            }
            if let Some(folder) = self.mailbox.folders.get_mut(&number) {
                (folder.parent, folder.name) = (bin, free);
            }
            self.mailbox.touch_folder(number);
        } else {
            let into = self.recoverable(how);
            self.mailbox.remove_folder(number, into, self.ids, self.now);
        }
        Ok(String::new())
    }

    /// Where things go that are deleted so.
    pub(super) fn recoverable(&self, how: Delete) -> Option<u32> {
        match how {
            Delete::Hard => None,
            Delete::Soft => self.mailbox.well_known("recoverableitemsdeletions"),
            Delete::ToDeletedItems => self.mailbox.well_known("deleteditems"),
        }
    }

    pub(super) fn empty_folder(&mut self, how: Delete, subfolders: bool, id: &FolderRef) -> Done {
        let number = self.folder(id)?;
        let into = self.recoverable(how).filter(|bin| *bin != number);
        let items: Vec<u64> =
            self.mailbox.folders.get(&number).map(|f| f.items.iter().copied().collect()).unwrap_or_default();
        for item in items {
            match into {
                Some(bin) => self.mailbox.relocate(item, bin, self.ids, self.now),
                None => self.mailbox.purge(item),
            }
            self.counters.deletes += 1;
        }
        if subfolders {
            let own = |f: &&Folder| f.well_known.is_none();
            let below: Vec<u32> = self.mailbox.children(number).filter(own).map(|f| f.number).collect();
            for child in below {
                self.mailbox.remove_folder(child, into, self.ids, self.now);
                self.counters.folder_writes += 1;
            }
        }
        Ok(String::new())
    }
}

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) from: usize,
    pub(super) to: usize,
    total: usize,
}

impl Page {
    /// What the answer says of it.
    pub(super) fn attributes(&self) -> String {
        format!(
            "IndexedPagingOffset=\"{}\" TotalItemsInView=\"{}\" IncludesLastItemInRange=\"{}\"",
            self.to,
            self.total,
            self.to >= self.total
        )
    }
}

/// The part of `total` things that a view wants. Without a view all are told, if they are not too many.
pub(super) fn page(total: usize, view: Option<View>, limit: usize) -> Result<Page, Fail> {
    let Some(view) = view else {
        if total > limit {
            let text = "The request exceeded the number of objects that can be found without paging.";
            return Err(Fail::new("ErrorExceededFindCountLimit", text)
                .with("PolicyLimit", limit.to_string())
                .with("CurrentLimit", total.to_string()));
        }
        return Ok(Page { from: 0, to: total, total });
    };
    let many = view.most.unwrap_or(limit).min(limit);
    if view.from_end {
        let to = total.saturating_sub(view.offset);
        return Ok(Page { from: to.saturating_sub(many), to, total });
    }
    let from = view.offset.min(total);
    Ok(Page { from, to: from.saturating_add(many).min(total), total })
}
