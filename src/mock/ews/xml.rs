//! XML in and out: a reader of the mock's own, so that no defect is shared with the clients it judges.
//!
//! Namespaces are resolved, entities are the five predefined ones and character references, document types and
//! processing instructions are refused, and everything is bounded before it is kept. Text is borrowed where nothing in
//! it has to be decoded: a message of many megabytes is not copied to be found.

use std::borrow::Cow;

/// Elements of one document.
const MAX_ELEMENTS: usize = 1 << 20;
/// Levels of elements.
const MAX_DEPTH: usize = 64;
/// Attributes of one element, declarations of namespaces included.
const MAX_ATTRIBUTES: usize = 64;
/// Octets of a name.
const MAX_NAME: usize = 256;

pub(super) const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub(super) const MESSAGES: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
pub(super) const TYPES: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
pub(super) const ERRORS: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// The namespaces the service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// SOAP 1.1.
    Soap,
    /// What is asked.
    Messages,
    /// What it is about.
    Types,
    /// Any other, or none.
    Other,
}

/// An element with what is in it.
#[derive(Debug, Clone)]
pub(super) struct Element<'a> {
    pub(super) space: Space,
    pub(super) name: &'a str,
    pub(super) attributes: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) children: Vec<Element<'a>>,
    /// The character data directly in it.
    pub(super) text: Cow<'a, str>,
    /// Where it begins, in octets.
    pub(super) at: usize,
}

impl<'a> Element<'a> {
    /// An attribute without a prefix.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_ref())
    }

    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|c| c.name == name)
    }

    /// Its text without blanks around it.
    pub(super) fn word(&self) -> &str {
        self.text.trim_matches([' ', '\t', '\r', '\n'])
    }
}

/// Names without their prefixes, and values.
type Attributes<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Why a document is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at octet {at}")]
pub(super) struct Malformed {
    what: &'static str,
    at: usize,
}

/// Reads a document's root element.
pub(super) fn read(text: &str) -> Result<Element<'_>, Malformed> {
    let mut reader = Reader { text, at: 0, elements: 0, spaces: Vec::new() };
    if text.starts_with('\u{feff}') {
        reader.at = 3;
    }
    if reader.rest().starts_with("<?xml") {
        let end = reader.find("?>", "an XML declaration without end")?;
        let declaration = reader.slice(reader.at, end);
        if let Some((_, encoding)) = declaration.split_once("encoding")
            && !encoding.to_ascii_lowercase().contains("utf-8")
        {
            return Err(reader.wrong("an encoding that is not UTF-8"));
        }
        reader.at = end + 2;
    }
    reader.skip_between()?;
    let root = reader.element(0)?;
    reader.skip_between()?;
    if reader.at < text.len() {
        return Err(reader.wrong("something after the document's end"));
    }
    Ok(root)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    elements: usize,
    /// Prefix → namespace, innermost last.
    spaces: Vec<(&'a str, Space)>,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or("")
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn find(&self, what: &str, or: &'static str) -> Result<usize, Malformed> {
        self.rest().find(what).map(|n| self.at + n).ok_or_else(|| self.wrong(or))
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Blanks and comments outside of the root element.
    fn skip_between(&mut self) -> Result<(), Malformed> {
        loop {
            self.blanks();
            if !self.rest().starts_with("<!--") {
                return Ok(());
            }
            self.comment()?;
        }
    }

    fn comment(&mut self) -> Result<(), Malformed> {
        self.at += 4;
        self.at = self.find("-->", "a comment without end")? + 3;
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        let from = self.at;
        while self
            .peek()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':') || b >= 0x80)
        {
            self.at += 1;
        }
        let name = self.slice(from, self.at);
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.wrong("a name that is none"));
        }
        Ok(name)
    }

    fn element(&mut self, depth: usize) -> Result<Element<'a>, Malformed> {
        if depth >= MAX_DEPTH {
            return Err(self.wrong("too many levels"));
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(self.wrong("too many elements"));
        }
        let begin = self.at;
        if self.peek() != Some(b'<') {
            return Err(self.wrong("no element where one is due"));
        }
        self.at += 1;
        let tag = self.name()?;
        let outer = self.spaces.len();
        let (attributes, empty) = self.attributes()?;
        let (space, name) = self.resolve(tag)?;
        let mut element =
            Element { space, name, attributes, children: Vec::new(), text: Cow::Borrowed(""), at: begin };
        if !empty {
            self.content(&mut element, tag, depth)?;
        }
        self.spaces.truncate(outer);
        Ok(element)
    }

    fn attributes(&mut self) -> Result<(Attributes<'a>, bool), Malformed> {
        let mut attributes: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let mut declared = 0;
        loop {
            let before = self.at;
            self.blanks();
            match self.peek() {
                Some(b'>') => {
                    self.at += 1;
                    return Ok((attributes, false));
                }
                Some(b'/') if self.rest().starts_with("/>") => {
                    self.at += 2;
                    return Ok((attributes, true));
                }
                _ if before == self.at => return Err(self.wrong("no blank before an attribute")),
                _ => {}
            }
            let name = self.name()?;
            self.blanks();
            if self.peek() != Some(b'=') {
                return Err(self.wrong("an attribute without a value"));
            }
            self.at += 1;
            self.blanks();
            let quote = match self.peek() {
                Some(b'"') => "\"",
                Some(b'\'') => "'",
                _ => return Err(self.wrong("an attribute's value without quotes")),
            };
            self.at += 1;
            let end = self.find(quote, "an attribute's value without end")?;
            let raw = self.slice(self.at, end);
            if raw.contains('<') {
                return Err(self.wrong("a < in an attribute's value"));
            }
            let value = self.decoded(raw)?;
            self.at = end + 1;
            declared += 1;
            if declared > MAX_ATTRIBUTES {
                return Err(self.wrong("too many attributes"));
            }
            if name == "xmlns" || name.starts_with("xmlns:") {
                let prefix = name.strip_prefix("xmlns:").unwrap_or("");
                self.spaces.push((prefix, space(&value)));
            } else if attributes.iter().any(|(n, _)| *n == name) {
                return Err(self.wrong("an attribute given twice"));
            } else {
                attributes.push((name, value));
            }
        }
    }

    fn resolve(&self, tag: &'a str) -> Result<(Space, &'a str), Malformed> {
        let (prefix, name) = tag.split_once(':').unwrap_or(("", tag));
        match self.spaces.iter().rev().find(|(p, _)| *p == prefix) {
            Some((_, space)) => Ok((*space, name)),
            None if prefix.is_empty() => Ok((Space::Other, name)),
            None => Err(self.wrong("a prefix that is not declared")),
        }
    }

    fn content(&mut self, element: &mut Element<'a>, tag: &str, depth: usize) -> Result<(), Malformed> {
        loop {
            let next = self.find("<", "an element without end")?;
            let raw = self.slice(self.at, next);
            if !raw.is_empty() {
                if raw.contains("]]>") {
                    return Err(self.wrong("a ]]> in text"));
                }
                let text = self.decoded(raw)?;
                append(&mut element.text, text);
            }
            self.at = next;
            let rest = self.rest();
            if rest.starts_with("</") {
                self.at += 2;
                let name = self.name()?;
                self.blanks();
                if name != tag || self.peek() != Some(b'>') {
                    return Err(self.wrong("an end that fits no begin"));
                }
                self.at += 1;
                return Ok(());
            } else if rest.starts_with("<!--") {
                self.comment()?;
            } else if rest.starts_with("<![CDATA[") {
                self.at += 9;
                let end = self.find("]]>", "a CDATA section without end")?;
                let text =
                    plain(self.slice(self.at, end)).ok_or_else(|| self.wrong("a forbidden character"))?;
                append(&mut element.text, text);
                self.at = end + 3;
            } else if rest.starts_with("<!") || rest.starts_with("<?") {
                return Err(self.wrong("a document type or an instruction"));
            } else {
                let child = self.element(depth + 1)?;
                element.children.push(child);
            }
        }
    }

    /// Text with its references replaced.
    fn decoded(&self, raw: &'a str) -> Result<Cow<'a, str>, Malformed> {
        let text = plain(raw).ok_or_else(|| self.wrong("a forbidden character"))?;
        if !text.contains('&') {
            return Ok(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_ref();
        while let Some(at) = rest.find('&') {
            out.push_str(&rest[..at]);
            let (name, after) = rest[at + 1..]
                .split_once(';')
                .filter(|(name, _)| name.len() <= 10)
                .ok_or_else(|| self.wrong("an & that begins nothing"))?;
            out.push(reference(name).ok_or_else(|| self.wrong("an unknown or forbidden reference"))?);
            rest = after;
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }
}

fn append<'a>(text: &mut Cow<'a, str>, more: Cow<'a, str>) {
    if text.is_empty() {
        *text = more;
    } else {
        text.to_mut().push_str(&more);
    }
}

/// Text with line ends as XML has them; `None` if it holds a character that XML forbids.
fn plain(raw: &str) -> Option<Cow<'_, str>> {
    let octets = raw.as_bytes();
    if octets.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n'))
        || raw.contains(['\u{fffe}', '\u{ffff}'])
    {
        return None;
    }
    if octets.contains(&b'\r') {
        return Some(Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n")));
    }
    Some(Cow::Borrowed(raw))
}

fn reference(name: &str) -> Option<char> {
    match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let digits = name.strip_prefix('#')?;
    let number = match digits.strip_prefix('x') {
        Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok()?,
        None if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    char::from_u32(number).filter(|c| allowed(*c))
}

/// May it stand in an XML 1.0 document?
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || (c >= ' ' && !matches!(c, '\u{fffe}' | '\u{ffff}'))
}

fn space(uri: &str) -> Space {
    match uri {
        SOAP => Space::Soap,
        MESSAGES => Space::Messages,
        TYPES => Space::Types,
        _ => Space::Other,
    }
}

/// Text as it may stand in an answer; what XML forbids becomes `?`.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| matches!(c, '&' | '<' | '>' | '"' | '\r') || !allowed(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            c if allowed(c) => out.push(c),
            _ => out.push('?'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_references_and_sections_are_understood() {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- x --><s:Envelope xmlns:s=\"{SOAP}\"><Body xmlns='{TYPES}'>\
             a&lt;b&#x20;&#99;<![CDATA[<&]]></Body><m:x xmlns:m=\"{MESSAGES}\" Id=\"1&amp;2\"/></s:Envelope>"
        );
        let root = read(&text).unwrap();
        assert_eq!((root.space, root.name), (Space::Soap, "Envelope"));
        assert_eq!((root.children[0].space, root.children[0].text.as_ref()), (Space::Types, "a<b c<&"));
        assert_eq!(
            (root.children[1].space, root.children[1].attribute("Id")),
            (Space::Messages, Some("1&2"))
        );
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<a><b></a></b>",
            "<a/><b/>",
            "<!DOCTYPE a><a/>",
            "<a><!ENTITY x \"y\"></a>",
            "<a>&x;</a>",
            "<a>&#1;</a>",
            "<a>\u{1}</a>",
            "<a b=\"1\" b=\"2\"/>",
            "<a b=1/>",
            "<p:a/>",
            "<?xml version=\"1.0\" encoding=\"utf-16\"?><a/>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        assert!(read(&deep).is_err());
    }

    #[test]
    fn long_text_is_borrowed() {
        let text = format!("<a>{}</a>", "QUJD".repeat(100));
        assert!(matches!(read(&text).unwrap().text, Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = "a<b>&\"c\"\r\n\u{1}ü";
        let document = format!("<a b=\"{0}\">{0}</a>", escaped(text));
        let root = read(&document).unwrap();
        assert_eq!(root.text, "a<b>&\"c\"\r\n?ü");
    }
}
