//! Flags and keywords, and what EWS has for them: the same MAPI properties as in Graph (`transform::graph::flags`), by
//! other names.
//!
//! | flag | EWS |
//! |---|---|
//! | `\Seen` | `IsRead`, bit 0x1 of 0x0E07 |
//! | `\Flagged` | 0x1090 = 2, icon 0x1095 = 6 |
//! | `\Draft` | bit 0x8 of 0x0E07, at creation only |
//! | `\Answered`, `$Forwarded` | 0x1081 and 0x1080 |
//! | other keywords | categories |
//! | `\Deleted` | none (declared) |

use std::collections::BTreeSet;

use super::props::{self, Property};
use crate::model::Flags;
use crate::transform::graph::flags::{categories, verb};
use crate::transform::graph::losses;
use crate::transform::xml;

/// The categories these flags give, as far as XML can hold them.
fn names<'a>(flags: &'a Flags, lost: &mut BTreeSet<&'static str>) -> Vec<&'a str> {
    let mut list = categories(flags, lost);
    let all = list.len();
    list.retain(|name| name.chars().all(xml::allowed));
    if list.len() < all {
        lost.insert(losses::KEYWORD_DROPPED);
    }
    list
}

/// Appends `t:Categories`, if there are any.
pub fn write_categories(out: &mut String, flags: &Flags, lost: &mut BTreeSet<&'static str>) {
    let list = names(flags, lost);
    if list.is_empty() {
        return;
    }
    xml::open(out, "t:Categories");
    for name in list {
        xml::element(out, "t:String", name);
    }
    xml::close(out, "t:Categories");
}

/// Appends the extended properties of a creation that carry flags. 0x0E07 takes effect at creation only: without it, or
/// with 0x8, the copy is a draft.
pub fn write_props(out: &mut String, flags: &Flags, lost: &mut BTreeSet<&'static str>) {
    if flags.deleted {
        lost.insert(losses::DELETED_FLAG);
    }
    let bits = u8::from(flags.seen) | if flags.draft { 0x8 } else { 0 };
    props::MESSAGE_FLAGS.write(out, &bits.to_string());
    for (property, value) in later(flags) {
        if let Some(value) = value {
            property.write(out, value);
        }
    }
}

/// The properties that may change at any time, with their values; `None`: it has none.
fn later(flags: &Flags) -> [(Property, Option<&'static str>); 4] {
    let verb = verb(flags);
    [
        (props::FLAG_STATUS, flags.flagged.then_some("2")),
        (props::FLAG_ICON, flags.flagged.then_some("6")),
        (props::LAST_VERB, verb.map(|(verb, _)| verb)),
        (props::ICON, verb.map(|(_, icon)| icon)),
    ]
}

/// Appends the `t:Updates` that give a copy these flags. The draft state cannot be changed.
pub fn updates(out: &mut String, flags: &Flags) {
    xml::open(out, "t:Updates");
    set(
        out,
        |out| xml::empty(out, "t:FieldURI", &[("FieldURI", "message:IsRead")]),
        |out| {
            xml::element(out, "t:IsRead", if flags.seen { "true" } else { "false" });
        },
    );
    let field = |out: &mut String| xml::empty(out, "t:FieldURI", &[("FieldURI", "item:Categories")]);
    let mut list = String::new();
    write_categories(&mut list, flags, &mut BTreeSet::new());
    if list.is_empty() {
        delete(out, field);
    } else {
        set(out, field, |out| out.push_str(&list));
    }
    for (property, value) in later(flags) {
        match value {
            Some(value) => set(out, |out| property.uri(out), |out| property.write(out, value)),
            None => delete(out, |out| property.uri(out)),
        }
    }
    xml::close(out, "t:Updates");
}

fn set(out: &mut String, field: impl FnOnce(&mut String), value: impl FnOnce(&mut String)) {
    xml::open(out, "t:SetItemField");
    field(out);
    xml::open(out, "t:Message");
    value(out);
    xml::close(out, "t:Message");
    xml::close(out, "t:SetItemField");
}

fn delete(out: &mut String, field: impl FnOnce(&mut String)) {
    xml::open(out, "t:DeleteItemField");
    field(out);
    xml::close(out, "t:DeleteItemField");
}

/// What a server tells of the flags of a copy.
#[derive(Debug, Clone, Default)]
pub struct Told<'a> {
    /// `IsRead`
    pub read: bool,
    /// `IsDraft`
    pub draft: bool,
    /// 0x1090
    pub flag_status: Option<&'a str>,
    /// 0x1081
    pub verb: Option<&'a str>,
    /// `Categories`
    pub categories: Vec<&'a str>,
}

impl Told<'_> {
    /// The flags they stand for. What was written reads back the same, so that a three-way merge sees only what people
    /// changed.
    pub fn flags(&self) -> Flags {
        let mut flags = Flags {
            seen: self.read,
            draft: self.draft,
            flagged: self.flag_status == Some("2"),
            ..Flags::default()
        };
        for name in self.categories.iter().filter(|name| !name.is_empty()) {
            flags.keywords.insert((*name).to_owned());
        }
        match self.verb {
            Some("102" | "103") => flags.answered = true,
            Some("104") => {
                flags.keywords.insert("$Forwarded".to_owned());
            }
            _ => {}
        }
        flags
    }
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
    fn a_draft_is_the_only_message_with_the_unsent_bit() {
        for (list, bits) in
            [(&["\\Seen"][..], "1"), (&[], "0"), (&["\\Draft"], "8"), (&["\\Draft", "\\Seen"], "9")]
        {
            let mut out = String::new();
            write_props(&mut out, &flags(list), &mut BTreeSet::new());
            let mut first = String::new();
            props::MESSAGE_FLAGS.write(&mut first, bits);
            assert_eq!(out, first, "{list:?}");
        }
    }

    #[test]
    fn flags_read_back_as_they_were_written() {
        for list in [&["\\Seen", "\\Flagged", "b", "a"][..], &["\\Answered"], &["$Forwarded"], &[]] {
            let given = flags(list);
            let mut lost = BTreeSet::new();
            let told = Told {
                read: given.seen,
                draft: given.draft,
                flag_status: later(&given)[0].1,
                verb: later(&given)[2].1,
                categories: names(&given, &mut lost),
            };
            assert_eq!((told.flags(), lost.len()), (given, 0), "{list:?}");
        }
        let replied_to_all = Told { verb: Some("103"), ..Told::default() };
        assert!(replied_to_all.flags().answered);
    }

    #[test]
    fn what_is_not_set_is_removed_by_an_update() {
        let mut out = String::new();
        updates(&mut out, &flags(&[]));
        assert!(out.contains("<t:IsRead>false</t:IsRead>"));
        assert_eq!(out.matches("<t:DeleteItemField>").count(), 5, "{out}");
        let mut out = String::new();
        updates(&mut out, &flags(&["\\Seen", "\\Flagged", "\\Answered", "x<y"]));
        assert!(out.contains("<t:IsRead>true</t:IsRead>") && out.contains("<t:String>x&lt;y</t:String>"));
        assert!(!out.contains("DeleteItemField"), "{out}");
    }

    #[test]
    fn what_cannot_be_a_category_is_declared() {
        let mut lost = BTreeSet::new();
        let mut out = String::new();
        write_categories(&mut out, &flags(&["a,b", "ok", "\u{ffff}x"]), &mut lost);
        write_props(&mut out, &flags(&["\\Deleted"]), &mut lost);
        assert_eq!(out.matches("<t:String>").count(), 1);
        assert_eq!(lost, BTreeSet::from([losses::KEYWORD_DROPPED, losses::DELETED_FLAG]));
    }
}
