//! XML by hand, for request bodies: one growing buffer, no intermediate tree.
//!
//! Octets of messages travel as base64, which needs no escaping; everything else passes [`text`].

/// May XML 1.0 hold this character (§2.2)? It has no way to write the others.
pub fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Appends `text` so that it reads back the same as element content and as the value of an attribute. Characters that
/// XML 1.0 cannot hold are dropped.
pub fn text(out: &mut String, text: &str) {
    out.reserve(text.len() + text.len() / 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A parser turns these into other line ends, and into blanks in attributes (§2.11, §3.3.3).
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c if allowed(c) => out.push(c),
            _ => {}
        }
    }
}

/// Appends `<name>value</name>`.
pub fn element(out: &mut String, name: &str, value: &str) {
    open(out, name);
    text(out, value);
    close(out, name);
}

/// Appends `<name>`.
pub fn open(out: &mut String, name: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
}

/// Appends `</name>`.
pub fn close(out: &mut String, name: &str) {
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Appends `<name a="b" …/>`.
pub fn empty(out: &mut String, name: &str, attributes: &[(&str, &str)]) {
    out.push('<');
    out.push_str(name);
    for (key, value) in attributes {
        out.push(' ');
        out.push_str(key);
        out.push_str("=\"");
        text(out, value);
        out.push('"');
    }
    out.push_str("/>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_is_escaped_and_line_ends_survive() {
        let mut out = String::new();
        element(&mut out, "a", "<b> & \"c\" 'd'\r\n\t");
        assert_eq!(out, "<a>&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;&#13;&#10;&#9;</a>");
        let mut out = String::new();
        empty(&mut out, "a", &[("Id", "x\"/>")]);
        assert_eq!(out, "<a Id=\"x&quot;/&gt;\"/>");
    }

    #[test]
    fn what_xml_cannot_hold_is_dropped() {
        let mut out = String::new();
        text(&mut out, "a\0b\u{b}c\u{1b}d\u{fffe}e\u{ffff}f\u{1f4c1}");
        assert_eq!(out, "abcdef\u{1f4c1}");
    }

    proptest! {
        #[test]
        fn no_text_ends_its_element_or_its_attribute(foreign: String) {
            let mut out = String::new();
            text(&mut out, &foreign);
            prop_assert!(!out.contains(['<', '>', '"', '\'']) && out.chars().all(allowed));
        }
    }
}
