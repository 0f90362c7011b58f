//! The mailbox import and export interface (`/admin/exchange/mailboxes`, `settings/exchange`): which request asks what.
//! Source: Microsoft Graph documentation, `mailbox-import-export-api-overview` and the pages below it.
//!
//! Awkward truths: it is a world of its own, with its own id of the mailbox, its own roles and all classes of items, not
//! mail alone; an import goes to another host, without a token, its body's keys capitalised; national clouds have none of
//! it. What an import session that is over answers, and which form of id an import gives, is documented nowhere: options.

use bytes::Bytes;
use encodify::base64::STANDARD;
use http::Method;

use super::call::Call as Any;
use super::head::Head;
use super::input;
use super::json::Json;
use super::options::GraphOptions;
use super::query::{Of, View};
use super::reply::Refusal;

/// Items of one export.
const MOST_EXPORTED: usize = 20;

/// One thing to do in the store of one mailbox.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// `GET /users/{id}/settings/exchange`
    Settings,
    ListFolders {
        parent: String,
        view: View,
    },
    CreateFolder {
        parent: String,
        name: String,
        class: String,
    },
    GetFolder {
        id: String,
    },
    ListItems {
        folder: String,
        view: View,
    },
    GetItem {
        folder: String,
        id: String,
        view: View,
    },
    DeleteItem {
        folder: String,
        id: String,
    },
    Export {
        ids: Vec<String>,
    },
    OpenSession,
    Import(Import),
}

/// An item to import.
#[derive(Debug, Clone)]
pub(super) struct Import {
    pub(super) folder: String,
    /// Id and change key of the item it is to replace.
    pub(super) replaces: Option<(String, String)>,
    pub(super) stream: Bytes,
}

/// The id of a mailbox's store, as `settings/exchange` tells it.
pub(super) fn store_id(guid: &str, options: &GraphOptions) -> String {
    let tenant = options.tenant_id.as_deref().unwrap_or("6f3d1a52-0000-4000-8000-000000000001");
    format!("MBX:{guid}@{tenant}")
}

/// The mailbox's GUID in the id of its store.
pub(super) fn guid_of<'a>(store: &'a str, options: &GraphOptions) -> Option<&'a str> {
    let (guid, _) = store.strip_prefix("MBX:")?.split_once('@')?;
    (store_id(guid, options) == store).then_some(guid)
}

/// `GET /users/{id}/settings/exchange`
pub(super) fn settings(head: &Head, options: &GraphOptions) -> Result<Any, Refusal> {
    only(head, &Method::GET)?;
    there(options)?;
    view(head, Of::Nothing)?;
    Ok(Any::Exchange(Box::new(Call::Settings)))
}

/// Reads a request below `/admin/exchange/mailboxes/{id}`.
pub(super) fn read(
    head: &Head,
    rest: &[String],
    body: &[u8],
    options: &GraphOptions,
) -> Result<Any, Refusal> {
    there(options)?;
    if !options.import_export {
        return Err(Refusal::new(
            403,
            "ErrorAccessDenied",
            "Access is denied. Check credentials and try again.",
        ));
    }
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let call = match rest.as_slice() {
        ["exportItems"] => {
            only(head, &Method::POST)?;
            Call::Export { ids: ids(&json(head, body)?)? }
        }
        ["createImportSession"] => {
            only(head, &Method::POST)?;
            view(head, Of::Nothing)?;
            Call::OpenSession
        }
        ["folders"] => folders(head, "msgfolderroot", body)?,
        ["folders", id, "childFolders"] => folders(head, id, body)?,
        ["folders", id] => {
            only(head, &Method::GET)?;
            view(head, Of::Nothing)?;
            Call::GetFolder { id: (*id).to_owned() }
        }
        ["folders", id, "items"] => {
            only(head, &Method::GET)?;
            Call::ListItems { folder: (*id).to_owned(), view: view(head, Of::StoreItems)? }
        }
        ["folders", folder, "items", id] => {
            let (folder, id) = ((*folder).to_owned(), (*id).to_owned());
            match head.method {
                Method::GET => Call::GetItem { folder, id, view: view(head, Of::StoreItem)? },
                Method::DELETE => view(head, Of::Nothing).map(|_| Call::DeleteItem { folder, id })?,
                _ => return Err(Refusal::method()),
            }
        }
        [] => return Err(Refusal::no_such_path("mailboxes")),
        [.., other] => return Err(Refusal::no_such_path(other)),
    };
    Ok(Any::Exchange(Box::new(call)))
}

/// Reads a request to the address of an import session.
pub(super) fn import(head: &Head, body: &[u8]) -> Result<Any, Refusal> {
    only(head, &Method::POST)?;
    let bad = |text: &str| Refusal::new(400, "ErrorInvalidRequest", text);
    if head.content_type.as_deref() != Some("application/json") {
        return Err(Refusal::new(415, "UnsupportedMediaType", "The content type is not supported."));
    }
    let document = input::document(body)?;
    for (name, _) in document.object().unwrap_or_default() {
        if !["FolderId", "Mode", "Data", "ItemId", "ChangeKey"].contains(&name.as_ref()) {
            return Err(Refusal::body(format!("The property '{name}' is not known.")));
        }
    }
    let text = |name: &str| document.get(name).and_then(Json::text);
    let (Some(folder), Some(mode), Some(data)) = (text("FolderId"), text("Mode"), text("Data")) else {
        return Err(bad("FolderId, Mode and Data are required."));
    };
    let replaces = match (mode, text("ItemId"), text("ChangeKey")) {
        ("create", None, None) => None,
        ("create", ..) => return Err(bad("ItemId and ChangeKey are for updates.")),
        ("update", Some(id), Some(key)) => Some((id.to_owned(), key.to_owned())),
        ("update", ..) => return Err(bad("An update needs ItemId and ChangeKey.")),
        _ => return Err(bad("Mode is 'create' or 'update'.")),
    };
    let stream = STANDARD.decode(data).map_err(|_| bad("Data is not base64."))?;
    let import = Import { folder: folder.to_owned(), replaces, stream: stream.into() };
    Ok(Any::Exchange(Box::new(Call::Import(import))))
}

/// National clouds have no such interface.
fn there(options: &GraphOptions) -> Result<(), Refusal> {
    if options.global_cloud { Ok(()) } else { Err(Refusal::no_such_path("exchange")) }
}

fn only(head: &Head, method: &Method) -> Result<(), Refusal> {
    if head.method == *method { Ok(()) } else { Err(Refusal::method()) }
}

fn view(head: &Head, of: Of) -> Result<View, Refusal> {
    View::read(head.query.as_deref(), of)
}

fn json<'a>(head: &Head, body: &'a [u8]) -> Result<Json<'a>, Refusal> {
    view(head, Of::Nothing)?;
    match head.content_type.as_deref() {
        Some("application/json") => input::document(body),
        _ => Err(Refusal::new(415, "UnsupportedMediaType", "The content type is not supported.")),
    }
}

fn ids(document: &Json<'_>) -> Result<Vec<String>, Refusal> {
    let list = document.get("itemIds").and_then(Json::list).unwrap_or_default();
    if list.is_empty() || list.len() > MOST_EXPORTED {
        return Err(Refusal::new(400, "ErrorInvalidRequest", "One to twenty itemIds are required."));
    }
    let ids: Option<Vec<String>> = list.iter().map(|id| id.text().map(str::to_owned)).collect();
    ids.ok_or_else(|| Refusal::body("An item's id is a string."))
}

fn folders(head: &Head, parent: &str, body: &[u8]) -> Result<Call, Refusal> {
    let parent = parent.to_owned();
    match head.method {
        Method::GET => Ok(Call::ListFolders { parent, view: view(head, Of::StoreFolders)? }),
        Method::POST => {
            let document = json(head, body)?;
            let text = |name: &str| document.get(name).and_then(Json::text).filter(|t| !t.trim().is_empty());
            let (Some(name), Some(class)) = (text("displayName"), text("type")) else {
                return Err(Refusal::new(400, "ErrorInvalidRequest", "displayName and type are required."));
            };
            Ok(Call::CreateFolder { parent, name: name.to_owned(), class: class.to_owned() })
        }
        _ => Err(Refusal::method()),
    }
}
