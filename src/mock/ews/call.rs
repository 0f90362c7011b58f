//! Requests understood, without looking at anything held: an operation with what it needs, so that it can be acted on
//! now, later, or never.

mod read;

use bytes::Bytes;

use super::input::{FolderInput, Update};
use super::reply::Fail;
use super::restriction::{Order, Restriction};
use super::shape::Shape;
use super::state::ItemInput;

/// A folder as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FolderRef {
    /// By its distinguished id; the mailbox, where it is named.
    Known(String, Option<String>),
    Id(String),
}

/// An item as a request names it: id and change key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ItemRef {
    pub(super) id: String,
    pub(super) change_key: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) most: Option<usize>,
    pub(super) offset: usize,
    pub(super) from_end: bool,
}

/// How something is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delete {
    Hard,
    Soft,
    ToDeletedItems,
}

/// What a change does when the item was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    Never,
    Auto,
    Always,
}

/// Something to be made, or why it cannot be.
pub(super) type Given<T> = Result<T, Fail>;

/// How a folder is changed: new values, and the names of fields that are taken away.
pub(super) type FolderChange = (FolderInput, Vec<String>);

/// An operation.
#[derive(Debug, Clone)]
pub(super) enum Call {
    GetFolder {
        shape: Shape,
        ids: Vec<FolderRef>,
    },
    FindFolder {
        shape: Shape,
        deep: bool,
        view: Option<View>,
        restriction: Option<Restriction>,
        parents: Vec<FolderRef>,
    },
    CreateFolder {
        parent: FolderRef,
        folders: Vec<Given<FolderInput>>,
    },
    UpdateFolder {
        changes: Vec<(FolderRef, Given<FolderChange>)>,
    },
    MoveFolder {
        to: FolderRef,
        ids: Vec<FolderRef>,
    },
    DeleteFolder {
        how: Delete,
        ids: Vec<FolderRef>,
    },
    EmptyFolder {
        how: Delete,
        subfolders: bool,
        ids: Vec<FolderRef>,
    },
    CreateItem {
        folder: FolderRef,
        items: Vec<Given<ItemInput>>,
    },
    GetItem {
        shape: Shape,
        ids: Vec<ItemRef>,
    },
    FindItem {
        shape: Shape,
        /// Associated or recoverably deleted items: the mock has none of these.
        nothing: bool,
        view: Option<View>,
        restriction: Option<Restriction>,
        order: Order,
        parents: Vec<FolderRef>,
    },
    UpdateItem {
        conflict: Conflict,
        changes: Vec<(ItemRef, Given<Vec<Update>>)>,
    },
    MoveItem {
        copy: bool,
        to: FolderRef,
        ids: Vec<ItemRef>,
        tell: bool,
    },
    DeleteItem {
        how: Delete,
        ids: Vec<ItemRef>,
    },
    SyncItems {
        shape: Shape,
        folder: FolderRef,
        state: String,
        ignore: Vec<String>,
        most: usize,
    },
    SyncHierarchy {
        shape: Shape,
        folder: FolderRef,
        state: String,
    },
    ConvertId {
        to: String,
        ids: Vec<(String, String, String)>,
    },
    Export {
        ids: Vec<ItemRef>,
    },
    Upload {
        items: Vec<Upload>,
    },
}

/// An item to be imported from a stream.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) action: String,
    pub(super) parent: FolderRef,
    pub(super) item: Option<ItemRef>,
    pub(super) data: Given<Bytes>,
}

impl Call {
    /// The name of its answer.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Call::GetFolder { .. } => "GetFolder",
            Call::FindFolder { .. } => "FindFolder",
            Call::CreateFolder { .. } => "CreateFolder",
            Call::UpdateFolder { .. } => "UpdateFolder",
            Call::MoveFolder { .. } => "MoveFolder",
            Call::DeleteFolder { .. } => "DeleteFolder",
            Call::EmptyFolder { .. } => "EmptyFolder",
            Call::CreateItem { .. } => "CreateItem",
            Call::GetItem { .. } => "GetItem",
            Call::FindItem { .. } => "FindItem",
            Call::UpdateItem { .. } => "UpdateItem",
            Call::MoveItem { copy: false, .. } => "MoveItem",
            Call::MoveItem { copy: true, .. } => "CopyItem",
            Call::DeleteItem { .. } => "DeleteItem",
            Call::SyncItems { .. } => "SyncFolderItems",
            Call::SyncHierarchy { .. } => "SyncFolderHierarchy",
            Call::ConvertId { .. } => "ConvertId",
            Call::Export { .. } => "ExportItems",
            Call::Upload { .. } => "UploadItems",
        }
    }

    /// For each thing asked for, the octets given with it.
    pub(super) fn parts(&self) -> Vec<u64> {
        let none = |many: usize| vec![0; many];
        match self {
            Call::GetFolder { ids, .. } | Call::MoveFolder { ids, .. } | Call::DeleteFolder { ids, .. } => {
                none(ids.len())
            }
            Call::EmptyFolder { ids, .. } => none(ids.len()),
            Call::FindFolder { parents, .. } | Call::FindItem { parents, .. } => none(parents.len()),
            Call::CreateFolder { folders, .. } => none(folders.len()),
            Call::UpdateFolder { changes } => none(changes.len()),
            Call::UpdateItem { changes, .. } => none(changes.len()),
            Call::GetItem { ids, .. } | Call::MoveItem { ids, .. } | Call::DeleteItem { ids, .. } => {
                none(ids.len())
            }
            Call::Export { ids } => none(ids.len()),
            Call::ConvertId { ids, .. } => none(ids.len()),
            Call::SyncItems { .. } | Call::SyncHierarchy { .. } => none(1),
            Call::CreateItem { items, .. } => items
                .iter()
                .map(|i| i.as_ref().ok().and_then(|i| i.mime.as_ref()).map_or(0, |m| m.len() as u64))
                .collect(),
            Call::Upload { items } => {
                items.iter().map(|i| i.data.as_ref().map_or(0, |d| d.len() as u64)).collect()
            }
        }
    }
}
