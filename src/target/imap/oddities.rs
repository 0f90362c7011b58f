//! Octets that servers are known to change: looked for before a message is sent, so that what was done to it can be seen
//! and told afterwards.

use std::io;

use crate::model::Body;
use crate::transform::mime::halves;

/// How much of a message is searched for 8-bit header octets, in bytes.
const HEADER: u64 = 64 << 10;
/// Pieces a message is looked at in, in bytes.
const PIECE: u64 = 256 << 10;

/// What is unusual in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Oddities {
    /// NUL: only a literal8 may hold it (RFC 3516).
    pub nul: bool,
    /// A CR or LF that stands alone.
    pub bare_line_end: bool,
    /// Octets above 127 in the header.
    pub header: bool,
    /// They are UTF-8.
    pub utf8: bool,
}

impl Oddities {
    /// Looks through a message.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn of(body: &Body) -> io::Result<Oddities> {
        let mut found = Oddities::default();
        let (mut at, mut before) = (0, 0);
        while at < body.len() {
            let len = if body.is_spooled() { PIECE.min(body.len() - at) } else { body.len() };
            let piece = body.range(at, len)?;
            before = found.look(before, &piece);
            at += len;
        }
        found.bare_line_end |= before == b'\r';
        let head = body.range(0, body.len().min(HEADER))?;
        let headers = halves(&head).headers;
        found.header = !headers.is_ascii();
        found.utf8 = found.header && std::str::from_utf8(headers).is_ok();
        Ok(found)
    }

    /// Looks through a piece; `before` is the octet in front of it. Gives its last octet.
    fn look(&mut self, before: u8, piece: &[u8]) -> u8 {
        let Some((first, last)) = piece.first().zip(piece.last()) else { return before };
        let odd = |before: u8, this: u8| {
            let lone = u8::from((before == b'\r') != (this == b'\n'));
            let nul = u8::from(this == 0);
            lone | nul << 1
        };
        // No branches: this looks at every octet of a migration.
        let rest = piece.get(1..).unwrap_or_default();
        let sum =
            piece.iter().zip(rest).fold(odd(before, *first), |sum, (before, this)| sum | odd(*before, *this));
        self.bare_line_end |= sum & 1 != 0;
        self.nul |= sum & 2 != 0;
        *last
    }

    /// Is there anything?
    pub fn any(&self) -> bool {
        self.nul || self.bare_line_end || self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn of(text: &[u8]) -> (bool, bool, bool) {
        let found = Oddities::of(&Body::from_bytes(Bytes::copy_from_slice(text))).expect("in memory");
        (found.nul, found.bare_line_end, found.header)
    }

    #[test]
    fn each_oddity_is_seen_wherever_it_stands() {
        assert_eq!(of(b"A: 1\r\n\r\nx\r\n"), (false, false, false));
        assert_eq!(of(b""), (false, false, false));
        assert_eq!(of(b"A: 1\r\n\r\n\0"), (true, false, false));
        assert_eq!(of(b"\0"), (true, false, false));
        for bare in [&b"\n"[..], b"\r", b"A: 1\n\r\n", b"A: 1\r\n\r\nx\ry", b"A: 1\r\n\r\nx\n", b"a\r\r\n"] {
            assert!(of(bare).1, "{bare:?}");
        }
        assert_eq!(of("A: ä\r\n\r\nx".as_bytes()), (false, false, true));
        assert_eq!(of("A: a\r\n\r\nä".as_bytes()), (false, false, false));
        let utf8 = |text: &'static [u8]| {
            Oddities::of(&Body::from_bytes(Bytes::from_static(text))).expect("in memory").utf8
        };
        assert!(
            utf8("A: ä\r\n\r\n\u{ff}".as_bytes()) && !utf8(b"A: \xe4\r\n\r\nx") && !utf8(b"A: a\r\n\r\nx")
        );
    }
}
