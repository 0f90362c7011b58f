//! The lexical part of the grammar: words, strings, literals, lists (RFC 3501 §9).

use super::options::ImapOptions;
use super::set::SequenceSet;
use super::wire::Part;

/// What is wrong with a command, for the text of BAD.
pub(super) type Parsed<T> = Result<T, &'static str>;

/// So many members may a list have.
pub(super) const LONGEST_LIST: usize = 10_000;

/// A place in a command.
pub(super) struct Cursor<'a> {
    pub parts: &'a [Part],
    pub part: usize,
    pub at: usize,
    pub utf8: bool,
    pub options: &'a ImapOptions,
}

pub(super) fn is_atom(b: u8) -> bool {
    (0x21..0x7f).contains(&b) && !b"(){%*\"\\]".contains(&b)
}

pub(super) fn is_astring(b: u8) -> bool {
    is_atom(b) || b == b']'
}

pub(super) fn is_tag(b: u8) -> bool {
    is_astring(b) && b != b'+'
}

pub(super) fn is_pattern(b: u8) -> bool {
    is_astring(b) || b == b'%' || b == b'*'
}

pub(super) fn is_set(b: u8) -> bool {
    b.is_ascii_digit() || b",:*".contains(&b)
}

impl Cursor<'_> {
    pub fn text(&self) -> &[u8] {
        match self.parts.get(self.part) {
            Some(Part::Text(text)) => text.get(self.at..).unwrap_or_default(),
            _ => &[],
        }
    }

    pub fn peek(&self) -> Option<u8> {
        self.text().first().copied()
    }

    pub fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    pub fn need(&mut self, wanted: u8) -> Parsed<()> {
        self.eat(wanted).then_some(()).ok_or("unexpected character or end of line")
    }

    pub fn space(&mut self) -> Parsed<()> {
        self.need(b' ')
    }

    pub fn word(&mut self, allowed: fn(u8) -> bool) -> Parsed<String> {
        let text = self.text();
        let length = text.iter().position(|&b| !allowed(b)).unwrap_or(text.len());
        let word = String::from_utf8_lossy(&text[..length]).into_owned();
        self.at += length;
        if word.is_empty() { Err("a word is missing") } else { Ok(word) }
    }

    /// The next word if it is this one.
    pub fn keyword(&mut self, wanted: &str) -> bool {
        let text = self.text();
        let found = text.get(..wanted.len()).is_some_and(|t| t.eq_ignore_ascii_case(wanted.as_bytes()))
            && !text.get(wanted.len()).is_some_and(|&b| is_atom(b));
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    pub fn literal(&mut self) -> Option<bytes::Bytes> {
        if !self.text().is_empty() {
            return None;
        }
        let Some(Part::Literal(octets)) = self.parts.get(self.part + 1) else { return None };
        let octets = octets.clone();
        self.part += 2;
        self.at = 0;
        Some(octets)
    }

    pub fn quoted(&mut self) -> Parsed<Vec<u8>> {
        self.need(b'"')?;
        let mut value = Vec::new();
        loop {
            let b = self.peek().ok_or("a quoted string does not end")?;
            self.at += 1;
            match b {
                b'"' => return Ok(value),
                b'\\' => {
                    let escaped = self.peek().filter(|b| b"\"\\".contains(b));
                    value.push(escaped.ok_or("only \" and \\ may be escaped")?);
                    self.at += 1;
                }
                0x80.. if !self.utf8 => return Err("8-bit octets in a quoted string"),
                b => value.push(b),
            }
        }
    }

    pub fn string(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.literal().map(|l| l.to_vec()).ok_or("a string is missing"),
        }
    }

    pub fn astring(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b) if is_astring(b) => self.word(is_astring).map(String::into_bytes),
            _ => self.string(),
        }
    }

    pub fn list_pattern(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b) if is_pattern(b) => self.word(is_pattern).map(String::into_bytes),
            _ => self.string(),
        }
    }

    pub fn number(&mut self) -> Parsed<u64> {
        let text = self.word(|b| b.is_ascii_digit())?;
        text.parse::<u64>().ok().filter(|&n| n < 1 << 63).ok_or("a number is too large")
    }

    pub fn set(&mut self) -> Parsed<SequenceSet> {
        let text = self.word(is_set)?;
        SequenceSet::parse(text.as_bytes()).ok_or("not a sequence set")
    }

    pub fn list<T>(&mut self, mut member: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.need(b'(')?;
        let mut members = Vec::new();
        if self.eat(b')') {
            return Ok(members);
        }
        loop {
            members.push(member(self)?);
            if self.eat(b')') {
                return Ok(members);
            }
            if members.len() >= LONGEST_LIST {
                return Err("a list is too long");
            }
            self.space()?;
        }
    }

    pub fn flag(&mut self) -> Parsed<String> {
        if !self.eat(b'\\') {
            return self.word(is_atom);
        }
        let name = self.word(is_atom)?;
        let known = ["Seen", "Answered", "Flagged", "Deleted", "Draft"];
        known.iter().find(|k| k.eq_ignore_ascii_case(&name)).map(|k| format!("\\{k}")).ok_or("no such flag")
    }

    pub fn offers(&self, capability: &str) -> bool {
        self.options.offers(capability)
    }

    pub fn condstore(&self) -> bool {
        self.offers("CONDSTORE") || self.offers("QRESYNC")
    }
}
