//! Messages, attachments and folders as clients write them in JSON, with the service's strictness.

use bytes::Bytes;

use super::date;
use super::json::Json;
use super::reply::Refusal;
use super::shapes::{
    body, flag, headers, nullable, object, one_of, optional_recipient, properties, recipients, unknown, wrong,
};
use super::state::{Content, Flag, Given, Recipient};

/// What was read, or why it is refused.
pub(super) type Taken<T> = Result<T, Refusal>;

/// A message or a change to one: what is given, nothing else.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageInput {
    pub(super) subject: Option<Option<String>>,
    /// HTML?, octets.
    pub(super) body: Option<(bool, Content)>,
    pub(super) internet_message_id: Option<String>,
    pub(super) from: Option<Option<Recipient>>,
    pub(super) sender: Option<Option<Recipient>>,
    pub(super) to: Option<Vec<Recipient>>,
    pub(super) cc: Option<Vec<Recipient>>,
    pub(super) bcc: Option<Vec<Recipient>>,
    pub(super) reply_to: Option<Vec<Recipient>>,
    pub(super) read: Option<bool>,
    pub(super) flag: Option<Flag>,
    pub(super) categories: Option<Vec<String>>,
    pub(super) importance: Option<String>,
    pub(super) inference: Option<String>,
    pub(super) delivery_receipt: Option<bool>,
    pub(super) read_receipt: Option<bool>,
    pub(super) headers: Option<Vec<(String, String)>>,
    pub(super) properties: Vec<Given>,
    pub(super) attachments: Vec<AttachmentInput>,
    /// From MIME only.
    pub(super) sent: Option<i64>,
    pub(super) raw: Option<Content>,
}

/// An attachment to add.
#[derive(Debug, Clone)]
pub(super) struct AttachmentInput {
    pub(super) file: bool,
    pub(super) name: String,
    pub(super) content_type: Option<String>,
    pub(super) inline: bool,
    pub(super) content_id: Option<String>,
    pub(super) content_location: Option<String>,
    pub(super) content: Content,
}

/// What an upload session is asked for.
#[derive(Debug, Clone)]
pub(super) struct UploadInput {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) content_type: Option<String>,
    pub(super) inline: bool,
    pub(super) content_id: Option<String>,
}

/// Given by the server; a client may send them back and they are ignored.
const READ_ONLY: &[&str] = &[
    "id",
    "createdDateTime",
    "lastModifiedDateTime",
    "changeKey",
    "receivedDateTime",
    "sentDateTime",
    "hasAttachments",
    "bodyPreview",
    "parentFolderId",
    "conversationId",
    "conversationIndex",
    "uniqueBody",
    "webLink",
    "isDraft",
];

/// A whole request body.
pub(super) fn document(octets: &[u8]) -> Taken<Json<'_>> {
    if octets.is_empty() {
        return Err(Refusal::new(400, "UnableToDeserializePostBody", "were unable to deserialize "));
    }
    let json = Json::read(octets).map_err(Refusal::body)?;
    match json {
        Json::Object(_) => Ok(json),
        _ => Err(Refusal::body("The body is not an object.")),
    }
}

impl MessageInput {
    pub(super) fn read(json: &Json<'_>) -> Taken<MessageInput> {
        let mut input = MessageInput::default();
        for (name, value) in object(json, "message")? {
            input.property(name, value)?;
        }
        Ok(input)
    }

    fn property(&mut self, name: &str, v: &Json<'_>) -> Taken<()> {
        match name {
            "subject" => self.subject = Some(nullable(v, name)?),
            "body" => self.body = body(v)?,
            "internetMessageId" => self.internet_message_id = nullable(v, name)?,
            "from" => self.from = Some(optional_recipient(v)?),
            "sender" => self.sender = Some(optional_recipient(v)?),
            "toRecipients" => self.to = Some(recipients(v, name)?),
            "ccRecipients" => self.cc = Some(recipients(v, name)?),
            "bccRecipients" => self.bcc = Some(recipients(v, name)?),
            "replyTo" => self.reply_to = Some(recipients(v, name)?),
            "isRead" => self.read = Some(v.bool().ok_or_else(|| wrong(name))?),
            "isDeliveryReceiptRequested" => self.delivery_receipt = v.bool(),
            "isReadReceiptRequested" => self.read_receipt = v.bool(),
            "flag" => self.flag = Some(flag(v)?),
            "categories" => {
                let list = v.list().ok_or_else(|| wrong(name))?;
                let texts: Option<Vec<String>> = list.iter().map(|c| c.text().map(str::to_owned)).collect();
                self.categories = Some(texts.ok_or_else(|| wrong(name))?);
            }
            "importance" => self.importance = Some(one_of(v, name, &["low", "normal", "high"])?),
            "inferenceClassification" => self.inference = Some(one_of(v, name, &["focused", "other"])?),
            "internetMessageHeaders" => self.headers = Some(headers(v)?),
            "singleValueExtendedProperties" => self.properties = properties(v)?,
            "attachments" => {
                for one in v.list().ok_or_else(|| wrong(name))? {
                    self.attachments.push(AttachmentInput::read(one)?);
                }
            }
            "@odata.type" => match v.text() {
                Some("#microsoft.graph.message" | "microsoft.graph.message") => {}
                _ => return Err(Refusal::body("The value of '@odata.type' is not a message.")),
            },
            "receivedDateTime" | "sentDateTime" | "createdDateTime" | "lastModifiedDateTime" => {
                // Ignored, but it must be a date.
                if *v != Json::Null && v.text().and_then(date::read).is_none() {
                    return Err(wrong(name));
                }
            }
            "isDraft" | "hasAttachments" if !matches!(v, Json::Bool(_) | Json::Null) => {
                return Err(wrong(name));
            }
            _ if READ_ONLY.contains(&name) || name.starts_with("@odata.") => {}
            _ => return Err(unknown(name, "message")),
        }
        Ok(())
    }

    /// Is anything given that a non-draft keeps?
    pub(super) fn touches_sensitive(&self) -> bool {
        self.subject.is_some()
            || self.body.is_some()
            || self.internet_message_id.is_some()
            || self.from.is_some()
            || self.sender.is_some()
            || self.to.is_some()
            || self.cc.is_some()
            || self.bcc.is_some()
            || self.reply_to.is_some()
    }
}

impl AttachmentInput {
    pub(super) fn read(json: &Json<'_>) -> Taken<AttachmentInput> {
        let members = object(json, "attachment")?;
        let file = match json.get("@odata.type").and_then(Json::text).map(|t| t.trim_start_matches('#')) {
            Some("microsoft.graph.fileAttachment") => true,
            Some("microsoft.graph.itemAttachment") => false,
            _ => return Err(Refusal::body("The attachment's '@odata.type' is missing or not supported.")),
        };
        let mut content = None;
        let mut input = AttachmentInput {
            file,
            name: String::new(),
            content_type: None,
            inline: false,
            content_id: None,
            content_location: None,
            content: Content::default(),
        };
        for (name, v) in members {
            match name.as_ref() {
                "name" => input.name = nullable(v, name)?.unwrap_or_default(),
                "contentType" => input.content_type = nullable(v, name)?,
                "isInline" => input.inline = v.bool().ok_or_else(|| wrong(name))?,
                "contentId" if file => input.content_id = nullable(v, name)?,
                "contentLocation" if file => input.content_location = nullable(v, name)?,
                "contentBytes" if file => {
                    let text = v.text().ok_or_else(|| wrong(name))?;
                    let octets = encodify::base64::STANDARD
                        .decode(text)
                        .map_err(|_| Refusal::body("Cannot convert the literal to the type 'Edm.Binary'."))?;
                    content = Some(Bytes::from(octets));
                }
                "item" if !file => {
                    match v.get("@odata.type").and_then(Json::text).map(|t| t.trim_start_matches('#')) {
                        // An attached message is held to the same rules.
                        Some("microsoft.graph.message") => drop(MessageInput::read(v)?),
                        Some("microsoft.graph.event" | "microsoft.graph.contact") => {}
                        _ => return Err(Refusal::body("The attached item's '@odata.type' is missing.")),
                    }
                    content = Some(Bytes::from(v.to_value().to_string()));
                }
                "@odata.type" | "id" | "size" | "lastModifiedDateTime" => {}
                _ if name.starts_with("@odata.") => {}
                _ => return Err(unknown(name, "attachment")),
            }
        }
        if input.name.is_empty() {
            return Err(Refusal::new(
                400,
                "ErrorRequiredPropertyMissing",
                "The attachment's name is missing.",
            ));
        }
        let Some(octets) = content else {
            return Err(Refusal::new(
                400,
                "ErrorRequiredPropertyMissing",
                "The attachment's content is missing.",
            ));
        };
        input.content = Content::new(octets);
        Ok(input)
    }
}

impl UploadInput {
    pub(super) fn read(json: &Json<'_>) -> Taken<UploadInput> {
        let [(outer, item)] = object(json, "createUploadSession")? else {
            return Err(Refusal::body("The body must hold 'AttachmentItem' alone."));
        };
        if outer != "AttachmentItem" && outer != "attachmentItem" {
            return Err(unknown(outer, "createUploadSession"));
        }
        let mut input =
            UploadInput { name: String::new(), size: 0, content_type: None, inline: false, content_id: None };
        let mut typed = false;
        for (name, v) in object(item, "attachmentItem")? {
            match name.as_ref() {
                "attachmentType" => {
                    if one_of(v, name, &["file", "item", "reference"])? != "file" {
                        return Err(Refusal::new(400, "ErrorInvalidRequest", "Only files can be uploaded."));
                    }
                    typed = true;
                }
                "name" => input.name = nullable(v, name)?.unwrap_or_default(),
                "size" => {
                    input.size = v.whole().and_then(|n| u64::try_from(n).ok()).ok_or_else(|| wrong(name))?;
                }
                "contentType" => input.content_type = nullable(v, name)?,
                "isInline" => input.inline = v.bool().ok_or_else(|| wrong(name))?,
                "contentId" => input.content_id = nullable(v, name)?,
                "@odata.type" => {}
                _ => return Err(unknown(name, "attachmentItem")),
            }
        }
        if !typed || input.name.is_empty() || input.size == 0 {
            return Err(Refusal::new(
                400,
                "ErrorRequiredPropertyMissing",
                "attachmentType, name and size are required.",
            ));
        }
        Ok(input)
    }
}

/// A folder's name and whether it is hidden, both if given. Only creation may say the latter.
pub(super) fn folder(json: &Json<'_>, creating: bool) -> Taken<(Option<String>, bool)> {
    let (mut display, mut hidden) = (None, false);
    for (name, v) in object(json, "mailFolder")? {
        match name.as_ref() {
            "displayName" => display = nullable(v, name)?,
            "isHidden" if creating => hidden = v.bool().ok_or_else(|| wrong(name))?,
            "@odata.type" => {}
            "id" | "parentFolderId" | "childFolderCount" | "totalItemCount" | "unreadItemCount"
                if *v != Json::Null =>
            {
                return Err(Refusal::new(
                    400,
                    "ErrorInvalidPropertySet",
                    format!("The property '{name}' is read-only."),
                ));
            }
            _ => return Err(unknown(name, "mailFolder")),
        }
    }
    Ok((display, hidden))
}

/// What `translateExchangeIds` is asked: ids, and whether immutable ones are wanted.
pub(super) fn translation(json: &Json<'_>) -> Taken<(Vec<String>, bool)> {
    const FORMS: [&str; 2] = ["restId", "restImmutableEntryId"];
    let (mut ids, mut source, mut target) = (None, None, None);
    for (name, v) in object(json, "translateExchangeIds")? {
        match name.as_ref() {
            "inputIds" | "InputIds" => {
                let list = v.list().ok_or_else(|| wrong(name))?;
                ids = list.iter().map(|i| i.text().map(str::to_owned)).collect::<Option<Vec<_>>>();
            }
            "sourceIdType" | "SourceIdType" => source = v.text(),
            "targetIdType" | "TargetIdType" => target = v.text(),
            _ => return Err(unknown(name, "translateExchangeIds")),
        }
    }
    let known = |form: Option<&str>| form.is_some_and(|f| FORMS.contains(&f));
    match ids {
        // The other forms are of protocols that the mock does not speak.
        Some(ids) if ids.len() <= 1000 && known(source) && known(target) => {
            Ok((ids, target == Some("restImmutableEntryId")))
        }
        _ => {
            Err(Refusal::new(400, "ErrorInvalidRequest", "Up to 1000 ids of known forms can be translated."))
        }
    }
}

/// `{"destinationId": "…"}`
pub(super) fn destination(json: &Json<'_>) -> Taken<String> {
    let mut to = None;
    for (name, v) in object(json, "move")? {
        match name.as_ref() {
            "destinationId" | "DestinationId" => to = nullable(v, name)?,
            _ => return Err(unknown(name, "move")),
        }
    }
    to.filter(|t| !t.is_empty())
        .ok_or_else(|| Refusal::new(400, "ErrorInvalidRequest", "The destination folder is missing."))
}
