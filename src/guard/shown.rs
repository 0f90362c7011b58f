//! Foreign text, made safe to show on a terminal or in a log line.

use std::fmt::{self, Write};

/// Shows text so that it stays on its line and controls nothing: C0 and C1 controls, DEL, bidirectional controls,
/// zero-width and other invisible characters appear as `\u{…}`. After 200 characters it is cut with `…`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

const LONGEST: usize = 200;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, c) in self.0.chars().enumerate() {
            if n == LONGEST {
                return f.write_char('…');
            }
            if must_escape(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Does `text` hold anything that [`Shown`] would escape?
pub fn has_control(text: &str) -> bool {
    text.chars().any(must_escape)
}

/// Controls (Cc), the format characters (Cf) that are invisible or change the direction of text, line and paragraph
/// separators, variation selectors and tags.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_escape_sequence_is_shown_and_not_obeyed() {
        assert_eq!(Shown("\x1b]0;owned\x07").to_string(), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(Shown("a\u{202e}b\u{200b}c\u{9b}d").to_string(), "a\\u{202e}b\\u{200b}c\\u{9b}d");
        assert_eq!(Shown("Größe 受信箱 ящик").to_string(), "Größe 受信箱 ящик");
    }

    #[test]
    fn a_very_long_name_is_cut() {
        let shown = Shown(&"x".repeat(100_000)).to_string();
        assert_eq!(shown.chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn nothing_shown_needs_escaping(text: String) {
            prop_assert!(!has_control(&Shown(&text).to_string()));
        }
    }
}
