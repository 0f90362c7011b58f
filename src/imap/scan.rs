//! A cursor over one response's text, in which literals stand beside the place they were cut from.

use bytes::Bytes;

/// Deepest nesting of parentheses that is read.
const DEPTH: usize = 64;

/// One response as framed: its text without line ends and announcements, and its literals.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub text: Vec<u8>,
    pub literals: Vec<Literal>,
}

/// A literal and where in the text it stood.
#[derive(Debug, Clone)]
pub(super) struct Literal {
    pub at: usize,
    pub value: Value,
}

/// What became of a literal's octets.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Held.
    Octets(Bytes),
    /// A message's octets: given to the receiver.
    Streamed,
    /// Too long to hold: read past.
    Passed,
}

/// A value where a string may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Nil,
    Octets(Bytes),
    Streamed,
    Passed,
}

/// The text is not what the grammar wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

pub(super) type Scan<T> = Result<T, Unreadable>;

/// The cursor.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    literals: &'a [Literal],
}

impl<'a> Scanner<'a> {
    pub fn new(raw: &'a Raw) -> Scanner<'a> {
        Scanner { text: &raw.text, at: 0, literals: &raw.literals }
    }

    /// Over text without literals.
    pub fn over(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0, literals: &[] }
    }

    /// What is left of the text.
    pub fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        // A literal stands before the octet at its place.
        if self.literals.first().is_some_and(|l| l.at == self.at) {
            None
        } else {
            self.text.get(self.at).copied()
        }
    }

    /// Is everything read?
    pub fn at_end(&self) -> bool {
        self.at >= self.text.len() && self.literals.is_empty()
    }

    /// Passes any number of blanks; servers do send two.
    pub fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Passes `octet` if it is next.
    pub fn eat(&mut self, octet: u8) -> bool {
        let next = self.peek() == Some(octet);
        self.at += usize::from(next);
        next
    }

    /// Demands `octet`.
    pub fn expect(&mut self, octet: u8) -> Scan<()> {
        if self.eat(octet) { Ok(()) } else { Err(Unreadable) }
    }

    /// Octets up to a blank, a parenthesis or the end; brackets hold anything (`BODY[HEADER.FIELDS (A B)]`).
    pub fn word(&mut self) -> Scan<&'a [u8]> {
        let from = self.at;
        let mut brackets = false;
        while let Some(b) = self.peek() {
            match b {
                b'[' => brackets = true,
                b']' => brackets = false,
                b' ' | b'(' | b')' if !brackets => break,
                _ => {}
            }
            self.at += 1;
        }
        if self.at == from { Err(Unreadable) } else { Ok(&self.text[from..self.at]) }
    }

    /// A number of at most 64 bits.
    pub fn number(&mut self) -> Scan<u64> {
        let from = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        std::str::from_utf8(&self.text[from..self.at]).ok().and_then(|t| t.parse().ok()).ok_or(Unreadable)
    }

    /// A quoted string, a literal, NIL, or (leniently) an atom.
    pub fn string(&mut self) -> Scan<Text> {
        if let Some((first, others)) = self.literals.split_first()
            && first.at == self.at
        {
            self.literals = others;
            if !matches!(self.text.get(self.at), None | Some(b' ' | b')')) {
                return Err(Unreadable); // the literal was shorter than it should have been
            }
            return Ok(match &first.value {
                Value::Octets(octets) => Text::Octets(octets.clone()),
                Value::Streamed => Text::Streamed,
                Value::Passed => Text::Passed,
            });
        }
        if self.eat(b'"') {
            return self.quoted().map(Text::Octets);
        }
        let word = self.word()?;
        if word.eq_ignore_ascii_case(b"NIL") {
            return Ok(Text::Nil);
        }
        Ok(Text::Octets(Bytes::copy_from_slice(word)))
    }

    /// The rest of a quoted string, its opening quote passed.
    fn quoted(&mut self) -> Scan<Bytes> {
        let mut out = Vec::new();
        loop {
            let b = self.peek().ok_or(Unreadable)?;
            self.at += 1;
            match b {
                b'"' => return Ok(Bytes::from(out)),
                b'\\' => {
                    out.push(self.peek().ok_or(Unreadable)?);
                    self.at += 1;
                }
                _ => out.push(b),
            }
        }
    }

    /// A string that was sent as such and is held.
    pub fn octets(&mut self) -> Scan<Bytes> {
        match self.string()? {
            Text::Octets(octets) => Ok(octets),
            Text::Nil | Text::Streamed | Text::Passed => Err(Unreadable),
        }
    }

    /// A number of at most 32 bits.
    pub fn small(&mut self) -> Scan<u32> {
        u32::try_from(self.number()?).map_err(|_| Unreadable)
    }

    /// `(word)`
    pub fn one_in_parentheses(&mut self) -> Scan<&'a [u8]> {
        self.expect(b'(')?;
        self.blanks();
        let word = self.word()?;
        self.blanks();
        self.expect(b')')?;
        Ok(word)
    }

    /// `(id)`: an object's id (RFC 8474 §7). One that is not made of its letters is none.
    pub fn object_id(&mut self) -> Scan<Option<String>> {
        let id = self.one_in_parentheses()?;
        let fits = (1..=255).contains(&id.len())
            && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        Ok(fits.then(|| lossless(id)))
    }

    /// Passes one value of any shape. No recursion: nesting is foreign.
    pub fn skip_value(&mut self) -> Scan<()> {
        let mut depth = 0usize;
        loop {
            self.blanks();
            if self.eat(b'(') {
                depth += 1;
                if depth > DEPTH {
                    return Err(Unreadable);
                }
                continue;
            }
            if depth > 0 && self.eat(b')') {
                depth -= 1;
            } else {
                self.string()?;
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// `(word word …)` as text.
    pub fn words(&mut self) -> Scan<Vec<String>> {
        self.expect(b'(')?;
        let mut words = Vec::new();
        loop {
            self.blanks();
            if self.eat(b')') {
                return Ok(words);
            }
            let word = match self.peek() {
                Some(b'"') | None => match self.string()? {
                    Text::Octets(octets) => lossless(&octets),
                    Text::Nil | Text::Streamed | Text::Passed => return Err(Unreadable),
                },
                Some(_) => lossless(self.flag()?),
            };
            words.push(word);
        }
    }

    /// A flag: anything up to a blank or the closing parenthesis. Real keywords hold brackets and 8-bit octets.
    fn flag(&mut self) -> Scan<&'a [u8]> {
        let from = self.at;
        while self.peek().is_some_and(|b| !matches!(b, b' ' | b')')) {
            self.at += 1;
        }
        if self.at == from { Err(Unreadable) } else { Ok(&self.text[from..self.at]) }
    }
}

/// Octets as text: UTF-8 where they are that, else Latin-1. Two different words stay different.
pub(super) fn lossless(octets: &[u8]) -> String {
    std::str::from_utf8(octets)
        .map_or_else(|_| octets.iter().map(|b| char::from(*b)).collect(), str::to_owned)
}
