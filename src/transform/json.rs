//! JSON by hand, for bodies: one growing buffer, no intermediate tree.
//!
//! A general serialiser copies and re-scans each base64 attachment several times; at bulk speed that alone costs more
//! than TLS. Answers of servers are small and read with `serde_json`; only what carries octets is written here.

/// Appends `text` as a JSON string with its quotes. NUL becomes U+FFFD: mail stores end strings at a NUL, so it would
/// silently cut the text.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// How many bytes [`string`] appends for `text`, quotes included.
pub fn string_len(text: &str) -> usize {
    // No branch inside, and sums that fit a byte: the compiler makes a few vector instructions of it.
    let chunks = text.as_bytes().chunks(32);
    2 + chunks.map(|c| usize::from(c.iter().map(|b| escaped_len(*b)).sum::<u8>())).sum::<usize>()
}

/// Is the escaped form of `text`, quotes not counted, longer than `max` bytes?
pub fn exceeds(text: &str, max: usize) -> bool {
    text.len() > max / 6 && string_len(text) - 2 > max
}

/// The longest beginning of `text` whose escaped form has at most `max` bytes (quotes not counted), cut at a
/// character.
pub fn fitting(text: &str, max: usize) -> &str {
    if !exceeds(text, max) {
        return text;
    }
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += if c.is_ascii() { usize::from(escaped_len(c as u8)) } else { c.len_utf8() };
        if used > max {
            return &text[..at];
        }
    }
    text
}

fn escaped_len(b: u8) -> u8 {
    let short = (b == b'"') | (b == b'\\') | (b == b'\n') | (b == b'\r') | (b == b'\t');
    let long = !short & ((b < 0x20) | (b == 0x7f));
    1 + u8::from(short) + 5 * u8::from(long)
}

/// How many octets from the beginning stand for themselves.
fn clean(octets: &[u8]) -> usize {
    let mut at = 0;
    for chunk in octets.chunks_exact(32) {
        let special = chunk
            .iter()
            .map(|&b| u8::from((b < 0x20) | (b == b'"') | (b == b'\\') | (b == 0x7f)))
            .fold(0, |any, one| any | one);
        if special != 0 {
            break;
        }
        at += 32;
    }
    octets[at..].iter().position(|b| escaped_len(*b) > 1).map_or(octets.len(), |n| at + n)
}

fn escape(out: &mut String, text: &str) {
    out.reserve(text.len() + text.len() / 16);
    let mut rest = text;
    loop {
        // Only ASCII bytes need escaping, so every cut is at a character boundary.
        let (run, special) = rest.split_at(clean(rest.as_bytes()));
        out.push_str(run);
        let Some(&b) = special.as_bytes().first() else { return };
        let mut taken = 1;
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' if special.as_bytes().get(1) == Some(&b'\n') => {
                out.push_str("\\r\\n");
                taken = 2;
            }
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0 => out.push_str("\\ufffd"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(b >> 4)]));
                out.push(char::from(HEX[usize::from(b & 15)]));
            }
        }
        rest = &special[taken..];
    }
}

/// An object being written.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn begin(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object { out, empty: true }
    }

    /// Appends a key and gives the buffer, for a value that is written by the caller.
    pub fn key(&mut self, name: &str) -> &mut String {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(',');
        }
        string(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A string member.
    pub fn text(&mut self, name: &str, value: &str) {
        string(self.key(name), value);
    }

    /// A boolean member.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.key(name).push_str(if value { "true" } else { "false" });
    }

    /// A whole number member.
    pub fn number(&mut self, name: &str, value: u64) {
        let text = value.to_string();
        self.key(name).push_str(&text);
    }

    /// Bytes written so far, of the whole buffer.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push('}');
    }
}

/// An array being written.
#[derive(Debug)]
pub struct Array<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Array<'a> {
    /// Opens an array at the end of `out`.
    pub fn begin(out: &'a mut String) -> Array<'a> {
        out.push('[');
        Array { out, empty: true }
    }

    /// Gives the buffer for the next element.
    pub fn item(&mut self) -> &mut String {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(',');
        }
        self.out
    }

    /// [`Array::item`] if `go` says so of what is written so far; else nothing is changed.
    pub fn item_if(&mut self, go: impl FnOnce(&str) -> bool) -> Option<&mut String> {
        if go(self.out) { Some(self.item()) } else { None }
    }

    /// Bytes written so far, of the whole buffer.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_string_reads_back_and_its_length_is_foretold(text: String, max in 0usize..64) {
            let mut out = String::new();
            string(&mut out, &text);
            prop_assert_eq!(out.len(), string_len(&text));
            let back: String = serde_json::from_str(&out).expect("valid JSON");
            prop_assert_eq!(back, text.replace('\0', "\u{fffd}"));
            let cut = fitting(&text, max);
            prop_assert!(text.starts_with(cut) && string_len(cut) - 2 <= max);
            let next = text[cut.len()..].chars().next();
            prop_assert!(next.is_none_or(|c| string_len(&format!("{cut}{c}")) - 2 > max), "the longest one");
        }
    }

    #[test]
    fn members_and_elements_are_separated_by_commas() {
        let mut out = String::new();
        let mut o = Object::begin(&mut out);
        o.text("a", "x");
        o.flag("b", true);
        o.number("c", 7);
        let mut list = Array::begin(o.key("d"));
        string(list.item(), "1");
        string(list.item(), "2");
        list.end();
        o.end();
        assert_eq!(out, r#"{"a":"x","b":true,"c":7,"d":["1","2"]}"#);
    }
}
