//! An answer's XML as a tree of elements, by a pull parser with limits.
//!
//! Elements are known by their local names: prefixes differ between servers, and no answer we read has two elements of
//! one name in two namespaces at one place. There is no document type and no entity but XML's own five; comments and
//! processing instructions are passed over. What is not well-formed is not read at all.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Deepest nesting; an answer of EWS has about 15 levels.
const MAX_DEPTH: usize = 48;
/// Most elements of one answer; a page of 250 messages has about 10,000.
const MAX_ELEMENTS: usize = 200_000;
/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 32;

/// A whole answer.
pub(super) struct Tree {
    nodes: Vec<Node>,
}

struct Node {
    name: Box<str>,
    attributes: Vec<(Box<str>, Box<str>)>,
    /// The text directly in it.
    text: String,
    first: Option<usize>,
    last: Option<usize>,
    next: Option<usize>,
}

impl Tree {
    /// Reads an answer; `None` if it is not well-formed UTF-8 XML with one root, or is larger than the limits.
    pub(super) fn parse(octets: &[u8]) -> Option<Tree> {
        let text = std::str::from_utf8(octets).ok()?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut tree = Tree { nodes: Vec::new() };
        let mut open: Vec<usize> = Vec::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if open.len() == MAX_DEPTH {
                        return None;
                    }
                    let at = tree.add(&start, open.last().copied())?;
                    open.push(at);
                }
                Event::Empty(start) => {
                    tree.add(&start, open.last().copied())?;
                }
                Event::End(_) => {
                    open.pop()?;
                }
                Event::Text(text) => tree.push(&open, &text)?,
                Event::CData(text) => tree.push(&open, &text)?,
                Event::GeneralRef(name) => {
                    let mut octets = [0; 4];
                    let c = reference(&name)?.encode_utf8(&mut octets);
                    tree.push(&open, c)?;
                }
                Event::DocType(_) => return None,
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
                Event::Eof => break,
            }
        }
        (open.is_empty() && !tree.nodes.is_empty()).then_some(tree)
    }

    fn add(&mut self, start: &BytesStart<'_>, parent: Option<usize>) -> Option<usize> {
        let at = self.nodes.len();
        // A second root, or too many.
        if (parent.is_none() && at > 0) || at == MAX_ELEMENTS {
            return None;
        }
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.ok()?;
            if attributes.len() == MAX_ATTRIBUTES {
                return None;
            }
            let key = attribute.key.local_name();
            attributes.push((key.as_ref().into(), unescaped(&attribute.value)?.into()));
        }
        let name = start.local_name().as_ref().into();
        self.nodes.push(Node { name, attributes, text: String::new(), first: None, last: None, next: None });
        if let Some(parent) = parent {
            match self.nodes[parent].last {
                Some(before) => self.nodes[before].next = Some(at),
                None => self.nodes[parent].first = Some(at),
            }
            self.nodes[parent].last = Some(at);
        }
        Some(at)
    }

    /// Adds text to the innermost open element; outside of the root there may be blanks only.
    fn push(&mut self, open: &[usize], text: &str) -> Option<()> {
        match open.last() {
            Some(at) => self.nodes[*at].text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return None,
        }
        Some(())
    }

    /// The outermost element.
    pub(super) fn root(&self) -> Element<'_> {
        Element { tree: self, at: 0 }
    }
}

/// The text of an attribute.
fn unescaped(mut raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    while let Some((before, after)) = raw.split_once('&') {
        let (name, rest) = after.split_once(';')?;
        out.push_str(before);
        out.push(reference(name)?);
        raw = rest;
    }
    out.push_str(raw);
    Some(out)
}

/// What `&name;` stands for.
fn reference(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => name.strip_prefix('#')?,
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
}

/// One element of an answer.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    tree: &'a Tree,
    at: usize,
}

impl<'a> Element<'a> {
    fn node(self) -> &'a Node {
        &self.tree.nodes[self.at]
    }

    /// Its local name.
    pub(super) fn name(self) -> &'a str {
        &self.node().name
    }

    /// The text directly in it, without blanks around.
    pub(super) fn text(self) -> &'a str {
        self.node().text.trim()
    }

    /// The text directly in it, as it is: names may begin or end with a blank.
    pub(super) fn whole_text(self) -> &'a str {
        &self.node().text
    }

    /// An attribute by its local name.
    pub(super) fn attribute(self, name: &str) -> Option<&'a str> {
        self.node().attributes.iter().find(|(key, _)| **key == *name).map(|(_, value)| &**value)
    }

    /// The elements directly in it.
    pub(super) fn children(self) -> impl Iterator<Item = Element<'a>> {
        let tree = self.tree;
        std::iter::successors(self.node().first, move |at| tree.nodes[*at].next)
            .map(move |at| Element { tree, at })
    }

    /// The first element of this name directly in it.
    pub(super) fn child(self, name: &str) -> Option<Element<'a>> {
        self.children().find(|child| child.name() == name)
    }

    /// The first element at the end of this path.
    pub(super) fn path(self, names: &[&str]) -> Option<Element<'a>> {
        names.iter().try_fold(self, |at, name| at.child(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(xml: &str) -> bool {
        Tree::parse(xml.as_bytes()).is_none()
    }

    #[test]
    fn elements_are_found_by_their_local_names_whatever_the_prefix() {
        let xml = "\u{feff}<?xml version=\"1.0\"?><!-- x --><s:a xmlns:s='u'><t:b Id=\"1&amp;&#x41;\">x&lt;y<![CDATA[<z>]]></t:b>\
                   <b Id='2'/><c> \n d &#9731; </c></s:a>\n";
        let tree = Tree::parse(xml.as_bytes()).expect("well-formed");
        let a = tree.root();
        assert_eq!(a.name(), "a");
        let all: Vec<_> = a.children().map(|e| (e.name(), e.attribute("Id"), e.text())).collect();
        assert_eq!(all, [("b", Some("1&A"), "x<y<z>"), ("b", Some("2"), ""), ("c", None, "d ☃")]);
        assert_eq!(a.path(&["c"]).map(Element::text), Some("d ☃"));
        assert!(a.path(&["c", "d"]).is_none());
    }

    #[test]
    fn what_is_not_well_formed_or_holds_a_document_type_is_not_read() {
        for xml in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a/>x",
            "<a b='1' b='2'/>",
            "<a>&unknown;</a>",
            "<a b='&unknown;'/>",
            "<a b='&lt'/>",
            "<a>&#xD800;</a>",
            "<a>&#-1;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
            "<a><![CDATA[</a>",
            "<a b=1/>",
        ] {
            assert!(refused(xml), "{xml}");
        }
        assert!(Tree::parse(b"<a>\xff</a>").is_none());
    }

    #[test]
    fn nesting_elements_and_attributes_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(!refused(&nested(MAX_DEPTH)) && refused(&nested(MAX_DEPTH + 1)));
        assert!(refused(&nested(1_000_000)));
        let wide = |n: usize| format!("<a>{}</a>", "<b/>".repeat(n));
        assert!(!refused(&wide(MAX_ELEMENTS - 1)) && refused(&wide(MAX_ELEMENTS)));
        let many: String = (0..=MAX_ATTRIBUTES).map(|n| format!(" a{n}=''")).collect();
        assert!(refused(&format!("<a{many}/>")));
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(octets: Vec<u8>) {
            let _ = Tree::parse(&octets).map(|tree| tree.root().children().count());
        }

        #[test]
        fn xml_like_text_never_panics(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("<a>".to_owned()), Just("</a>".to_owned()), Just("<a b='&#".to_owned()), Just("'/>".to_owned()),
                    Just("&amp;".to_owned()), Just("&#x".to_owned()), Just("<![CDATA[".to_owned()), Just("]]>".to_owned()),
                    Just("<!--".to_owned()), Just("-->".to_owned()), Just("<?x".to_owned()), Just("<!DOCTYPE".to_owned()),
                    ".{0,10}"
                ],
                0..30
            )
        ) {
            let _ = Tree::parse(parts.concat().as_bytes()).map(|tree| tree.root().text().len());
        }

        #[test]
        fn what_is_written_reads_back(text in "[ -~é\r\n\t☃]{0,40}", value in "[ -~é\r\n\t☃]{0,40}") {
            let mut out = String::new();
            crate::transform::xml::empty(&mut out, "b", &[("c", &value)]);
            let mut whole = String::from("<a>");
            crate::transform::xml::text(&mut whole, &text);
            whole += &format!("{out}</a>");
            let tree = Tree::parse(whole.as_bytes()).expect("well-formed");
            prop_assert_eq!(tree.root().whole_text(), text);
            prop_assert_eq!(tree.root().child("b").and_then(|b| b.attribute("c")), Some(value.as_str()));
        }
    }
}
