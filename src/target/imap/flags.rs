//! Flags as a folder keeps them.

use std::collections::BTreeMap;

use crate::imap::is_atom;
use crate::model::Flags;

/// What a folder keeps (PERMANENTFLAGS, RFC 3501 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Keywords that are not there yet can be made.
    any_keyword: bool,
    /// By their names in lower case.
    named: BTreeMap<String, String>,
    /// Nothing was told: all flags are kept.
    all: bool,
}

/// Flags for a command, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wire {
    /// As sent.
    pub flags: Vec<String>,
    /// A keyword is left out.
    pub keywords_lost: bool,
    /// A system flag is left out.
    pub flags_lost: bool,
}

impl Kept {
    /// From what SELECT told; `None`: it told nothing.
    pub fn of(permanent: Option<&[String]>) -> Kept {
        let told = permanent.unwrap_or_default();
        Kept {
            any_keyword: permanent.is_none() || told.iter().any(|f| f == "\\*"),
            named: told.iter().map(|f| (f.to_ascii_lowercase(), f.clone())).collect(),
            all: permanent.is_none(),
        }
    }

    /// Can new keywords be made?
    pub fn any_keyword(&self) -> bool {
        self.any_keyword
    }

    /// What of `flags` can be sent. `keywords`: they are wanted at all.
    pub fn wire(&self, flags: &Flags, keywords: bool) -> Wire {
        let mut wire = Wire::default();
        for (on, name) in system(flags) {
            if on && (self.all || self.named.contains_key(&name.to_ascii_lowercase())) {
                wire.flags.push(name.to_owned());
            } else if on {
                wire.flags_lost = true;
            }
        }
        for keyword in &flags.keywords {
            // The folder's own spelling: servers compare keywords without regard to case, and some clients do not.
            let known = self.named.get(&keyword.to_ascii_lowercase());
            match known {
                Some(known) if keywords => wire.flags.push(known.clone()),
                None if keywords && self.any_keyword && is_atom(keyword) => wire.flags.push(keyword.clone()),
                _ => wire.keywords_lost = true,
            }
        }
        wire
    }
}

/// The five system flags, and whether they are set.
pub(super) fn system(flags: &Flags) -> [(bool, &'static str); 5] {
    [
        (flags.seen, "\\Seen"),
        (flags.answered, "\\Answered"),
        (flags.flagged, "\\Flagged"),
        (flags.draft, "\\Draft"),
        (flags.deleted, "\\Deleted"),
    ]
}

/// Is this flag, as it is written on the wire, among them? Keywords are compared without regard to case.
pub(super) fn is_set(flag: &str, flags: &Flags) -> bool {
    system(flags).iter().any(|(on, name)| *on && name.eq_ignore_ascii_case(flag))
        || flags.keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flags: &[&str]) -> Kept {
        let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
        Kept::of(Some(&flags))
    }

    #[test]
    fn keywords_take_the_spelling_of_the_folder() {
        let kept = told(&["\\Seen", "$forwarded", "\\*"]);
        let wire = kept.wire(&Flags::decode("S $Forwarded $MDNSent"), true);
        assert_eq!(wire.flags, ["\\Seen", "$forwarded", "$MDNSent"]);
        assert!(!wire.keywords_lost && !wire.flags_lost);
    }

    #[test]
    fn what_the_folder_does_not_keep_is_left_out_and_told() {
        let kept = told(&["\\Seen", "work"]);
        let wire = kept.wire(&Flags::decode("FS work other"), true);
        assert_eq!(wire.flags, ["\\Seen", "work"]);
        assert!(wire.keywords_lost && wire.flags_lost);
        assert!(told(&["\\Seen", "\\*"]).wire(&Flags::decode("S a(b ü"), true).keywords_lost, "no atoms");
        assert!(told(&["\\Seen", "\\*"]).wire(&Flags::decode("S a"), false).keywords_lost);
    }

    #[test]
    fn a_folder_that_tells_nothing_keeps_everything() {
        let wire = Kept::of(None).wire(&Flags::decode("DT x"), true);
        assert_eq!(wire.flags, ["\\Draft", "\\Deleted", "x"]);
    }
}
