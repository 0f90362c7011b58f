//! The rules of the XML schema that a request is held to: which elements, in which order, how often.
//!
//! The service validates before it does anything; a client that sends elements in another order gets
//! `ErrorSchemaValidation` for the whole request. Only the parts of the schema that mail needs are here.

use super::xml::{Element, Space};

/// A request that is not of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) text: String,
    /// Where the element begins, in octets.
    pub(super) at: usize,
}

impl Violation {
    pub(super) fn of(element: &Element<'_>, text: impl Into<String>) -> Violation {
        Violation { text: format!("the element '{}': {}", element.name, text.into()), at: element.at }
    }
}

/// How often an element stands in a sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    name: &'static str,
    least: bool,
}

/// Exactly once.
pub(super) const fn one(name: &'static str) -> Rule {
    Rule { name, least: true }
}

/// At most once.
pub(super) const fn opt(name: &'static str) -> Rule {
    Rule { name, least: false }
}

/// Holds an element's children to a sequence.
pub(super) fn sequence(element: &Element<'_>, space: Space, rules: &[Rule]) -> Result<(), Violation> {
    let mut rules = rules.iter().copied().peekable();
    for child in &element.children {
        if child.space != space {
            return Err(Violation::of(child, "it is of another namespace than is due"));
        }
        loop {
            let Some(rule) = rules.peek().copied() else {
                return Err(Violation::of(child, "it is not due here"));
            };
            if rule.name == child.name {
                rules.next();
                break;
            }
            if rule.least {
                return Err(Violation::of(child, format!("'{}' is due before it", rule.name)));
            }
            rules.next();
        }
    }
    match rules.find(|r| r.least) {
        Some(rule) => Err(Violation::of(element, format!("'{}' is missing", rule.name))),
        None => Ok(()),
    }
}

/// Holds an element's children to one of these names, any number but none.
pub(super) fn several(element: &Element<'_>, space: Space, names: &[&str]) -> Result<(), Violation> {
    if element.children.is_empty() {
        return Err(Violation::of(element, "it has incomplete content"));
    }
    for child in &element.children {
        if child.space != space || !names.contains(&child.name) {
            return Err(Violation::of(child, "it is not due here"));
        }
    }
    Ok(())
}

/// The one child of an element, of one of these names.
pub(super) fn only<'e, 'a>(
    element: &'e Element<'a>,
    space: Space,
    names: &[&str],
) -> Result<&'e Element<'a>, Violation> {
    several(element, space, names)?;
    match element.children.as_slice() {
        [child] => Ok(child),
        [_, second, ..] => Err(Violation::of(second, "it is one too many")),
        [] => Err(Violation::of(element, "it has incomplete content")),
    }
}

/// Holds children to an order; each at most once but `ExtendedProperty`.
pub(super) fn ordered(element: &Element<'_>, order: &[&str]) -> Result<(), Violation> {
    let mut next = 0;
    for child in &element.children {
        let place = order.iter().position(|n| *n == child.name).filter(|_| child.space == Space::Types);
        match place {
            None => return Err(Violation::of(child, "it is not of this type")),
            Some(place) if place < next => return Err(Violation::of(child, "it comes too late or twice")),
            Some(place) => next = place + usize::from(child.name != "ExtendedProperty"),
        }
    }
    Ok(())
}

/// An attribute's value, one of these.
pub(super) fn choice<'e>(
    element: &'e Element<'_>,
    attribute: &str,
    among: &[&str],
) -> Result<Option<&'e str>, Violation> {
    match element.attribute(attribute) {
        Some(value) if !among.contains(&value) => {
            Err(Violation::of(element, format!("the attribute '{attribute}' is not of the enumeration")))
        }
        value => Ok(value),
    }
}

/// The same, required.
pub(super) fn required<'e>(
    element: &'e Element<'_>,
    attribute: &str,
    among: &[&str],
) -> Result<&'e str, Violation> {
    choice(element, attribute, among)?
        .ok_or_else(|| Violation::of(element, format!("the attribute '{attribute}' is missing")))
}

/// `xs:boolean`
pub(super) fn boolean(element: &Element<'_>) -> Result<bool, Violation> {
    match element.word() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Violation::of(element, "it is no boolean")),
    }
}

/// A whole number.
pub(super) fn number(element: &Element<'_>, text: &str) -> Result<i64, Violation> {
    text.trim().parse().map_err(|_| Violation::of(element, "it is no number"))
}

/// The children of a message, in the schema's order (`ItemType`, then `MessageType`).
pub(super) const MESSAGE: &[&str] = &[
    "MimeContent",
    "ItemId",
    "ParentFolderId",
    "ItemClass",
    "Subject",
    "Sensitivity",
    "Body",
    "Attachments",
    "DateTimeReceived",
    "Size",
    "Categories",
    "Importance",
    "InReplyTo",
    "IsSubmitted",
    "IsDraft",
    "IsFromMe",
    "IsResend",
    "IsUnmodified",
    "InternetMessageHeaders",
    "DateTimeSent",
    "DateTimeCreated",
    "ResponseObjects",
    "ReminderDueBy",
    "ReminderIsSet",
    "ReminderNextTime",
    "ReminderMinutesBeforeStart",
    "DisplayCc",
    "DisplayTo",
    "DisplayBcc",
    "HasAttachments",
    "ExtendedProperty",
    "Culture",
    "EffectiveRights",
    "LastModifiedName",
    "LastModifiedTime",
    "IsAssociated",
    "WebClientReadFormQueryString",
    "WebClientEditFormQueryString",
    "ConversationId",
    "UniqueBody",
    "Flag",
    "StoreEntryId",
    "InstanceKey",
    "NormalizedBody",
    "EntityExtractionResult",
    "PolicyTag",
    "ArchiveTag",
    "RetentionDate",
    "Preview",
    "RightsManagementLicenseData",
    "PredictedActionReasons",
    "IsClutter",
    "BlockStatus",
    "HasBlockedImages",
    "TextBody",
    "IconIndex",
    "SearchKey",
    "SortKey",
    "Hashtags",
    "Mentions",
    "MentionedMe",
    "MentionsPreview",
    "MentionsEx",
    "AppliedHashtags",
    "AppliedHashtagsPreview",
    "Likes",
    "LikesPreview",
    "PendingSocialActivityTagIds",
    "AtAllMention",
    "CanDelete",
    "InferenceClassification",
    "Sender",
    "ToRecipients",
    "CcRecipients",
    "BccRecipients",
    "IsReadReceiptRequested",
    "IsDeliveryReceiptRequested",
    "ConversationIndex",
    "ConversationTopic",
    "From",
    "InternetMessageId",
    "IsRead",
    "IsResponseRequested",
    "References",
    "ReplyTo",
    "ReceivedBy",
    "ReceivedRepresenting",
    "ApprovalRequestData",
    "VotingInformation",
    "ReminderMessageData",
    "MessageSafety",
    "SenderSMTPAddress",
    "MailboxGuids",
];

/// The children of a folder, in the schema's order.
pub(super) const FOLDER: &[&str] = &[
    "FolderId",
    "ParentFolderId",
    "FolderClass",
    "DisplayName",
    "TotalCount",
    "ChildFolderCount",
    "ExtendedProperty",
    "ManagedFolderInformation",
    "EffectiveRights",
    "DistinguishedFolderId",
    "PolicyTag",
    "ArchiveTag",
    "ReplicaList",
    "PermissionSet",
    "UnreadCount",
];

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    #[test]
    fn order_and_number_are_held() {
        let check = |inner: &str| {
            let text = format!("<a xmlns='{}'>{inner}</a>", xml::TYPES);
            let root = xml::read(&text).unwrap();
            sequence(&root, Space::Types, &[one("x"), opt("y"), one("z")]).is_ok()
        };
        assert!(check("<x/><z/>") && check("<x/><y/><z/>"));
        for bad in ["<z/><x/>", "<x/>", "<x/><x/><z/>", "<x/><y/><y/><z/>", "<x/><z/><w/>", ""] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn only_extended_properties_come_twice() {
        let check = |inner: &str| {
            let text = format!("<a xmlns='{}'>{inner}</a>", xml::TYPES);
            ordered(&xml::read(&text).unwrap(), MESSAGE).is_ok()
        };
        assert!(check("<MimeContent/><ExtendedProperty/><ExtendedProperty/><Flag/><IsRead/>"));
        for bad in ["<IsRead/><ExtendedProperty/>", "<Subject/><Subject/>", "<Title/>", "<x:y xmlns:x='z'/>"]
        {
            assert!(!check(bad), "{bad}");
        }
    }
}
