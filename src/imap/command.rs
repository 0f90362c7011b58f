//! The only writer: commands are built from typed parts, so no string can become syntax (RFC 3501 §9).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use encodify::base64;
use zeroize::Zeroizing;

use super::{UidSet, WireError};
use crate::model::{Body, Timestamp};

/// Longest string sent in quotes, in bytes; longer ones go as literals.
const QUOTED_MAX: usize = 512;

/// Largest literal LITERAL- sends without asking, in bytes (RFC 7888 §5).
const MINUS_MAX: u64 = 4096;

/// One command. Its octets are wiped after use: they may hold a password.
pub struct Command {
    parts: Vec<Part>,
    unsendable: bool,
    /// No literal goes without being asked for.
    asks_first: bool,
    begun: Begun,
}

/// Tells, also after the command failed, whether octets of a message of it may have left.
#[derive(Debug, Clone, Default)]
pub struct Begun(Arc<AtomicBool>);

impl Begun {
    /// May octets of a message have left? If not, no server can have stored one.
    pub fn has(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn begins(&self) {
        self.0.store(true, Ordering::Release);
    }
}

enum Part {
    Text(Zeroizing<Vec<u8>>),
    Literal(Zeroizing<Vec<u8>>),
    /// A message.
    Body(Body, Form),
    /// An answer to a continuation request; not needed if the server finishes without asking.
    Answer(Zeroizing<Vec<u8>>),
}

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As a literal.
    Plain,
    /// As a literal8 (RFC 3516), which may hold NUL.
    Binary,
    /// As UTF8 data (RFC 6855 §4), whose header may hold UTF-8.
    Utf8,
}

/// Which literals the server takes without being asked first (RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Literals {
    /// None.
    Synchronising,
    /// Those of up to 4,096 bytes (LITERAL-).
    Minus,
    /// All (LITERAL+).
    Plus,
}

impl Literals {
    fn ask_first(self, len: u64) -> bool {
        match self {
            Literals::Synchronising => true,
            Literals::Minus => len > MINUS_MAX,
            Literals::Plus => false,
        }
    }
}

/// A piece of a command as sent. All but the first wait for the server's `+`.
pub(super) struct Piece {
    pub chunks: Vec<Chunk>,
    /// The command is not complete without it.
    pub required: bool,
}

/// Octets of a piece.
pub(super) enum Chunk {
    Octets(Zeroizing<Vec<u8>>),
    Body(Body, Begun),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

impl Command {
    /// Begins a command with its verb (`LIST`, `UID FETCH` …).
    pub fn new(verb: &'static str) -> Command {
        Command {
            parts: vec![Part::Text(Zeroizing::new(verb.as_bytes().to_vec()))],
            unsendable: false,
            asks_first: false,
            begun: Begun::default(),
        }
    }

    /// Asks before each literal, whatever the server offers: some offer LITERAL+ and do not take it.
    #[must_use]
    pub fn asking_first(mut self) -> Command {
        self.asks_first = true;
        self
    }

    /// Adds fixed syntax of ours, after a blank.
    #[must_use]
    pub fn fixed(self, text: &'static str) -> Command {
        self.text(text.as_bytes())
    }

    /// Adds a set of UIDs.
    #[must_use]
    pub fn set(self, set: &UidSet) -> Command {
        self.text(set.to_string().as_bytes())
    }

    /// Adds a number.
    #[must_use]
    pub fn number(self, number: u64) -> Command {
        self.text(number.to_string().as_bytes())
    }

    /// Adds flags in parentheses. A flag that is no atom (RFC 3501 §9) cannot be sent; such a command is refused when
    /// it is run.
    #[must_use]
    pub fn flags<'a>(self, flags: impl IntoIterator<Item = &'a str>) -> Command {
        self.listed(flags, |flag| is_atom(flag.strip_prefix('\\').unwrap_or(flag)))
    }

    /// Adds atoms in parentheses; what is no atom is refused as with [`Command::flags`].
    #[must_use]
    pub fn atom_list<'a>(self, atoms: impl IntoIterator<Item = &'a str>) -> Command {
        self.listed(atoms, is_atom)
    }

    /// Adds one atom; what is no atom is refused as with [`Command::flags`].
    #[must_use]
    pub fn atom(mut self, atom: &str) -> Command {
        self.unsendable |= !is_atom(atom);
        self.text(atom.as_bytes())
    }

    fn listed<'a>(mut self, words: impl IntoIterator<Item = &'a str>, fits: fn(&str) -> bool) -> Command {
        let mut list = String::from("(");
        for word in words {
            self.unsendable |= !fits(word);
            if list.len() > 1 {
                list.push(' ');
            }
            list.push_str(word);
        }
        list.push(')');
        self.text(list.as_bytes())
    }

    /// Adds a date and time with its zone (INTERNALDATE). Only years 0 to 9999 can be sent.
    #[must_use]
    pub fn date_time(mut self, date: Timestamp) -> Command {
        self.unsendable |= !(0..=9999).contains(&date.civil().0);
        self.text(format!("\"{}\"", date.to_imap()).as_bytes())
    }

    /// Adds a message as a literal. Its octets are not copied: they go out from where they lie, in memory or in the
    /// spool, and can be sent again with another command.
    #[must_use]
    pub fn body(mut self, body: &Body) -> Command {
        self.parts.push(Part::Body(body.clone(), Form::Plain));
        self
    }

    /// Adds a message as a literal8 (RFC 3516): only this form may hold NUL, and only a server with BINARY takes it.
    #[must_use]
    pub fn binary_body(mut self, body: &Body) -> Command {
        self.parts.push(Part::Body(body.clone(), Form::Binary));
        self
    }

    /// Adds a message as UTF8 data (RFC 6855 §4): the form for UTF-8 in a header, once UTF8=ACCEPT was enabled.
    #[must_use]
    pub fn utf8_body(mut self, body: &Body) -> Command {
        self.parts.push(Part::Body(body.clone(), Form::Utf8));
        self
    }

    /// Tells later whether octets of its messages may have left.
    pub fn begun(&self) -> Begun {
        self.begun.clone()
    }

    /// Closes a parenthesis opened in fixed syntax.
    pub(super) fn closing(mut self) -> Command {
        if let Some(Part::Text(last)) = self.parts.last_mut() {
            last.push(b')');
        }
        self
    }

    /// Adds syntax made by this module, after a blank. No foreign string may be in it.
    pub(super) fn syntax(self, text: &str) -> Command {
        self.text(text.as_bytes())
    }

    /// Adds any string: quoted if it is short printable ASCII, else a literal. A NUL can be sent in neither; such a
    /// command is refused when it is run.
    #[must_use]
    pub fn string(mut self, octets: &[u8]) -> Command {
        self.unsendable |= octets.contains(&0);
        if octets.len() <= QUOTED_MAX && octets.iter().all(|b| matches!(b, b' '..=b'~')) {
            let mut quoted = Zeroizing::new(Vec::with_capacity(octets.len() * 2 + 2));
            quoted.push(b'"');
            for b in octets {
                if matches!(b, b'"' | b'\\') {
                    quoted.push(b'\\');
                }
                quoted.push(*b);
            }
            quoted.push(b'"');
            return self.text(&quoted);
        }
        self.parts.push(Part::Literal(Zeroizing::new(octets.to_vec())));
        self
    }

    /// Adds octets in base64, after a blank (an initial response, RFC 4959); `=` for none.
    #[must_use]
    pub fn base64(self, octets: &[u8]) -> Command {
        if octets.is_empty() {
            return self.text(b"=");
        }
        let text = Zeroizing::new(base64::STANDARD.encode(octets));
        self.text(text.as_bytes())
    }

    /// Adds the base64 of `octets` as the answer to the server's next `+`.
    #[must_use]
    pub fn answer(mut self, octets: &[u8]) -> Command {
        let mut text = Zeroizing::new(base64::STANDARD.encode(octets).into_bytes());
        text.extend_from_slice(b"\r\n");
        self.parts.push(Part::Answer(text));
        self
    }

    fn text(mut self, text: &[u8]) -> Command {
        if let Some(Part::Text(last)) = self.parts.last_mut() {
            last.push(b' ');
            last.extend_from_slice(text);
        } else {
            let mut part = Zeroizing::new(vec![b' ']);
            part.extend_from_slice(text);
            self.parts.push(Part::Text(part));
        }
        self
    }

    /// The octets under a tag, cut where the server must be waited for.
    pub(super) fn encode(self, tag: &str, literals: Literals) -> Result<Vec<Piece>, WireError> {
        if self.unsendable {
            return Err(WireError::Unsendable);
        }
        let literals = if self.asks_first { Literals::Synchronising } else { literals };
        let mut pieces = Pieces::default();
        pieces.octets.extend_from_slice(format!("{tag} ").as_bytes());
        let mut answers = Vec::new();
        for part in self.parts {
            match part {
                Part::Text(text) => pieces.octets.extend_from_slice(&text),
                Part::Literal(literal) => {
                    pieces.announce(literal.len() as u64, "", literals);
                    pieces.octets.extend_from_slice(&literal);
                }
                Part::Body(body, form) => {
                    let lead = match form {
                        Form::Plain => "",
                        Form::Binary => "~",
                        Form::Utf8 => "UTF8 (~",
                    };
                    pieces.announce(body.len(), lead, literals);
                    pieces.end_chunk();
                    pieces.chunks.push(Chunk::Body(body, self.begun.clone()));
                    if form == Form::Utf8 {
                        pieces.octets.push(b')');
                    }
                }
                Part::Answer(answer) => {
                    answers.push(Piece { chunks: vec![Chunk::Octets(answer)], required: false });
                }
            }
        }
        pieces.octets.extend_from_slice(b"\r\n");
        pieces.end_piece();
        let mut pieces = pieces.done;
        pieces.extend(answers);
        Ok(pieces)
    }
}

/// A command on its way into pieces.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    chunks: Vec<Chunk>,
    octets: Zeroizing<Vec<u8>>,
}

impl Pieces {
    fn announce(&mut self, len: u64, form: &str, literals: Literals) {
        let ask = literals.ask_first(len);
        let plus = if ask { "" } else { "+" };
        self.octets.extend_from_slice(format!(" {form}{{{len}{plus}}}\r\n").as_bytes());
        if ask {
            self.end_piece();
        }
    }

    fn end_chunk(&mut self) {
        let octets = std::mem::replace(&mut self.octets, Zeroizing::new(Vec::new()));
        if !octets.is_empty() {
            self.chunks.push(Chunk::Octets(octets));
        }
    }

    fn end_piece(&mut self) {
        self.end_chunk();
        self.done.push(Piece { chunks: std::mem::take(&mut self.chunks), required: true });
    }
}

/// Can it be sent as it is (RFC 3501 §9, `atom`)?
pub fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
        })
}

#[cfg(test)]
mod tests;
