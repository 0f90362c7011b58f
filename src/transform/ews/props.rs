//! MAPI properties as EWS names them, and the stamp's.
//!
//! A copy made from MIME is a draft of today unless its properties say otherwise, at creation: what the store computes
//! cannot be changed afterwards.

use crate::transform::xml;

/// A property outside of the schema (`t:ExtendedFieldURI`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// A tagged one: its tag, and the schema's word for its type.
    Tagged(u16, &'static str),
    /// A named one of ours: its property set, its name; text.
    Named(&'static str, &'static str),
}

/// PidTagMessageFlags: 0x1 read, 0x8 unsent (= draft).
pub const MESSAGE_FLAGS: Property = Property::Tagged(0x0E07, "Integer");
/// PidTagMessageDeliveryTime: the received date.
pub const DELIVERY_TIME: Property = Property::Tagged(0x0E06, "SystemTime");
/// PidTagClientSubmitTime: the sent date.
pub const SUBMIT_TIME: Property = Property::Tagged(0x0039, "SystemTime");
/// PidTagFlagStatus: 2 flagged; absent if not.
pub const FLAG_STATUS: Property = Property::Tagged(0x1090, "Integer");
/// PidTagFollowupIcon: the colour of a flag; 6 is red.
pub const FLAG_ICON: Property = Property::Tagged(0x1095, "Integer");
/// PidTagLastVerbExecuted: 102 replied, 103 replied to all, 104 forwarded.
pub const LAST_VERB: Property = Property::Tagged(0x1081, "Integer");
/// PidTagIconIndex: 261 replied, 262 forwarded.
pub const ICON: Property = Property::Tagged(0x1080, "Integer");
/// PidTagAttributeHidden, of a folder.
pub const HIDDEN: Property = Property::Tagged(0x10F4, "Boolean");
/// The provenance stamp: the same property that Graph shows. It must never change.
pub const STAMP: Property = Property::Named("b5d4f0b6-7a0e-4a39-9d5e-5c1f6a2e9d41", "MailwaveStamp");

impl Property {
    /// Appends its `t:ExtendedFieldURI`.
    pub fn uri(self, out: &mut String) {
        match self {
            Property::Tagged(tag, kind) => {
                let tag = format!("0x{tag:04X}");
                xml::empty(out, "t:ExtendedFieldURI", &[("PropertyTag", &tag), ("PropertyType", kind)]);
            }
            Property::Named(set, name) => xml::empty(
                out,
                "t:ExtendedFieldURI",
                &[("PropertySetId", set), ("PropertyName", name), ("PropertyType", "String")],
            ),
        }
    }

    /// Appends a `t:ExtendedProperty` with this value.
    pub fn write(self, out: &mut String, value: &str) {
        xml::open(out, "t:ExtendedProperty");
        self.uri(out);
        xml::element(out, "t:Value", value);
        xml::close(out, "t:ExtendedProperty");
    }

    /// Is it the one that these attributes of a `t:ExtendedFieldURI` name? Servers write tags and sets in their own way
    /// (`0xe07`, upper case).
    pub fn is(self, tag: Option<&str>, set: Option<&str>, name: Option<&str>) -> bool {
        match self {
            Property::Tagged(own, _) => tag.and_then(number) == Some(u32::from(own)),
            Property::Named(own, called) => {
                set.is_some_and(|set| set.trim_matches(['{', '}']).eq_ignore_ascii_case(own))
                    && name.is_some_and(|name| name.eq_ignore_ascii_case(called))
            }
        }
    }
}

/// A tag, hexadecimal or decimal.
fn number(tag: &str) -> Option<u32> {
    match tag.strip_prefix("0x").or_else(|| tag.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => tag.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::graph;

    #[test]
    fn the_stamp_is_one_property_whichever_protocol_writes_it() {
        let Property::Named(set, name) = STAMP else { panic!("a named property") };
        assert_eq!(graph::props::STAMP, format!("String {{{set}}} Name {name}"));
    }

    #[test]
    fn a_property_is_known_however_the_server_writes_it() {
        for tag in ["0x0E07", "0xe07", "0XE07", "3591"] {
            assert!(MESSAGE_FLAGS.is(Some(tag), None, None), "{tag}");
        }
        for tag in ["0x0E06", "", "0x", "x", "-1"] {
            assert!(!MESSAGE_FLAGS.is(Some(tag), None, None), "{tag}");
        }
        let set = "B5D4F0B6-7A0E-4A39-9D5E-5C1F6A2E9D41";
        assert!(STAMP.is(None, Some(set), Some("MailwaveStamp")));
        assert!(!STAMP.is(None, Some(set), Some("Other")) && !STAMP.is(Some("0x0E07"), None, None));
    }

    #[test]
    fn a_property_is_written_as_the_schema_wants_it() {
        let mut out = String::new();
        MESSAGE_FLAGS.write(&mut out, "1");
        assert_eq!(
            out,
            "<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x0E07\" PropertyType=\"Integer\"/>\
             <t:Value>1</t:Value></t:ExtendedProperty>"
        );
    }
}
