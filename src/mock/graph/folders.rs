//! Folders: listed ten at a time, named once among siblings whatever the case.

use serde_json::{Value, json};

use super::act::{Act, Acted};
use super::filter::{self, Field};
use super::query::View;
use super::reply::{Refusal, Reply};

/// The service's page where none is asked for.
const PAGE: usize = 10;

impl Act<'_> {
    pub(super) fn user(&self, view: &View) -> Acted {
        let address = &self.mailbox.address;
        let name = address.split('@').next().unwrap_or(address);
        let all = [
            ("id", &self.mailbox.guid),
            ("displayName", &name.to_owned()),
            ("mail", address),
            ("userPrincipalName", address),
        ];
        let out: serde_json::Map<String, Value> =
            all.iter().filter(|(n, _)| view.wants(n)).map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
        Ok(Reply::json(200, &Value::Object(out)))
    }

    pub(super) fn list_folders(&self, parent: &str, view: &View) -> Acted {
        let parent = self.folder(parent)?;
        let wanted = |f: &&super::mailbox::Folder| {
            (view.hidden || !f.hidden)
                && view.filter.as_ref().is_none_or(|filter| {
                    filter.holds(true, &|_| None, &|field| match field {
                        Field::DisplayName => Some(filter::Value::Text(&f.name)),
                        _ => None,
                    })
                })
        };
        let all: Vec<u32> = self.mailbox.children(parent).filter(wanted).map(|f| f.number).collect();
        let top = view.top.unwrap_or(PAGE);
        let after = view.after.unwrap_or(0);
        let mut rest = all.iter().filter(|n| u64::from(**n) > after).skip(view.skip);
        let page: Vec<u32> = rest.by_ref().take(top).copied().collect();
        let mut out = json!({
            "@odata.context": format!("{}/$metadata#users('{}')/mailFolders", self.show.root, self.mailbox.guid),
            "value": page.iter().map(|n| self.show.folder(self.mailbox, *n, view)).collect::<Vec<_>>(),
        });
        if view.count {
            out["@odata.count"] = json!(all.len());
        }
        if let (Some(_), Some(last)) = (rest.next(), page.last()) {
            out["@odata.nextLink"] = json!(view.next_link(self.address, u64::from(*last)));
        }
        Ok(Reply::json(200, &out))
    }

    pub(super) fn get_folder(&self, id: &str, view: &View) -> Acted {
        let number = self.folder(id)?;
        Ok(Reply::json(200, &self.show.folder(self.mailbox, number, view)))
    }

    pub(super) fn create_folder(&mut self, parent: &str, name: &str, hidden: bool) -> Acted {
        let parent = self.folder(parent)?;
        self.name_fits(parent, name, None)?;
        if self.mailbox.children(parent).count() >= self.options.sizes.subfolders
            || self.mailbox.depth(parent) >= self.options.sizes.folder_depth
        {
            return Err(Refusal::new(
                507,
                "ErrorQuotaExceeded",
                "There are as many folders as there can be.",
            ));
        }
        let number = self.mailbox.add_folder(parent, name, hidden, self.ids);
        self.counters.folder_writes += 1;
        Ok(Reply::json(201, &self.show.folder(self.mailbox, number, &View::default())))
    }

    pub(super) fn rename_folder(&mut self, id: &str, name: &str) -> Acted {
        let number = self.user_folder(id)?;
        let parent = self.mailbox.folders.get(&number).map_or(0, |f| f.parent);
        self.name_fits(parent, name, Some(number))?;
        if let Some(folder) = self.mailbox.folders.get_mut(&number) {
            folder.name = name.into();
        }
        self.mailbox.touch_folder(number);
        self.counters.folder_writes += 1;
        Ok(Reply::json(200, &self.show.folder(self.mailbox, number, &View::default())))
    }

    pub(super) fn move_folder(&mut self, id: &str, to: &str) -> Acted {
        let (number, to) = (self.user_folder(id)?, self.folder(to)?);
        if self.mailbox.is_below(to, number) {
            return Err(Refusal::new(400, "ErrorMoveCopyFailed", "A folder cannot be moved into itself."));
        }
        let name = self.mailbox.folders.get(&number).map_or_else(Box::default, |f| f.name.clone());
        self.name_fits(to, &name, Some(number))?;
        if let Some(folder) = self.mailbox.folders.get_mut(&number) {
            folder.parent = to;
        }
        self.mailbox.touch_folder(number);
        self.counters.folder_writes += 1;
        Ok(Reply::json(201, &self.show.folder(self.mailbox, number, &View::default())))
    }

    pub(super) fn delete_folder(&mut self, id: &str) -> Acted {
        let number = self.user_folder(id)?;
        self.mailbox.remove_folder(number, self.ids, self.now);
        self.counters.folder_writes += 1;
        Ok(Reply::empty(204))
    }

    /// A folder that may be renamed, moved and removed.
    fn user_folder(&self, id: &str) -> Result<u32, Refusal> {
        let number = self.folder(id)?;
        match self.mailbox.folders.get(&number) {
            Some(f) if f.well_known.name().is_none() => Ok(number),
            _ => Err(Refusal::new(
                403,
                "ErrorDeleteDistinguishedFolder",
                "A well-known folder cannot be renamed, moved or deleted.",
            )),
        }
    }

    pub(super) fn name_fits(&self, parent: u32, name: &str, except: Option<u32>) -> Result<(), Refusal> {
        if name.chars().count() > self.options.sizes.folder_name {
            return Err(Refusal::new(400, "ErrorInvalidRequest", "The folder's display name is too long."));
        }
        let folded = name.to_lowercase();
        let taken = |f: &super::mailbox::Folder| Some(f.number) != except && f.name.to_lowercase() == folded;
        if self.mailbox.children(parent).any(taken) {
            return Err(Refusal::new(
                409,
                "ErrorFolderExists",
                "A folder with the specified name already exists.",
            ));
        }
        Ok(())
    }
}
