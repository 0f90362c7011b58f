//! Items and folders as XML, in the schema's order.

use super::date;
use super::mailbox::{Folder, Mailbox};
use super::mime;
use super::property;
use super::schema;
use super::shape::{Base, Path, Shape};
use super::state::{FlagStatus, Item, Recipient};
use super::xml::escaped;

/// The element an item of this class is told as.
fn element(class: &str) -> &'static str {
    let class = class.to_ascii_lowercase();
    let is = |family: &str| class == family || class.strip_prefix(family).is_some_and(|r| r.starts_with('.'));
    if is("ipm.appointment") {
        "CalendarItem"
    } else if is("ipm.contact") {
        "Contact"
    } else if is("ipm.distlist") {
        "DistributionList"
    } else if is("ipm.task") {
        "Task"
    } else if is("ipm.note") || is("report") {
        "Message"
    } else {
        "Item"
    }
}

/// Only the id.
pub(super) fn item_id(item: &Item) -> String {
    format!("<t:ItemId Id=\"{}\" ChangeKey=\"{}\"/>", item.id, item.change_key())
}

/// An item that tells no more than its id.
pub(super) fn item_stub(item: &Item) -> String {
    let name = element(&item.class);
    format!("<t:{name}>{}</t:{name}>", item_id(item))
}

/// What `Default` tells of an item.
const ITEM_DEFAULT: &[&str] = &[
    "ParentFolderId",
    "Subject",
    "Sensitivity",
    "DateTimeSent",
    "DateTimeCreated",
    "Size",
    "HasAttachments",
    "From",
    "IsRead",
    "InternetMessageId",
    "IsDraft",
]; // rustfmt would give each a line

/// What a search does not tell, even if it is to tell all.
const NOT_IN_SEARCH: &[&str] =
    &["Body", "InternetMessageHeaders", "ToRecipients", "CcRecipients", "BccRecipients", "ReplyTo"];

/// An item as wanted. `search`: it is one of the results of a search.
pub(super) fn item(item: &Item, shape: &Shape, mailbox: &Mailbox, search: bool) -> String {
    let name = element(&item.class);
    let mut out = format!("<t:{name}>");
    for field in schema::MESSAGE {
        match *field {
            "ItemId" => out.push_str(&item_id(item)),
            "MimeContent" => {
                if shape.mime {
                    let octets = mime::rebuild(item);
                    out.push_str("<t:MimeContent CharacterSet=\"UTF-8\">");
                    out.push_str(&encodify::base64::STANDARD.encode(octets));
                    out.push_str("</t:MimeContent>");
                }
            }
            "ExtendedProperty" => {
                for id in shape.extended() {
                    if let Some(values) = item.property(&id.canonical) {
                        out.push_str(&property::write(id, &values));
                    }
                }
            }
            field => {
                let all = shape.base == Base::All && !(search && NOT_IN_SEARCH.contains(&field));
                if (all || shape.wants(field, ITEM_DEFAULT) || headers_wanted(field, shape))
                    && let Some(xml) = item_field(item, field, shape, mailbox)
                {
                    out.push_str(&xml);
                }
            }
        }
    }
    out.push_str(&format!("</t:{name}>"));
    out
}

fn headers_wanted(field: &str, shape: &Shape) -> bool {
    field == "InternetMessageHeaders" && shape.more.iter().any(|p| matches!(p, Path::Header(_)))
}

/// A property's element; `None`: the item has none.
fn item_field(item: &Item, field: &str, shape: &Shape, mailbox: &Mailbox) -> Option<String> {
    let simple = |text: &str| Some(format!("<t:{field}>{}</t:{field}>", escaped(text)));
    let list = |list: &[Recipient]| {
        (!list.is_empty())
            .then(|| format!("<t:{field}>{}</t:{field}>", list.iter().map(recipient).collect::<String>()))
    };
    match field {
        "ParentFolderId" => {
            let folder = mailbox.folders.get(&item.folder)?;
            Some(format!("<t:ParentFolderId Id=\"{}\" ChangeKey=\"{}\"/>", folder.id, folder.change_key()))
        }
        "Body" => {
            let (html, text) = mime::body(item, shape.html);
            let kind = if html { "HTML" } else { "Text" };
            Some(format!("<t:Body BodyType=\"{kind}\">{}</t:Body>", escaped(&text)))
        }
        "TextBody" => {
            let (_, text) = mime::body(item, Some(false));
            Some(format!("<t:TextBody BodyType=\"Text\">{}</t:TextBody>", escaped(&text)))
        }
        "Categories" => {
            let strings = |c: &String| format!("<t:String>{}</t:String>", escaped(c));
            (!item.categories.is_empty()).then(|| {
                format!(
                    "<t:Categories>{}</t:Categories>",
                    item.categories.iter().map(strings).collect::<String>()
                )
            })
        }
        "InternetMessageHeaders" => headers(item, shape),
        "Flag" => Some(flag(item)),
        "ToRecipients" => list(&item.to),
        "CcRecipients" => list(&item.cc),
        "BccRecipients" => list(&item.bcc),
        "ReplyTo" => list(&item.reply_to),
        "From" => list(item.from.as_slice()),
        "Sender" => list(item.sender.as_slice()),
        "ConversationId" => Some(format!("<t:ConversationId Id=\"{}\"/>", item.conversation)),
        "EffectiveRights" => Some(RIGHTS.to_owned()),
        _ => simple(&plain(item, field)?),
    }
}

const RIGHTS: &str = "<t:EffectiveRights><t:CreateAssociated>true</t:CreateAssociated><t:CreateContents>true</t:CreateContents>\
    <t:CreateHierarchy>true</t:CreateHierarchy><t:Delete>true</t:Delete><t:Modify>true</t:Modify>\
    <t:Read>true</t:Read></t:EffectiveRights>";

/// The properties that are one text; what searches look at.
pub(super) fn plain(item: &Item, field: &str) -> Option<String> {
    Some(match field {
        "ItemClass" => item.class.clone(),
        "Subject" => item.subject.clone(),
        "Sensitivity" => item.sensitivity.clone(),
        "DateTimeReceived" => date::write(item.received),
        "Size" => item.size().to_string(),
        "Importance" => item.importance.clone(),
        "InReplyTo" => item.in_reply_to.clone()?,
        "IsSubmitted" => (item.other_flags & 4 != 0).to_string(),
        "IsDraft" => item.draft.to_string(),
        "IsFromMe" => (item.other_flags & 0x20 != 0).to_string(),
        "IsResend" | "IsAssociated" => "false".into(),
        "IsUnmodified" => (item.other_flags & 2 != 0).to_string(),
        "DateTimeSent" => date::write(item.sent),
        "DateTimeCreated" => date::write(item.created),
        "DisplayCc" => display(&item.cc),
        "DisplayTo" => display(&item.to),
        "HasAttachments" => item.attachments.to_string(),
        "LastModifiedTime" => date::write(item.modified),
        "IsReadReceiptRequested" => item.read_receipt.to_string(),
        "IsDeliveryReceiptRequested" => item.delivery_receipt.to_string(),
        "ConversationTopic" => item.subject.clone(),
        "InternetMessageId" => item.internet_message_id.clone(),
        "IsRead" => item.read.to_string(),
        "References" => item.references.clone()?,
        _ => return None,
    })
}

fn display(list: &[Recipient]) -> String {
    let names: Vec<&str> = list.iter().filter_map(|r| r.name.as_deref().or(r.address.as_deref())).collect();
    names.join("; ")
}

/// What a search sees of an item: the values of a path.
pub(super) fn item_values(item: &Item, path: &Path) -> Vec<String> {
    match path {
        Path::Extended(id) => item.property(&id.canonical).unwrap_or_default(),
        Path::Item("Categories") => item.categories.clone(),
        Path::Item("From") => item.from.iter().flat_map(texts).collect(),
        Path::Item("Sender") => item.sender.iter().flat_map(texts).collect(),
        Path::Item(name) => plain(item, name).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn texts(recipient: &Recipient) -> Vec<String> {
    recipient.name.iter().chain(&recipient.address).cloned().collect()
}

fn recipient(recipient: &Recipient) -> String {
    let address = recipient.address.as_deref().unwrap_or("");
    let name = recipient.name.as_deref().unwrap_or(address);
    format!(
        "<t:Mailbox><t:Name>{}</t:Name><t:EmailAddress>{}</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>\
         <t:MailboxType>OneOff</t:MailboxType></t:Mailbox>",
        escaped(name),
        escaped(address)
    )
}

fn headers(item: &Item, shape: &Shape) -> Option<String> {
    let octets = item.raw.octets();
    let (fields, _) = mime::headers(&octets);
    let names: Vec<&String> = shape
        .more
        .iter()
        .filter_map(|p| match p {
            Path::Header(name) => Some(name),
            _ => None,
        })
        .collect();
    let all = shape.base == Base::All || shape.more.contains(&Path::Item("InternetMessageHeaders"));
    let list: String = fields
        .iter()
        .filter(|(name, _)| all || names.iter().any(|n| n.eq_ignore_ascii_case(name)))
        .map(|(name, value)| {
            format!(
                "<t:InternetMessageHeader HeaderName=\"{}\">{}</t:InternetMessageHeader>",
                escaped(name),
                escaped(value)
            )
        })
        .collect();
    (!list.is_empty()).then(|| format!("<t:InternetMessageHeaders>{list}</t:InternetMessageHeaders>"))
}

fn flag(item: &Item) -> String {
    let flag = &item.flag;
    let mut out = format!("<t:Flag><t:FlagStatus>{}</t:FlagStatus>", flag.status.name());
    for (name, at) in [("StartDate", flag.start), ("DueDate", flag.due)] {
        if let Some(at) = at {
            out.push_str(&format!("<t:{name}>{}</t:{name}>", date::write(at)));
        }
    }
    if flag.status == FlagStatus::Complete
        && let Some(at) = flag.completed
    {
        out.push_str(&format!("<t:CompleteDate>{}</t:CompleteDate>", date::write(at)));
    }
    out.push_str("</t:Flag>");
    out
}

/// What `Default` tells of a folder.
const FOLDER_DEFAULT: &[&str] = &["DisplayName", "TotalCount", "ChildFolderCount", "UnreadCount"];

/// What searches look at, of a folder.
pub(super) fn folder_plain(folder: &Folder, field: &str, mailbox: &Mailbox) -> Option<String> {
    Some(match field {
        "DisplayName" => folder.name.clone(),
        "FolderClass" => Some(folder.class.clone()).filter(|c| !c.is_empty())?,
        "TotalCount" => folder.items.len().to_string(),
        "ChildFolderCount" => mailbox.children(folder.number).count().to_string(),
        "UnreadCount" => {
            let unread = |n: &&u64| mailbox.items.get(n).is_some_and(|i| !i.read);
            folder.items.iter().filter(unread).count().to_string()
        }
        "DistinguishedFolderId" => folder.well_known.clone()?,
        _ => return None,
    })
}

/// What a search sees of a folder.
pub(super) fn folder_values(folder: &Folder, path: &Path, mailbox: &Mailbox) -> Vec<String> {
    match path {
        Path::Extended(id) => folder_property(folder, &id.canonical, mailbox).unwrap_or_default(),
        Path::Folder(name) => folder_plain(folder, name, mailbox).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// An extended property of a folder, the computed ones too.
fn folder_property(folder: &Folder, id: &str, mailbox: &Mailbox) -> Option<Vec<String>> {
    let plain = |field| folder_plain(folder, field, mailbox).map(|v| vec![v]);
    match id {
        "String 0x3001" => plain("DisplayName"),
        "String 0x3613" => plain("FolderClass"),
        "Integer 0x3602" => plain("TotalCount"),
        "Integer 0x3603" => plain("UnreadCount"),
        // PidTagMessageSizeExtended, of this folder alone.
        "Long 0xe08" => {
            let octets =
                folder.items.iter().filter_map(|n| mailbox.items.get(n)).map(Item::size).sum::<u64>();
            Some(vec![octets.to_string()])
        }
        _ => folder.properties.get(id).cloned(),
    }
}

/// The element a folder of this class is told as.
fn folder_element(class: &str) -> &'static str {
    match class {
        "IPF.Appointment" => "CalendarFolder",
        "IPF.Contact" => "ContactsFolder",
        "IPF.Task" => "TasksFolder",
        _ => "Folder",
    }
}

pub(super) fn folder_id(folder: &Folder) -> String {
    format!("<t:FolderId Id=\"{}\" ChangeKey=\"{}\"/>", folder.id, folder.change_key())
}

/// A folder as wanted.
pub(super) fn folder(folder: &Folder, shape: &Shape, mailbox: &Mailbox) -> String {
    let name = folder_element(&folder.class);
    let mut out = format!("<t:{name}>{}", folder_id(folder));
    for field in &schema::FOLDER[1..] {
        match *field {
            "ExtendedProperty" => {
                for id in shape.extended() {
                    if let Some(values) = folder_property(folder, &id.canonical, mailbox) {
                        out.push_str(&property::write(id, &values));
                    }
                }
            }
            "ParentFolderId" => {
                if (shape.base == Base::All || shape.wants(field, FOLDER_DEFAULT))
                    && let Some(parent) = mailbox.folders.get(&folder.parent)
                {
                    let (id, key) = (&parent.id, parent.change_key());
                    out.push_str(&format!("<t:ParentFolderId Id=\"{id}\" ChangeKey=\"{key}\"/>"));
                }
            }
            "EffectiveRights" => {
                if shape.base == Base::All || shape.wants(field, FOLDER_DEFAULT) {
                    out.push_str(RIGHTS);
                }
            }
            // A calendar has no count of unread items.
            "UnreadCount" if name == "CalendarFolder" || name == "ContactsFolder" => {}
            field => {
                if (shape.base == Base::All || shape.wants(field, FOLDER_DEFAULT))
                    && let Some(text) = folder_plain(folder, field, mailbox)
                {
                    out.push_str(&format!("<t:{field}>{}</t:{field}>", escaped(&text)));
                }
            }
        }
    }
    out.push_str(&format!("</t:{name}>"));
    out
}
