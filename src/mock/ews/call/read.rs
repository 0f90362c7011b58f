//! An operation's element, read as the schema has it.

use bytes::Bytes;

use super::{Call, Conflict, Delete, FolderRef, ItemRef, Upload, View};
use crate::mock::ews::input;
use crate::mock::ews::reply::{Fail, Refusal};
use crate::mock::ews::restriction;
use crate::mock::ews::schema::{self, Violation, one, opt};
use crate::mock::ews::shape::{self, Shape};
use crate::mock::ews::well_known::DISTINGUISHED;
use crate::mock::ews::xml::{Element, Space};

const DELETES: &[&str] = &["HardDelete", "SoftDelete", "MoveToDeletedItems"];

const FOLDER_IDS: &[&str] = &["FolderId", "DistinguishedFolderId"];

const SHAPE: &str = "ItemShape";

impl Call {
    /// Reads the element in a SOAP body.
    pub(in crate::mock::ews) fn read(element: &Element<'_>, sync_limit: usize) -> Result<Call, Refusal> {
        if element.space != Space::Messages {
            return Err(Violation::of(element, "no such operation").into());
        }
        let rules: &[schema::Rule] = match element.name {
            "GetFolder" => &[one("FolderShape"), one("FolderIds")],
            "FindFolder" => &[
                one("FolderShape"),
                opt("IndexedPageFolderView"),
                opt("Restriction"),
                one("ParentFolderIds"),
            ],
            "CreateFolder" => &[one("ParentFolderId"), one("Folders")],
            "UpdateFolder" => &[one("FolderChanges")],
            "MoveFolder" => &[one("ToFolderId"), one("FolderIds")],
            "DeleteFolder" | "EmptyFolder" => &[one("FolderIds")],
            "CreateItem" => &[opt("SavedItemFolderId"), one("Items")],
            "GetItem" => &[one(SHAPE), one("ItemIds")],
            "FindItem" => &[
                one(SHAPE),
                opt("IndexedPageItemView"),
                opt("Restriction"),
                opt("SortOrder"),
                one("ParentFolderIds"),
            ],
            "UpdateItem" => &[opt("SavedItemFolderId"), one("ItemChanges")],
            "MoveItem" | "CopyItem" => &[one("ToFolderId"), one("ItemIds"), opt("ReturnNewItemIds")],
            "DeleteItem" | "ExportItems" => &[one("ItemIds")],
            "SyncFolderItems" => &[
                one(SHAPE),
                one("SyncFolderId"),
                opt("SyncState"),
                opt("Ignore"),
                one("MaxChangesReturned"),
                opt("SyncScope"),
            ],
            "SyncFolderHierarchy" => &[one("FolderShape"), opt("SyncFolderId"), opt("SyncState")],
            "ConvertId" => &[one("SourceIds")],
            "UploadItems" => &[one("Items")],
            _ => return Err(Violation::of(element, "no operation that the mock knows").into()),
        };
        schema::sequence(element, Space::Messages, rules)?;
        Part { element, sync_limit }.call()
    }
}

/// An operation's element being read.
struct Part<'e, 'a> {
    element: &'e Element<'a>,
    sync_limit: usize,
}

impl<'a> Part<'_, 'a> {
    fn child(&self, name: &str) -> Result<&Element<'a>, Violation> {
        self.element.child(name).ok_or_else(|| Violation::of(self.element, format!("'{name}' is missing")))
    }

    fn call(&self) -> Result<Call, Refusal> {
        let element = self.element;
        Ok(match element.name {
            "GetFolder" => {
                Call::GetFolder { shape: self.shape("FolderShape")?, ids: self.folders("FolderIds")? }
            }
            "FindFolder" => Call::FindFolder {
                deep: match schema::required(element, "Traversal", &["Shallow", "Deep", "SoftDeleted"])? {
                    "SoftDeleted" => {
                        return Err(Fail::new("ErrorInvalidOperation", "Not by the mock.").into());
                    }
                    traversal => traversal == "Deep",
                },
                shape: self.shape("FolderShape")?,
                view: self.view("IndexedPageFolderView")?,
                restriction: element.child("Restriction").map(restriction::read).transpose()?,
                parents: self.folders("ParentFolderIds")?,
            },
            "CreateFolder" => self.create_folder()?,
            "UpdateFolder" => self.update_folder()?,
            "MoveFolder" => {
                Call::MoveFolder { to: self.folder("ToFolderId")?, ids: self.folders("FolderIds")? }
            }
            "DeleteFolder" => Call::DeleteFolder { how: self.delete()?, ids: self.folders("FolderIds")? },
            "EmptyFolder" => Call::EmptyFolder {
                how: self.delete()?,
                subfolders: schema::required(element, "DeleteSubFolders", &["true", "false"])? == "true",
                ids: self.folders("FolderIds")?,
            },
            "CreateItem" => self.create_item()?,
            "GetItem" => Call::GetItem { shape: self.shape(SHAPE)?, ids: self.items("ItemIds")? },
            "FindItem" => self.find_item()?,
            "UpdateItem" => self.update_item()?,
            "MoveItem" | "CopyItem" => Call::MoveItem {
                copy: element.name == "CopyItem",
                to: self.folder("ToFolderId")?,
                ids: self.items("ItemIds")?,
                tell: element.child("ReturnNewItemIds").map(schema::boolean).transpose()?.unwrap_or(true),
            },
            "DeleteItem" => Call::DeleteItem { how: self.delete()?, ids: self.items("ItemIds")? },
            "ExportItems" => Call::Export { ids: self.items("ItemIds")? },
            "UploadItems" => self.upload()?,
            "SyncFolderItems" => self.sync_items()?,
            "SyncFolderHierarchy" => Call::SyncHierarchy {
                shape: self.shape("FolderShape")?,
                folder: match element.child("SyncFolderId") {
                    Some(_) => self.folder("SyncFolderId")?,
                    None => FolderRef::Known("msgfolderroot".into(), None),
                },
                state: element.child("SyncState").map_or_else(String::new, |s| s.word().to_owned()),
            },
            _ => self.convert()?,
        })
    }

    fn shape(&self, name: &str) -> Result<Shape, Refusal> {
        shape::shape(self.child(name)?)
    }

    fn folder(&self, name: &str) -> Result<FolderRef, Refusal> {
        folder_ref(schema::only(self.child(name)?, Space::Types, FOLDER_IDS)?)
    }

    fn folders(&self, name: &str) -> Result<Vec<FolderRef>, Refusal> {
        let list = self.child(name)?;
        schema::several(list, Space::Types, FOLDER_IDS)?;
        list.children.iter().map(folder_ref).collect()
    }

    fn items(&self, name: &str) -> Result<Vec<ItemRef>, Refusal> {
        let list = self.child(name)?;
        schema::several(list, Space::Types, &["ItemId"])?;
        Ok(list.children.iter().map(item_ref).collect::<Result<_, Violation>>()?)
    }

    fn delete(&self) -> Result<Delete, Violation> {
        Ok(match schema::required(self.element, "DeleteType", DELETES)? {
            "HardDelete" => Delete::Hard,
            "SoftDelete" => Delete::Soft,
            _ => Delete::ToDeletedItems,
        })
    }

    fn view(&self, name: &str) -> Result<Option<View>, Refusal> {
        let Some(view) = self.element.child(name) else { return Ok(None) };
        let number = |attribute: &str| {
            view.attribute(attribute)
                .map(|text| schema::number(view, text))
                .transpose()
                .map(|n| n.map(|n| usize::try_from(n).unwrap_or(0)))
        };
        let most = number("MaxEntriesReturned")?;
        if most == Some(0) {
            let text = "The maximum number of entries must be at least 1.";
            return Err(Fail::new("ErrorInvalidPagingMaxRows", text).into());
        }
        let Some(offset) = number("Offset")? else {
            return Err(Violation::of(view, "the attribute 'Offset' is missing").into());
        };
        let from_end = schema::required(view, "BasePoint", &["Beginning", "End"])? == "End";
        Ok(Some(View { most, offset, from_end }))
    }

    fn create_folder(&self) -> Result<Call, Refusal> {
        let folders = self.child("Folders")?;
        let kinds = ["Folder", "CalendarFolder", "ContactsFolder", "SearchFolder", "TasksFolder"];
        schema::several(folders, Space::Types, &kinds)?;
        Ok(Call::CreateFolder {
            parent: self.folder("ParentFolderId")?,
            folders: folders.children.iter().map(input::folder).collect::<Result<_, Refusal>>()?,
        })
    }

    fn update_folder(&self) -> Result<Call, Refusal> {
        let list = self.child("FolderChanges")?;
        schema::several(list, Space::Types, &["FolderChange"])?;
        let mut changes = Vec::new();
        for change in &list.children {
            let [id, updates] = change.children.as_slice() else {
                return Err(Violation::of(change, "an id and Updates are due").into());
            };
            changes.push((folder_ref(id)?, input::folder_updates(updates)?));
        }
        Ok(Call::UpdateFolder { changes })
    }

    fn create_item(&self) -> Result<Call, Refusal> {
        let invitations = ["SendToNone", "SendOnlyToAll", "SendToAllAndSaveCopy"];
        schema::choice(self.element, "SendMeetingInvitations", &invitations)?;
        disposition(self.element)?;
        let items = self.child("Items")?;
        schema::several(items, Space::Types, &["Message", "Item"])?;
        Ok(Call::CreateItem {
            folder: match self.element.child("SavedItemFolderId") {
                Some(_) => self.folder("SavedItemFolderId")?,
                None => FolderRef::Known("drafts".into(), None),
            },
            items: items.children.iter().map(input::message).collect::<Result<_, Refusal>>()?,
        })
    }

    fn find_item(&self) -> Result<Call, Refusal> {
        let traversals = ["Shallow", "SoftDeleted", "Associated"];
        let shape = self.shape(SHAPE)?;
        // What a search cannot tell: it takes GetItem.
        let large = [
            "MimeContent",
            "Body",
            "UniqueBody",
            "NormalizedBody",
            "TextBody",
            "Attachments",
            "InternetMessageHeaders",
            "ResponseObjects",
            "ToRecipients",
            "CcRecipients",
            "BccRecipients",
            "ReplyTo",
        ]; // rustfmt would give each a line
        let wrong = |p: &shape::Path| {
            matches!(p, shape::Path::Item(n) if large.contains(n)) || matches!(p, shape::Path::Header(_))
        };
        if shape.mime || shape.more.iter().any(wrong) {
            let text = "Property is not valid for this operation.";
            return Err(Fail::new("ErrorInvalidPropertyRequest", text).into());
        }
        Ok(Call::FindItem {
            nothing: schema::required(self.element, "Traversal", &traversals)? != "Shallow",
            shape,
            view: self.view("IndexedPageItemView")?,
            restriction: self.element.child("Restriction").map(restriction::read).transpose()?,
            order: self.element.child("SortOrder").map(restriction::order).transpose()?.unwrap_or_default(),
            parents: self.folders("ParentFolderIds")?,
        })
    }

    fn update_item(&self) -> Result<Call, Refusal> {
        let resolutions = ["NeverOverwrite", "AutoResolve", "AlwaysOverwrite"];
        let conflict = match schema::required(self.element, "ConflictResolution", &resolutions)? {
            "NeverOverwrite" => Conflict::Never,
            "AutoResolve" => Conflict::Auto,
            _ => Conflict::Always,
        };
        disposition(self.element)?;
        let list = self.child("ItemChanges")?;
        schema::several(list, Space::Types, &["ItemChange"])?;
        let mut changes = Vec::new();
        for change in &list.children {
            let [id, updates] = change.children.as_slice() else {
                return Err(Violation::of(change, "ItemId and Updates are due").into());
            };
            if id.name != "ItemId" || updates.name != "Updates" {
                return Err(Violation::of(change, "ItemId and Updates are due").into());
            }
            changes.push((item_ref(id)?, input::updates(updates)?));
        }
        Ok(Call::UpdateItem { conflict, changes })
    }

    fn upload(&self) -> Result<Call, Refusal> {
        let list = self.child("Items")?;
        schema::several(list, Space::Types, &["Item"])?;
        let mut items = Vec::new();
        for item in &list.children {
            let rules = [one("ParentFolderId"), opt("ItemId"), one("Data")];
            schema::sequence(item, Space::Types, &rules)?;
            let actions = ["CreateNew", "Update", "UpdateOrCreate"];
            let action = schema::required(item, "CreateAction", &actions)?.to_owned();
            let (Some(parent), Some(data)) = (item.child("ParentFolderId"), item.child("Data")) else {
                return Err(Violation::of(item, "ParentFolderId and Data are due").into());
            };
            let octets = encodify::base64::STANDARD.decode(data.word());
            items.push(Upload {
                action,
                // The parent's id is an attribute here, not an element.
                parent: FolderRef::Id(parent.attribute("Id").unwrap_or("").to_owned()),
                item: item.child("ItemId").map(item_ref).transpose()?,
                data: octets
                    .map(Bytes::from)
                    .map_err(|_| Fail::new("ErrorCorruptData", "The data is no valid base64 string.")),
            });
        }
        Ok(Call::Upload { items })
    }

    fn sync_items(&self) -> Result<Call, Refusal> {
        let most = self.child("MaxChangesReturned")?;
        let wanted = schema::number(most, most.word())?;
        let limit = i64::try_from(self.sync_limit).unwrap_or(512);
        if !(1..=limit).contains(&wanted) {
            return Err(Violation::of(most, format!("it is not between 1 and {limit}")).into());
        }
        let ignore = match self.element.child("Ignore") {
            Some(list) => list.children.iter().map(item_ref).collect::<Result<Vec<_>, Violation>>()?,
            None => Vec::new(),
        };
        Ok(Call::SyncItems {
            shape: self.shape(SHAPE)?,
            folder: self.folder("SyncFolderId")?,
            state: self.element.child("SyncState").map_or_else(String::new, |s| s.word().to_owned()),
            ignore: ignore.into_iter().map(|i| i.id).collect(),
            most: usize::try_from(wanted).unwrap_or(1),
        })
    }

    fn convert(&self) -> Result<Call, Refusal> {
        let formats = ["EwsLegacyId", "EwsId", "EntryId", "HexEntryId", "StoreId", "OwaId"];
        let to = schema::required(self.element, "DestinationFormat", &formats)?.to_owned();
        let list = self.child("SourceIds")?;
        schema::several(list, Space::Types, &["AlternateId"])?;
        let mut ids = Vec::new();
        for id in &list.children {
            let format = schema::required(id, "Format", &formats)?.to_owned();
            let (Some(text), Some(mailbox)) = (id.attribute("Id"), id.attribute("Mailbox")) else {
                return Err(Violation::of(id, "Id and Mailbox are due").into());
            };
            ids.push((format, text.to_owned(), mailbox.to_owned()));
        }
        Ok(Call::ConvertId { to, ids })
    }
}

/// A migration saves and never sends: what would send is refused as if it were not allowed.
fn disposition(element: &Element<'_>) -> Result<(), Refusal> {
    match schema::choice(element, "MessageDisposition", &["SaveOnly", "SendOnly", "SendAndSaveCopy"])? {
        Some("SaveOnly") => Ok(()),
        Some(_) => Err(Fail::new("ErrorSendAsDenied", "The mock sends nothing.").into()),
        None => {
            let text = "MessageDisposition attribute has to be set for items of type message.";
            Err(Fail::new("ErrorMessageDispositionRequired", text).into())
        }
    }
}

fn folder_ref(element: &Element<'_>) -> Result<FolderRef, Refusal> {
    let Some(id) = element.attribute("Id") else {
        return Err(Violation::of(element, "the attribute 'Id' is missing").into());
    };
    match element.name {
        "FolderId" => Ok(FolderRef::Id(id.to_owned())),
        "DistinguishedFolderId" if DISTINGUISHED.contains(&id) => {
            schema::sequence(element, Space::Types, &[opt("Mailbox")])?;
            let address = element
                .child("Mailbox")
                .and_then(|m| m.child("EmailAddress"))
                .map(|a| a.word().to_lowercase());
            Ok(FolderRef::Known(id.to_owned(), address))
        }
        "DistinguishedFolderId" => Err(Violation::of(element, "Id is not of the enumeration").into()),
        _ => Err(Violation::of(element, "a folder's id is due").into()),
    }
}

fn item_ref(element: &Element<'_>) -> Result<ItemRef, Violation> {
    match element.attribute("Id") {
        Some(id) => {
            Ok(ItemRef { id: id.to_owned(), change_key: element.attribute("ChangeKey").map(str::to_owned) })
        }
        None => Err(Violation::of(element, "the attribute 'Id' is missing")),
    }
}
