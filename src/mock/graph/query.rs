//! Query options: what is asked of a read. Options an endpoint does not know are refused.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::delta::{self, Change, State};
use super::filter::Filter;
use super::property::PropertyId;
use super::reply::Refusal;

/// What a read asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) top: Option<usize>,
    pub(super) skip: usize,
    /// Where the page before ended.
    pub(super) after: Option<u64>,
    pub(super) select: Option<Vec<String>>,
    pub(super) filter: Option<Filter>,
    /// Canonical ids of the extended properties asked for.
    pub(super) properties: Vec<String>,
    pub(super) expand_attachments: bool,
    pub(super) count: bool,
    pub(super) order: Option<Order>,
    pub(super) hidden: bool,
    /// The page the client prefers, if that decided `top`.
    pub(super) preferred: Option<usize>,
    /// Where a client of a delta stands.
    pub(super) delta: Option<State>,
    /// Which changes a delta shall tell.
    pub(super) change: Option<Change>,
    /// What an attached item holds.
    pub(super) expand_item: bool,
    /// The options as given, without the skip token: what a next link repeats.
    pub(super) repeat: Vec<(String, String)>,
}

/// `$orderby`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) created: bool,
    pub(super) descending: bool,
}

/// What is read; decides which options and properties are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Nothing,
    User,
    Folder,
    Folders,
    Message,
    Messages,
    Attachment,
    Attachments,
    FolderDelta,
    MessageDelta,
    StoreFolders,
    StoreItem,
    StoreItems,
}

impl Of {
    fn options(self) -> &'static [&'static str] {
        match self {
            Of::Nothing => &[],
            Of::User => &["$select"],
            Of::Folder => &["$select", "includeHiddenFolders"],
            Of::Folders => {
                &["$top", "$skip", "$skiptoken", "$select", "$filter", "$count", "includeHiddenFolders"]
            }
            Of::Message => &["$select", "$expand"],
            Of::Messages => {
                &["$top", "$skip", "$skiptoken", "$select", "$filter", "$count", "$expand", "$orderby"]
            }
            Of::Attachment => &["$select", "$expand"],
            Of::Attachments => &["$top", "$skip", "$select", "$count", "$expand"],
            Of::FolderDelta => &["$select", "$skiptoken", "$deltatoken"],
            Of::MessageDelta => &[
                "$top",
                "$select",
                "$filter",
                "$expand",
                "$orderby",
                "changeType",
                "$skiptoken",
                "$deltatoken",
            ],
            Of::StoreFolders => &["$top", "$skip", "$skiptoken"],
            Of::StoreItem => &["$select", "$expand"],
            Of::StoreItems => &["$top", "$skip", "$skiptoken", "$select", "$filter", "$count", "$expand"],
        }
    }

    fn properties(self) -> &'static [&'static str] {
        match self {
            Of::Nothing | Of::StoreFolders => &[],
            Of::StoreItem | Of::StoreItems => {
                &["id", "changeKey", "type", "size", "categories", "createdDateTime", "lastModifiedDateTime"]
            }
            Of::User => &["id", "displayName", "mail", "userPrincipalName"],
            Of::Folder | Of::Folders | Of::FolderDelta => &[
                "id",
                "displayName",
                "parentFolderId",
                "childFolderCount",
                "unreadItemCount",
                "totalItemCount",
                "isHidden",
                "sizeInBytes",
            ],
            Of::Message | Of::Messages | Of::MessageDelta => MESSAGE_PROPERTIES,
            Of::Attachment | Of::Attachments => &[
                "id",
                "name",
                "contentType",
                "size",
                "isInline",
                "lastModifiedDateTime",
                "contentId",
                "contentLocation",
                "contentBytes",
            ],
        }
    }
}

/// Every property of a message that can be selected.
const MESSAGE_PROPERTIES: &[&str] = &[
    "id",
    "createdDateTime",
    "lastModifiedDateTime",
    "changeKey",
    "categories",
    "receivedDateTime",
    "sentDateTime",
    "hasAttachments",
    "internetMessageId",
    "internetMessageHeaders",
    "subject",
    "bodyPreview",
    "importance",
    "parentFolderId",
    "conversationId",
    "conversationIndex",
    "isDeliveryReceiptRequested",
    "isReadReceiptRequested",
    "isRead",
    "isDraft",
    "webLink",
    "inferenceClassification",
    "body",
    "uniqueBody",
    "sender",
    "from",
    "toRecipients",
    "ccRecipients",
    "bccRecipients",
    "replyTo",
    "flag",
];

impl View {
    /// Reads the query of a request on `of`.
    pub(super) fn read(query: Option<&str>, of: Of) -> Result<View, Refusal> {
        let mut view = View::default();
        if matches!(of, Of::FolderDelta | Of::MessageDelta)
            && let Some(state) = token(query.unwrap_or(""))?
        {
            // The token holds what the first call asked for.
            for (name, value) in &state.query {
                view.option(name, value, of)?;
            }
            view.repeat.clone_from(&state.query);
            view.delta = Some(state);
            return Ok(view);
        }
        for pair in query.unwrap_or("").split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !of.options().contains(&name.as_ref()) {
                return Err(Refusal::query(format!("The query parameter '{name}' is not supported.")));
            }
            if view.repeat.iter().any(|(n, _)| *n == name) {
                return Err(Refusal::query(format!("Query option '{name}' was specified more than once.")));
            }
            view.option(&name, &value, of)?;
            if name != "$skiptoken" {
                view.repeat.push((name.into_owned(), value.into_owned()));
            }
        }
        if view.order.is_some() && view.filter.is_some() && of != Of::MessageDelta {
            return Err(Refusal::new(
                400,
                "InefficientFilter",
                "The restriction or sort order is too complex for this operation.",
            ));
        }
        Ok(view)
    }

    fn option(&mut self, name: &str, value: &str, of: Of) -> Result<(), Refusal> {
        let invalid = || Refusal::query(format!("Invalid value '{}' for '{name}'.", clip(value)));
        match name {
            "$top" => {
                let top = value.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(invalid)?;
                self.top = Some(top);
            }
            "$skip" => self.skip = value.parse().map_err(|_| invalid())?,
            "$skiptoken" => self.after = Some(read_token(value).ok_or_else(invalid)?),
            "$count" => self.count = value.parse().map_err(|_| invalid())?,
            "includeHiddenFolders" => self.hidden = value.parse().map_err(|_| invalid())?,
            "$filter" => {
                let filter = Filter::read(value)?;
                if of == Of::MessageDelta && !delta::takes(&filter) {
                    return Err(invalid());
                }
                self.filter = Some(filter);
            }
            "$orderby" if of == Of::MessageDelta && value != "receivedDateTime desc" => return Err(invalid()),
            "changeType" => self.change = Some(Change::read(value).ok_or_else(invalid)?),
            "$orderby" => {
                let (what, way) = value.split_once(' ').unwrap_or((value, "asc"));
                self.order = Some(Order {
                    created: match what {
                        "createdDateTime" => true,
                        "receivedDateTime" => false,
                        _ => return Err(invalid()),
                    },
                    descending: match way {
                        "desc" => true,
                        "asc" => false,
                        _ => return Err(invalid()),
                    },
                });
            }
            "$select" => {
                let mut names = Vec::new();
                for part in value.split(',').map(str::trim) {
                    if !of.properties().contains(&part) {
                        return Err(Refusal::query(format!(
                            "Could not find a property named '{}'.",
                            clip(part)
                        )));
                    }
                    names.push(part.to_owned());
                }
                self.select = Some(names);
            }
            "$expand" => self.expand(value, of).ok_or_else(invalid)?,
            _ => return Err(invalid()),
        }
        Ok(())
    }

    /// `attachments` and `singleValueExtendedProperties($filter=id eq '…' or id eq '…')`, separated by commas.
    /// Of attachments only `microsoft.graph.itemattachment/item`.
    fn expand(&mut self, value: &str, of: Of) -> Option<()> {
        let of_attachments = matches!(of, Of::Attachment | Of::Attachments);
        let mut rest = value.trim();
        while !rest.is_empty() {
            if of_attachments {
                let item = "microsoft.graph.itemattachment/item";
                let (head, more) = rest.split_at_checked(item.len())?;
                self.expand_item = head.eq_ignore_ascii_case(item);
                rest = if self.expand_item { more } else { return None };
            } else if let Some(more) = rest.strip_prefix("attachments") {
                self.expand_attachments = true;
                rest = more;
            } else {
                rest = rest.strip_prefix("singleValueExtendedProperties($filter=")?;
                loop {
                    rest = rest.trim_start().strip_prefix("id eq '")?;
                    let end = rest.find('\'')?;
                    self.properties.push(PropertyId::read(&rest[..end])?.canonical);
                    rest = rest[end + 1..].trim_start();
                    match rest.strip_prefix("or ") {
                        Some(more) => rest = more,
                        None => break,
                    }
                }
                rest = rest.strip_prefix(')')?;
            }
            rest = match rest.strip_prefix(',') {
                Some(more) if !more.is_empty() => more,
                Some(_) => return None,
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(())
    }

    /// Is the property asked for? Without `$select` all are, but the header fields.
    pub(super) fn wants(&self, name: &str) -> bool {
        match &self.select {
            Some(names) => names.iter().any(|n| n == name),
            None => !matches!(name, "internetMessageHeaders" | "uniqueBody"),
        }
    }

    /// The link to the page after `position`. `path` is the absolute address without its query.
    pub(super) fn next_link(&self, path: &str, position: u64) -> String {
        let mut link = format!("{path}?");
        for (name, value) in self.repeat.iter().filter(|(n, _)| n != "$skip") {
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            link.push_str(&format!("{name}={value}&"));
        }
        link.push_str("$skiptoken=");
        link.push_str(&write_token(position));
        link
    }
}

/// Where the client of a delta stands, by the one token its query may hold.
fn token(query: &str) -> Result<Option<State>, Refusal> {
    let mut found = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if matches!(decode(name)?.as_ref(), "$skiptoken" | "$deltatoken") {
            let state = State::read(&decode(value)?).ok_or_else(delta::malformed)?;
            if found.replace(state).is_some() {
                return Err(delta::malformed());
            }
        }
    }
    Ok(found)
}

const TOKEN_KEY: u64 = 0x5ca1_ab1e_0ddb_a115;

/// A position, made opaque: nobody should count on what is inside.
fn write_token(position: u64) -> String {
    let hidden = (position ^ TOKEN_KEY).rotate_left(17);
    let check = hidden.wrapping_mul(0x9E37_79B9) & 0xffff;
    format!("RFNwdAIAAQAAAC{hidden:016x}{check:04x}")
}

fn read_token(token: &str) -> Option<u64> {
    let digits = token.strip_prefix("RFNwdAIAAQAAAC").filter(|d| d.len() == 20 && d.is_ascii())?;
    let hidden = u64::from_str_radix(&digits[..16], 16).ok()?;
    let check = u64::from_str_radix(&digits[16..], 16).ok()?;
    (hidden.wrapping_mul(0x9E37_79B9) & 0xffff == check).then(|| hidden.rotate_right(17) ^ TOKEN_KEY)
}

fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    // In a query a plus is a blank; every other octet is percent-encoded or itself.
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced)
            .decode_utf8()
            .map(|t| Cow::Owned(t.into_owned()))
            .map_err(|_| Refusal::query("The query is not UTF-8."));
    }
    percent_decode_str(text).decode_utf8().map_err(|_| Refusal::query("The query is not UTF-8."))
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_repeated_options_are_refused() {
        assert!(View::read(Some("$top=5"), Of::Messages).is_ok());
        for bad in
            ["$top=0", "$top=1001", "$top=x", "$top=1&$top=2", "$search=x", "top=1", "$select=nonsense"]
        {
            assert!(View::read(Some(bad), Of::Messages).is_err(), "{bad}");
        }
        assert!(View::read(Some("$top=5"), Of::Message).is_err());
    }

    #[test]
    fn a_skip_token_is_opaque_and_checked() {
        let token = write_token(123_456);
        assert_eq!(read_token(&token), Some(123_456));
        assert!(!token.contains("123456"));
        assert_eq!(read_token(&token.replace(&token[20..22], "zz")), None);
        assert_eq!(read_token("5"), None);
    }

    #[test]
    fn several_properties_can_be_expanded() {
        let view = View::read(
            Some("$expand=attachments,singleValueExtendedProperties($filter=id eq 'Integer 0x0E07' or id eq 'String 0x7D')"),
            Of::Message,
        )
        .unwrap();
        assert_eq!(view.properties, ["Integer 0xe07", "String 0x7d"]);
        assert!(view.expand_attachments);
        assert!(View::read(Some("$expand=children"), Of::Message).is_err());
    }
}
