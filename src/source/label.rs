//! Labels that become keywords.

use crate::model::Flags;

/// Adds a label as a keyword: an IMAP keyword holds no blanks and no list characters (RFC 3501 §9, `atom`).
pub(super) fn keyword(label: &str, flags: &mut Flags) {
    let fits = |c: char| !c.is_control() && !c.is_whitespace() && !r#"(){%*"\]"#.contains(c);
    let keyword: String = label.chars().take(100).map(|c| if fits(c) { c } else { '_' }).collect();
    if !keyword.is_empty() {
        flags.add(&keyword);
    }
}
