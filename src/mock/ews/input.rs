//! Messages and folders as clients give them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::date;
use super::property::{self, PropertyId};
use super::reply::{Fail, Refusal};
use super::schema::{self, Violation, one, opt};
use super::shape::{self, Path};
use super::state::{AttachmentInput, Fields, Flag, FlagStatus, ItemInput, Recipient};
use super::xml::{Element, Space};

/// What a request says of one thing: a violation ends the request, a failure only this thing.
pub(super) type One<T> = Result<Result<T, Fail>, Refusal>;

/// Reads a `Message` to be made.
pub(super) fn message(element: &Element<'_>) -> One<ItemInput> {
    schema::ordered(element, schema::MESSAGE)?;
    let mut input = ItemInput::default();
    for child in &element.children {
        let read = match child.name {
            "MimeContent" => mime(child).map(|octets| input.mime = Some(octets)),
            "ExtendedProperty" => match property::read_given(child)? {
                Ok(given) => {
                    input.properties.push(given);
                    Ok(())
                }
                Err(code) => Err(shape::extended(code)),
            },
            "Attachments" => match attachments(child)? {
                Ok(list) => {
                    input.attachments = list;
                    Ok(())
                }
                Err(fail) => Err(fail),
            },
            _ => field(child, &mut input.fields)?,
        };
        if let Err(fail) = read {
            return Ok(Err(fail));
        }
    }
    let foreign = |class: &String| {
        let class = class.to_ascii_lowercase();
        !(class == "ipm.note" || class.starts_with("ipm.note.") || class.starts_with("report."))
            && ["ipm.appointment", "ipm.contact", "ipm.task", "ipm.post", "ipm.distlist"]
                .iter()
                .any(|other| class.starts_with(other))
    };
    if input.fields.class.as_ref().is_some_and(foreign) {
        let text = "The item class is not one of this type of item.";
        return Ok(Err(Fail::new("ErrorObjectTypeChanged", text)));
    }
    Ok(Ok(input))
}

/// The octets of a `MimeContent`, in base64 that may hold blanks and line ends.
fn mime(element: &Element<'_>) -> Result<Bytes, Fail> {
    let text: Vec<u8> = element.text.bytes().filter(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).collect();
    let octets = encodify::base64::STANDARD.decode(&text).map_err(|_| {
        Fail::new("ErrorMimeContentInvalidBase64String", "The MIME content is not a valid base64 string.")
    })?;
    if octets.is_empty() {
        return Err(Fail::new("ErrorMimeContentInvalid", "The MIME content is invalid."));
    }
    Ok(Bytes::from(octets))
}

fn attachments(element: &Element<'_>) -> One<Vec<AttachmentInput>> {
    schema::several(element, Space::Types, &["FileAttachment", "ItemAttachment"])?;
    let mut list = Vec::new();
    for file in &element.children {
        if file.name == "ItemAttachment" {
            return Ok(Err(Fail::new(
                "ErrorInvalidItemForOperationCreateItem",
                "The mock takes files only.",
            )));
        }
        let text = |name| file.child(name).map(|c| c.text.to_string());
        let octets = file.child("Content").map(Element::word).unwrap_or("");
        let Ok(octets) = encodify::base64::STANDARD.decode(octets) else {
            return Err(Violation::of(file, "Content is no base64").into());
        };
        list.push(AttachmentInput {
            name: text("Name").unwrap_or_default(),
            content_type: text("ContentType"),
            content_id: text("ContentId"),
            inline: file.child("IsInline").map(schema::boolean).transpose()?.unwrap_or(false),
            content: Bytes::from(octets),
        });
    }
    Ok(Ok(list))
}

/// Reads one property of a message that has an element of its own.
fn field(element: &Element<'_>, fields: &mut Fields) -> One<()> {
    let text = || Some(element.text.to_string());
    match element.name {
        "ItemClass" => fields.class = text(),
        "Subject" => fields.subject = text(),
        "Sensitivity" => {
            fields.sensitivity =
                Some(enumerated(element, &["Normal", "Personal", "Private", "Confidential"])?);
        }
        "Importance" => fields.importance = Some(enumerated(element, &["Low", "Normal", "High"])?),
        "Body" => {
            let html = schema::required(element, "BodyType", &["HTML", "Text"])? == "HTML";
            fields.body = Some((html, element.text.to_string()));
        }
        "Categories" => {
            let list = element.children.iter().map(|c| c.text.to_string()).collect();
            if let Some(wrong) = element.children.iter().find(|c| c.name != "String") {
                return Err(Violation::of(wrong, "String is due").into());
            }
            fields.categories = Some(list);
        }
        "InReplyTo" => fields.in_reply_to = text(),
        "References" => fields.references = text(),
        "InternetMessageId" => fields.internet_message_id = text(),
        "IsRead" => fields.read = Some(schema::boolean(element)?),
        "IsReadReceiptRequested" => fields.read_receipt = Some(schema::boolean(element)?),
        "IsDeliveryReceiptRequested" => fields.delivery_receipt = Some(schema::boolean(element)?),
        "From" => fields.from = recipients(element)?.pop(),
        "Sender" => fields.sender = recipients(element)?.pop(),
        "ToRecipients" => fields.to = Some(recipients(element)?),
        "CcRecipients" => fields.cc = Some(recipients(element)?),
        "BccRecipients" => fields.bcc = Some(recipients(element)?),
        "ReplyTo" => fields.reply_to = Some(recipients(element)?),
        "Flag" => match flag(element)? {
            Ok(flag) => fields.flag = Some(flag),
            Err(fail) => return Ok(Err(fail)),
        },
        // Things that mail may have and nobody here asks for.
        "Culture"
        | "ReminderDueBy"
        | "ReminderIsSet"
        | "ReminderMinutesBeforeStart"
        | "IsResponseRequested"
        | "ReceivedBy"
        | "ReceivedRepresenting"
        | "PolicyTag"
        | "ArchiveTag"
        | "InferenceClassification"
        | "IconIndex" => {}
        name => {
            let text = format!("Set action is invalid for property {name}.");
            return Ok(Err(Fail::new("ErrorInvalidPropertySet", text)));
        }
    }
    Ok(Ok(()))
}

fn enumerated(element: &Element<'_>, among: &[&str]) -> Result<String, Violation> {
    let word = element.word();
    if among.contains(&word) {
        Ok(word.to_owned())
    } else {
        Err(Violation::of(element, "it is not of the enumeration"))
    }
}

fn recipients(element: &Element<'_>) -> Result<Vec<Recipient>, Violation> {
    element
        .children
        .iter()
        .map(|mailbox| {
            if mailbox.name != "Mailbox" {
                return Err(Violation::of(mailbox, "Mailbox is due"));
            }
            let rules =
                [opt("Name"), opt("EmailAddress"), opt("RoutingType"), opt("MailboxType"), opt("ItemId")];
            schema::sequence(mailbox, Space::Types, &rules)?;
            let text = |name| mailbox.child(name).map(|c| c.text.to_string());
            Ok(Recipient { name: text("Name"), address: text("EmailAddress") })
        })
        .collect()
}

fn flag(element: &Element<'_>) -> One<Flag> {
    let rules = [one("FlagStatus"), opt("StartDate"), opt("DueDate"), opt("CompleteDate")];
    schema::sequence(element, Space::Types, &rules)?;
    let status = match element.child("FlagStatus").map_or("", Element::word) {
        "NotFlagged" => FlagStatus::NotFlagged,
        "Flagged" => FlagStatus::Flagged,
        "Complete" => FlagStatus::Complete,
        _ => return Err(Violation::of(element, "FlagStatus is not of the enumeration").into()),
    };
    let at = |name: &str| -> Result<Option<i64>, Violation> {
        let Some(child) = element.child(name) else { return Ok(None) };
        date::read(child.word()).map(Some).ok_or_else(|| Violation::of(child, "it is no date"))
    };
    let flag = Flag { status, start: at("StartDate")?, due: at("DueDate")?, completed: at("CompleteDate")? };
    let dated = flag.start.is_some() || flag.due.is_some();
    let sound = match status {
        FlagStatus::NotFlagged => !dated && flag.completed.is_none(),
        // Both or neither, and not in the wrong order.
        FlagStatus::Flagged => {
            flag.start.is_some() == flag.due.is_some() && flag.start <= flag.due && flag.completed.is_none()
        }
        FlagStatus::Complete => !dated,
    };
    if sound {
        return Ok(Ok(flag));
    }
    Ok(Err(Fail::new("ErrorInvalidArgument", "The dates do not fit the status of the flag.")))
}

/// A change of one property.
#[derive(Debug, Clone)]
pub(super) enum Update {
    Field(String, Box<Fields>),
    Property(PropertyId, Vec<String>),
    Delete(Path),
}

impl Update {
    /// Which property it is about.
    pub(super) fn key(&self) -> String {
        match self {
            Update::Field(name, _) => name.clone(),
            Update::Property(id, _) => id.canonical.clone(),
            Update::Delete(path) => path.key(),
        }
    }
}

/// Reads the `Updates` of an item.
pub(super) fn updates(element: &Element<'_>) -> One<Vec<Update>> {
    schema::several(element, Space::Types, &["AppendToItemField", "SetItemField", "DeleteItemField"])?;
    let mut list = Vec::new();
    for change in &element.children {
        let Some(first) = change.children.first() else {
            return Err(Violation::of(change, "a path is due").into());
        };
        let path = shape::path(first)?;
        let update = match (change.name, change.children.as_slice()) {
            ("DeleteItemField", [_]) => deletion(path),
            ("SetItemField", [_, thing]) => set(&path, thing)?,
            ("AppendToItemField", [_, _]) => {
                Err(Fail::new("ErrorInvalidPropertyAppend", "Append action is invalid for this property."))
            }
            _ => return Err(Violation::of(change, "a path and an item are due").into()),
        };
        match update {
            Ok(update) => list.push(update),
            Err(fail) => return Ok(Err(fail)),
        }
    }
    Ok(Ok(list))
}

fn deletion(path: Path) -> Result<Update, Fail> {
    let fine = match &path {
        Path::Extended(_) => true,
        Path::Item(name) => [
            "Categories",
            "Body",
            "Subject",
            "InReplyTo",
            "References",
            "ToRecipients",
            "CcRecipients",
            "BccRecipients",
            "ReplyTo",
            "Flag",
            "Culture",
        ] // rustfmt would give each a line
        .contains(name),
        _ => false,
    };
    if fine {
        return Ok(Update::Delete(path));
    }
    Err(Fail::new("ErrorInvalidPropertyDelete", "Delete action is invalid for this property."))
}

fn set(path: &Path, thing: &Element<'_>) -> One<Update> {
    if !matches!(thing.name, "Message" | "Item") {
        return Ok(Err(Fail::new("ErrorObjectTypeChanged", "The item is not of this type.")));
    }
    let [child] = thing.children.as_slice() else {
        let text = "An object within a change description must contain one and only one property to modify.";
        return Ok(Err(Fail::new("ErrorIncorrectUpdatePropertyCount", text)));
    };
    schema::ordered(thing, schema::MESSAGE)?;
    let mismatch = || {
        Ok(Err(Fail::new(
            "ErrorUpdatePropertyMismatch",
            "Property for update does not match property in object.",
        )))
    };
    match path {
        Path::Extended(id) => {
            if child.name != "ExtendedProperty" {
                return mismatch();
            }
            match property::read_given(child)? {
                Ok((given, values)) if given.canonical == id.canonical => {
                    Ok(Ok(Update::Property(given, values)))
                }
                Ok(_) => mismatch(),
                Err(code) => Ok(Err(shape::extended(code))),
            }
        }
        Path::Item(name) if *name == child.name => {
            if *name == "MimeContent" {
                let text = "The mock does not replace the MIME content of an item.";
                return Ok(Err(Fail::new("ErrorInvalidPropertySet", text)));
            }
            let mut fields = Fields::default();
            Ok(field(child, &mut fields)?.map(|()| Update::Field((*name).to_owned(), Box::new(fields))))
        }
        _ => mismatch(),
    }
}

/// What a client gives to make or change a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct FolderInput {
    pub(super) name: Option<String>,
    pub(super) class: Option<String>,
    pub(super) properties: BTreeMap<String, Vec<String>>,
}

/// Reads a `Folder` or one of its kinds.
pub(super) fn folder(element: &Element<'_>) -> One<FolderInput> {
    schema::ordered(element, schema::FOLDER)?;
    let default = match element.name {
        "CalendarFolder" => Some("IPF.Appointment"),
        "ContactsFolder" => Some("IPF.Contact"),
        "TasksFolder" => Some("IPF.Task"),
        "Folder" => None,
        _ => return Err(Violation::of(element, "it is no folder that the mock makes").into()),
    };
    let mut input = FolderInput { class: default.map(str::to_owned), ..FolderInput::default() };
    for child in &element.children {
        match child.name {
            "DisplayName" => input.name = Some(child.text.to_string()),
            "FolderClass" => input.class = Some(child.text.to_string()),
            "PermissionSet" | "PolicyTag" | "ArchiveTag" => {}
            "ExtendedProperty" => match property::read_given(child)? {
                Ok((id, values)) => {
                    input.properties.insert(id.canonical, values);
                }
                Err(code) => return Ok(Err(shape::extended(code))),
            },
            name => {
                let text = format!("Set action is invalid for property {name}.");
                return Ok(Err(Fail::new("ErrorInvalidPropertySet", text)));
            }
        }
    }
    Ok(Ok(input))
}

/// Reads the `Updates` of a folder: what is set, and which extended properties are deleted.
pub(super) fn folder_updates(element: &Element<'_>) -> One<(FolderInput, Vec<String>)> {
    schema::several(element, Space::Types, &["AppendToFolderField", "SetFolderField", "DeleteFolderField"])?;
    let (mut input, mut deleted) = (FolderInput::default(), Vec::new());
    for change in &element.children {
        let Some(first) = change.children.first() else {
            return Err(Violation::of(change, "a path is due").into());
        };
        match (change.name, shape::path(first)?, change.children.as_slice()) {
            ("DeleteFolderField", Path::Extended(id), [_]) => deleted.push(id.canonical),
            ("SetFolderField", path, [_, thing]) => {
                if thing.children.len() != 1 {
                    let text = "A change must contain one and only one property to modify.";
                    return Ok(Err(Fail::new("ErrorIncorrectUpdatePropertyCount", text)));
                }
                let given = match folder(thing)? {
                    Ok(given) => given,
                    Err(fail) => return Ok(Err(fail)),
                };
                let fits = match &path {
                    Path::Folder("DisplayName") => given.name.is_some(),
                    Path::Folder("FolderClass") => given.class.is_some(),
                    Path::Folder("PermissionSet" | "PolicyTag" | "ArchiveTag") => true,
                    Path::Extended(id) => given.properties.contains_key(&id.canonical),
                    _ => false,
                };
                if !fits {
                    let text = "Property for update does not match property in object.";
                    return Ok(Err(Fail::new("ErrorUpdatePropertyMismatch", text)));
                }
                input.name = given.name.or(input.name);
                input.class = given.class.or(input.class);
                input.properties.extend(given.properties);
            }
            _ => {
                let text = "This action is invalid for this property of a folder.";
                return Ok(Err(Fail::new("ErrorInvalidPropertyDelete", text)));
            }
        }
    }
    Ok(Ok((input, deleted)))
}
