//! MAPI properties as Graph names them, and the stamp's.
//!
//! `receivedDateTime`, `sentDateTime`, `isDraft` and headers that do not begin with `x-` are ignored or refused in a
//! create; the MAPI properties behind them are honoured, at creation only. Ids are `"{type} {tag}"` or
//! `"{type} {guid} Name {name}"` (Graph, "Extended properties overview").

use crate::model::{Stamp, StampPrefix};
use crate::transform::json::Object;

/// PidTagMessageFlags: read, submitted, unsent (= draft).
pub const MESSAGE_FLAGS: &str = "Integer 0x0E07";
/// PidTagMessageDeliveryTime: `receivedDateTime`.
pub const DELIVERY_TIME: &str = "SystemTime 0x0E06";
/// PidTagClientSubmitTime: `sentDateTime`.
pub const SUBMIT_TIME: &str = "SystemTime 0x0039";
/// PidTagTransportMessageHeaders: the original header block.
pub const TRANSPORT_HEADERS: &str = "String 0x007D";
/// PidTagMessageClass, where it is not `IPM.Note`.
pub const CLASS: &str = "String 0x001A";
/// PidTagInReplyToId.
pub const IN_REPLY_TO: &str = "String 0x1042";
/// PidTagInternetReferences: threads are built from it.
pub const REFERENCES: &str = "String 0x1039";
/// PidTagLastVerbExecuted: 102 replied, 103 replied to all, 104 forwarded.
pub const LAST_VERB: &str = "Integer 0x1081";
/// PidTagIconIndex: 261 replied, 262 forwarded, 256 read, 257 unread.
pub const ICON: &str = "Integer 0x1080";
/// The provenance stamp. The GUID is ours, made once; it must never change.
pub const STAMP: &str = "String {b5d4f0b6-7a0e-4a39-9d5e-5c1f6a2e9d41} Name MailwaveStamp";

/// The value of [`STAMP`]: the stamp and whether the copy is complete. The stamp comes first, so that a prefix of it is
/// a prefix of the value.
pub fn stamp_value(stamp: &Stamp, done: bool) -> String {
    format!("{stamp}/{}", if done { "done" } else { "open" })
}

/// Reads [`stamp_value`]; `None` if it is not one.
pub fn parse_stamp_value(value: &str) -> Option<(Stamp, bool)> {
    let (stamp, state) = value.split_once('/')?;
    let done = match state {
        "done" => true,
        "open" => false,
        _ => return None,
    };
    Some((stamp.parse().ok()?, done))
}

/// The OData filter that finds every copy whose stamp begins with `prefix`, over the whole mailbox. Stamps hold no
/// character that would need escaping.
pub fn stamp_filter(prefix: &StampPrefix) -> String {
    format!(
        "singleValueExtendedProperties/Any(ep: ep/id eq '{STAMP}' and startswith(ep/value,'{}'))",
        prefix.as_str()
    )
}

/// Appends one extended property.
pub fn write(out: &mut String, id: &str, value: &str) {
    let mut object = Object::begin(out);
    object.text("id", id);
    object.text("value", value);
    object.end();
}

/// The request body that says: this copy is complete.
pub fn done_body(stamp: &Stamp) -> String {
    let mut out = String::from(r#"{"singleValueExtendedProperties":["#);
    write(&mut out, STAMP, &stamp_value(stamp, true));
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FolderId, MailboxKey, SourceName};

    #[test]
    fn a_stamps_state_reads_back_and_a_prefix_of_the_stamp_is_one_of_the_value() {
        let source: SourceName = "acme".parse().expect("valid");
        let mailbox = MailboxKey::of(&source, "a");
        let prefix = StampPrefix::folder(&source, &mailbox, FolderId(3));
        let stamp = Stamp { source, mailbox, folder: FolderId(3), epoch: 9, number: 12 };
        for done in [true, false] {
            let value = stamp_value(&stamp, done);
            assert!(value.starts_with(prefix.as_str()));
            assert_eq!(parse_stamp_value(&value), Some((stamp.clone(), done)));
        }
        assert_eq!(parse_stamp_value(&stamp.to_string()), None);
        assert_eq!(parse_stamp_value("x/done"), None);
        let body: serde_json::Value = serde_json::from_str(&done_body(&stamp)).expect("JSON");
        assert_eq!(body["singleValueExtendedProperties"][0]["value"], stamp_value(&stamp, true));
    }
}
