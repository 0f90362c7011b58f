//! Folder names as Graph can hold them: mapped injectively, the same way each time.
//!
//! Graph documents no rules for folder names; Exchange refuses or rewrites some characters, and compares names of
//! siblings without regard to case. So what is doubtful is escaped:
//!
//! - control characters, `/`, `\` and blanks at either end become `%XX` of their UTF-8 octets;
//! - a `%` that stands before two hexadecimal digits becomes `%25`, so that an escape is never taken for a name;
//! - a name longer than 250 UTF-16 units, an empty one, and one that ends like the suffix below is cut to 230 and given
//!   the **suffix** `~` + eight hexadecimal digits of its BLAKE3;
//! - a name that differs only in case from a sibling that is there gets the suffix too ([`distinct`]).
//!
//! Two different names never map to one, short of two equal 32-bit digests among siblings.

/// Longest name that is kept as it is, in UTF-16 units.
const MAX_UNITS: usize = 250;
/// Where a longer one is cut.
const CUT_UNITS: usize = 230;

/// The display name for a source folder's name.
pub fn display_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let last = name.char_indices().next_back().map_or(0, |(at, _)| at);
    for (at, c) in name.char_indices() {
        let edge = (at == 0 || at == last) && c.is_whitespace();
        let escape = match c {
            '/' | '\\' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}' => true,
            '%' => name.as_bytes()[at + 1..].iter().take(2).filter(|b| b.is_ascii_hexdigit()).count() == 2,
            c => c.is_control() || edge,
        };
        if escape {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                out.push_str(&format!("%{octet:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    if out.is_empty() || out.encode_utf16().count() > MAX_UNITS || has_suffix(&out) {
        with_suffix(&out, name)
    } else {
        out
    }
}

/// The display name for a source folder whose [`display_name`] differs only in case from a sibling's.
pub fn distinct(name: &str) -> String {
    let plain = display_name(name);
    if has_suffix(&plain) { plain } else { with_suffix(&plain, name) }
}

/// Would the service take the two for the same name?
pub fn same(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

fn with_suffix(plain: &str, name: &str) -> String {
    let mut units = 0;
    let cut: String = plain
        .chars()
        .take_while(|c| {
            units += c.len_utf16();
            units <= CUT_UNITS
        })
        .collect();
    let stem = if cut.is_empty() { "(no name)" } else { cut.trim_end() };
    format!("{stem}~{}", &blake3::hash(name.as_bytes()).to_hex()[..8])
}

fn has_suffix(name: &str) -> bool {
    name.len() >= 9
        && name.is_char_boundary(name.len() - 9)
        && name[name.len() - 9..]
            .strip_prefix('~')
            .is_some_and(|hex| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_stay_as_they_are() {
        for name in ["Inbox", "Projekte 2026", "日本語", "100 %", "a.b", "..", "50%off", "Тест"] {
            assert_eq!(display_name(name), name);
        }
    }

    #[test]
    fn doubtful_names_are_escaped() {
        for (name, shown) in [
            ("a/b", "a%2Fb"),
            (" x ", "%20x%20"),
            ("\u{1b}[31m", "%1B[31m"),
            ("a\\b", "a%5Cb"),
            ("%2F", "%252F"),
            ("%%2f", "%%252f"),
            ("%", "%"),
        ] {
            assert_eq!(display_name(name), shown);
        }
        assert!(display_name("").starts_with("(no name)~"));
        assert!(display_name(&"x".repeat(400)).encode_utf16().count() <= MAX_UNITS);
        assert_ne!(display_name(&"x".repeat(400)), display_name(&"x".repeat(401)));
        let once = distinct("Foo");
        assert_ne!(display_name(&once), once, "a name that looks mapped is mapped again");
    }

    proptest! {
        #[test]
        fn two_names_never_become_one(a in "[%/\\\\ 2Ff~0a\t]{0,6}", b in "[%/\\\\ 2Ff~0a\t]{0,6}") {
            prop_assert_eq!(a == b, display_name(&a) == display_name(&b), "{:?} {:?}", a, b);
        }

        #[test]
        fn a_mapped_name_has_nothing_doubtful(name: String) {
            for shown in [display_name(&name), distinct(&name)] {
                prop_assert!(!shown.is_empty() && shown.encode_utf16().count() <= MAX_UNITS);
                prop_assert!(!shown.contains(['/', '\\']) && !shown.chars().any(char::is_control));
                prop_assert_eq!(shown.trim(), shown.as_str());
            }
        }
    }
}
