//! The only writer: commands are built from typed parts, so no string can become syntax (RFC 3501 §9).

use std::fmt;

use encodify::base64;
use zeroize::Zeroizing;

use super::WireError;

/// Longest string sent in quotes, in bytes; longer ones go as literals.
const QUOTED_MAX: usize = 512;

/// One command. Its octets are wiped after use: they may hold a password.
pub struct Command {
    parts: Vec<Part>,
    unsendable: bool,
}

enum Part {
    Text(Zeroizing<Vec<u8>>),
    Literal(Zeroizing<Vec<u8>>),
    /// An answer to a continuation request; not needed if the server finishes without asking.
    Answer(Zeroizing<Vec<u8>>),
}

/// A piece of a command as sent. All but the first wait for the server's `+`.
pub(super) struct Piece {
    pub octets: Zeroizing<Vec<u8>>,
    /// The command is not complete without it.
    pub required: bool,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

impl Command {
    /// Begins a command with its verb (`LIST`, `UID FETCH` …).
    pub fn new(verb: &'static str) -> Command {
        Command { parts: vec![Part::Text(Zeroizing::new(verb.as_bytes().to_vec()))], unsendable: false }
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

    /// The octets under a tag, cut where the server must be waited for. `non_sync`: the server takes literals without
    /// being asked first (LITERAL+, RFC 7888).
    pub(super) fn encode(self, tag: &str, non_sync: bool) -> Result<Vec<Piece>, WireError> {
        if self.unsendable {
            return Err(WireError::Unsendable);
        }
        let mut pieces = Vec::new();
        let mut octets = Zeroizing::new(format!("{tag} ").into_bytes());
        let mut answers = Vec::new();
        for part in self.parts {
            match part {
                Part::Text(text) => octets.extend_from_slice(&text),
                Part::Literal(literal) => {
                    let plus = if non_sync { "+" } else { "" };
                    octets.extend_from_slice(format!(" {{{}{plus}}}\r\n", literal.len()).as_bytes());
                    if !non_sync {
                        let whole = std::mem::replace(&mut octets, Zeroizing::new(Vec::new()));
                        pieces.push(Piece { octets: whole, required: true });
                    }
                    octets.extend_from_slice(&literal);
                }
                Part::Answer(answer) => answers.push(Piece { octets: answer, required: false }),
            }
        }
        octets.extend_from_slice(b"\r\n");
        pieces.push(Piece { octets, required: true });
        pieces.extend(answers);
        Ok(pieces)
    }
}

/// A set of UIDs as ascending, disjoint ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UidSet(Vec<(u32, u32)>);

impl UidSet {
    /// The UIDs from `first` to `last`, both included.
    pub fn range(first: u32, last: u32) -> UidSet {
        UidSet(vec![(first.min(last), first.max(last))])
    }

    /// No UID at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for UidSet {
    /// From UIDs in ascending order.
    fn from_iter<I: IntoIterator<Item = u32>>(uids: I) -> UidSet {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for uid in uids {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
                _ => ranges.push((uid, uid)),
            }
        }
        UidSet(ranges)
    }
}

impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(command: Command, non_sync: bool) -> Vec<Vec<u8>> {
        command.encode("m1", non_sync).expect("sendable").into_iter().map(|p| p.octets.to_vec()).collect()
    }

    #[test]
    fn strings_are_quoted_or_sent_as_literals() {
        let list = |name: &str| Command::new("LIST").string(b"").string(name.as_bytes());
        assert_eq!(sent(list("a\"b\\c"), false), [b"m1 LIST \"\" \"a\\\"b\\\\c\"\r\n".to_vec()]);
        assert_eq!(sent(list("ä"), false), [b"m1 LIST \"\" {2}\r\n".to_vec(), "ä\r\n".as_bytes().to_vec()]);
        assert_eq!(sent(list("ä"), true), ["m1 LIST \"\" {2+}\r\nä\r\n".as_bytes().to_vec()]);
        let login = Command::new("LOGIN").string("ä".as_bytes()).string(b"x y");
        assert_eq!(sent(login, false), [b"m1 LOGIN {2}\r\n".to_vec(), "ä \"x y\"\r\n".as_bytes().to_vec()]);
    }

    #[test]
    fn a_nul_is_never_sent() {
        assert!(Command::new("LOGIN").string(b"a\0b").encode("m1", true).is_err());
    }

    #[test]
    fn uids_are_written_as_ranges() {
        assert_eq!([1, 2, 3, 7, 9, 10].into_iter().collect::<UidSet>().to_string(), "1:3,7,9:10");
        assert_eq!(UidSet::range(u32::MAX, 5).to_string(), "5:4294967295");
    }

    /// Reads a command back as a server would; `None` if it is not exactly one command with two strings.
    fn as_a_server(pieces: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        let octets = pieces.concat();
        let mut rest = octets.strip_prefix(b"m1 EXAMINE")?;
        let mut strings = Vec::new();
        loop {
            if rest == b"\r\n" {
                return Some(strings);
            }
            rest = rest.strip_prefix(b" ")?;
            if let Some(quoted) = rest.strip_prefix(b"\"") {
                let (mut string, mut at) = (Vec::new(), 0);
                loop {
                    match quoted.get(at)? {
                        b'"' => break,
                        b'\\' => {
                            at += 1;
                            string.push(*quoted.get(at).filter(|b| matches!(b, b'"' | b'\\'))?);
                        }
                        b'\r' | b'\n' => return None,
                        b => string.push(*b),
                    }
                    at += 1;
                }
                strings.push(string);
                rest = &quoted[at + 1..];
            } else {
                let close = rest.iter().position(|b| *b == b'}')?;
                let len: usize =
                    std::str::from_utf8(&rest[1..close]).ok()?.trim_end_matches('+').parse().ok()?;
                let body = rest[close + 1..].strip_prefix(b"\r\n")?;
                strings.push(body.get(..len)?.to_vec());
                rest = &body[len..];
            }
        }
    }

    proptest! {
        #[test]
        fn any_two_strings_are_one_command_with_two_strings(
            a in proptest::collection::vec(1u8.., 0..700),
            b in "[ \"\\\\{}\r\n0-9+a-c]{0,40}",
            non_sync in any::<bool>(),
        ) {
            let command = Command::new("EXAMINE").string(&a).string(b.as_bytes());
            let strings = as_a_server(&sent(command, non_sync));
            prop_assert_eq!(strings, Some(vec![a, b.into_bytes()]));
        }
    }
}
