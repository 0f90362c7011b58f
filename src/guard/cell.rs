//! CSV cells that a spreadsheet does not take for formulas.

use std::borrow::Cow;

/// A cell that is text in every spreadsheet: one that begins with `=`, `+`, `-`, `@`, a tab, a carriage return or a
/// NUL gets an apostrophe in front (OWASP, "CSV injection"). Quoting is the CSV writer's job. Cells of our own
/// numbers do not pass here: `-1` would become text.
pub fn cell(text: &str) -> Cow<'_, str> {
    let risky =
        |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\0' | '＝' | '＋' | '－' | '＠');
    if text.trim_start_matches(' ').starts_with(risky) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_becomes_text_and_text_stays_itself() {
        for formula in ["=HYPERLINK(\"x\")", "+1", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "\0=1", "  =1", "＝1"]
        {
            assert_eq!(cell(formula), format!("'{formula}"));
        }
        for text in ["", "plain", "a=b", "x@example.org", "'quoted", "größer"] {
            assert_eq!(cell(text), text);
        }
    }
}
