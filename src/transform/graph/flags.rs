//! Flags and keywords, and what Graph has for them.
//!
//! | flag | Graph |
//! |---|---|
//! | `\Seen` | `isRead` |
//! | `\Flagged` | `flag.flagStatus` = `flagged` |
//! | `\Draft` | bit 0x8 of 0x0E07, at creation only |
//! | `\Answered` | 0x1081 = 102 (replied), icon 261 |
//! | `$Forwarded` | 0x1081 = 104 (forwarded), icon 262; a category if also `\Answered`, since there is one verb |
//! | other keywords | categories of the same name, sorted |
//! | `\Deleted` | none (declared) |
//!
//! Reading them back gives the same flags, so that a three-way merge sees only what people changed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{losses, props};
use crate::model::Flags;
use crate::transform::json::{self, Array, Object};

/// Longest category in UTF-16 units, and most categories of a message.
const MAX_CATEGORY: usize = 255;
const MAX_CATEGORIES: usize = 100;

fn is_forwarded(keyword: &str) -> bool {
    keyword.eq_ignore_ascii_case("$Forwarded")
}

/// (LastVerbExecuted, icon) for these flags; `None` for neither answered nor forwarded.
pub(in crate::transform) fn verb(flags: &Flags) -> Option<(&'static str, &'static str)> {
    if flags.answered {
        Some(("102", "261"))
    } else if flags.keywords.iter().any(|k| is_forwarded(k)) {
        Some(("104", "262"))
    } else {
        None
    }
}

pub(in crate::transform) fn categories<'a>(
    flags: &'a Flags,
    losses: &mut BTreeSet<&'static str>,
) -> Vec<&'a str> {
    let mut list: Vec<&str> = Vec::new();
    for keyword in &flags.keywords {
        if is_forwarded(keyword) && !flags.answered {
            continue; // it is the verb
        }
        let fits = !keyword.trim().is_empty()
            && keyword.trim() == keyword
            && keyword.encode_utf16().count() <= MAX_CATEGORY
            && !keyword.contains([',', ';'])
            && !keyword.chars().any(char::is_control);
        if fits && list.len() < MAX_CATEGORIES {
            list.push(keyword);
        } else {
            losses.insert(losses::KEYWORD_DROPPED);
        }
    }
    list
}

/// Writes the members of a create or a PATCH that carry the flags.
pub fn write(object: &mut Object<'_>, flags: &Flags, losses: &mut BTreeSet<&'static str>) {
    if flags.deleted {
        losses.insert(losses::DELETED_FLAG);
    }
    object.flag("isRead", flags.seen);
    let mut flag = Object::begin(object.key("flag"));
    flag.text("flagStatus", if flags.flagged { "flagged" } else { "notFlagged" });
    flag.end();
    let list = categories(flags, losses);
    let mut array = Array::begin(object.key("categories"));
    for category in list {
        json::string(array.item(), category);
    }
    array.end();
}

/// Writes the extended properties of a create that carry flags. 0x0E07 takes effect at creation only: 0x1 read,
/// 0x4 submitted (without 0x8 the message is not a draft), 0x8 unsent.
pub fn write_props(array: &mut Array<'_>, flags: &Flags) {
    let bits = u8::from(flags.seen) | if flags.draft { 0x8 } else { 0x4 };
    props::write(array.item(), props::MESSAGE_FLAGS, &bits.to_string());
    if let Some((verb, icon)) = verb(flags) {
        props::write(array.item(), props::LAST_VERB, verb);
        props::write(array.item(), props::ICON, icon);
    }
}

/// The body of a PATCH that gives a copy these flags. The draft state cannot be changed.
pub fn patch_body(flags: &Flags) -> String {
    let mut out = String::new();
    let mut object = Object::begin(&mut out);
    write(&mut object, flags, &mut BTreeSet::new());
    let mut array = Array::begin(object.key("singleValueExtendedProperties"));
    write_verb(&mut array, flags);
    array.end();
    object.end();
    out
}

/// Writes the extended properties of a PATCH that carry flags.
pub fn write_verb(array: &mut Array<'_>, flags: &Flags) {
    let (verb, icon) = verb(flags).unwrap_or(("0", if flags.seen { "256" } else { "257" }));
    props::write(array.item(), props::LAST_VERB, verb);
    props::write(array.item(), props::ICON, icon);
}

/// Reads the flags of a listed message (`isRead`, `isDraft`, `flag`, `categories`, the verb if it was expanded).
pub fn read(message: &Value) -> Flags {
    let mut flags = Flags {
        seen: message["isRead"] == true,
        draft: message["isDraft"] == true,
        flagged: message["flag"]["flagStatus"] == "flagged",
        ..Flags::default()
    };
    for category in message["categories"].as_array().into_iter().flatten().take(MAX_CATEGORIES) {
        if let Some(name) = category.as_str() {
            flags.keywords.insert(name.to_owned());
        }
    }
    match super::extended(message, props::LAST_VERB) {
        Some("102" | "103") => flags.answered = true,
        Some("104") => {
            flags.keywords.insert("$Forwarded".to_owned());
        }
        _ => {}
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(list: &[&str]) -> Flags {
        let mut f = Flags::default();
        list.iter().for_each(|x| f.add(x));
        f
    }

    #[test]
    fn flags_read_back_as_they_were_written() {
        for list in [
            &[][..],
            &["\\Seen", "\\Flagged", "work", "$Label1"],
            &["\\Answered"],
            &["$Forwarded", "b", "a"],
            &["\\Answered", "$Forwarded"],
        ] {
            let f = flags(list);
            let written: Value = serde_json::from_str(&patch_body(&f)).expect("JSON");
            assert_eq!(read(&written), f, "{list:?}");
        }
    }

    #[test]
    fn a_draft_is_the_only_message_with_the_unsent_bit() {
        for (list, bits) in
            [(&["\\Seen"][..], "5"), (&[], "4"), (&["\\Draft"], "8"), (&["\\Draft", "\\Seen"], "9")]
        {
            let mut out = String::new();
            let mut array = Array::begin(&mut out);
            write_props(&mut array, &flags(list));
            array.end();
            let written: Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!(written[0]["value"], bits);
        }
    }

    #[test]
    fn what_cannot_be_a_category_is_declared() {
        let mut losses = BTreeSet::new();
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        write(&mut object, &flags(&["a,b", "ok", "\\Deleted"]), &mut losses);
        object.end();
        let written: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(written["categories"], serde_json::json!(["ok"]));
        assert_eq!(losses, BTreeSet::from([losses::KEYWORD_DROPPED, losses::DELETED_FLAG]));
    }
}
