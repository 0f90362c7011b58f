//! The declared transform: a message's octets in the file → its octets as delivered. The fields mail programs keep
//! their notes in are taken out of the header block, quoted From_ lines are unquoted, bare LF becomes CRLF.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use memchr::memmem::Finder;

use crate::transform::line_ends::ToCrlf;

use super::header::{Strip, fields};

/// How much is read at once, in bytes.
const PIECE: usize = 64 << 10;
/// A line longer than this is passed on in pieces, in bytes.
const MAX_HELD: usize = 32 << 10;

/// How From_ lines in messages are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unquote {
    /// They are not.
    Nothing,
    /// `From ` was written `>From ` (mboxo, mboxcl).
    One,
    /// `From `, `>From `, `>>From ` … were each given one more `>` (mboxrd).
    Any,
}

/// What is done to one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transform {
    /// Fields taken out.
    pub(super) strip: Strip,
    /// From_ lines unquoted.
    pub(super) unquote: Unquote,
}

/// Where a delivery failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The mbox could not be read.
    Read(io::Error),
    /// The octets could not be put where they go.
    Write(io::Error),
}

/// Writes the message whose header block is `start..body` and whose body is `body..end` of `file`.
///
/// # Errors
/// See [`Failure`].
pub(super) fn deliver<W: Write>(
    file: &File,
    (start, body, end): (u64, u64, u64),
    transform: Transform,
    out: W,
) -> Result<W, Failure> {
    let mut out = ToCrlf::new(out);
    let mut block = vec![0; usize::try_from(body - start).unwrap_or(0)];
    file.read_exact_at(&mut block, start).map_err(Failure::Read)?;
    let mut kept = Vec::with_capacity(block.len());
    for (name, field) in fields(&block) {
        if !transform.strip.takes(name) {
            kept.extend_from_slice(field);
        }
    }
    let mut lines = Unquoter { rule: transform.unquote, quoted: Finder::new(b">From "), fresh: true };
    lines.write(&kept, &mut out).map_err(Failure::Write)?;
    // A header block without an end (the message has no body) may stop in the middle of a line.
    lines.fresh = kept.last().is_none_or(|b| *b == b'\n');

    let mut held: Vec<u8> = Vec::with_capacity(PIECE + MAX_HELD);
    let mut at = body;
    while at < end {
        let n = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let from = held.len();
        held.resize(from + n, 0);
        file.read_exact_at(&mut held[from..], at).map_err(Failure::Read)?;
        at += n as u64;
        let whole = if at == end { held.len() } else { memchr::memrchr(b'\n', &held).map_or(0, |nl| nl + 1) };
        // Whole lines, unless a line is so long that its quoting was decided long ago.
        let cut = if held.len() - whole > MAX_HELD { held.len() } else { whole };
        lines.write(&held[..cut], &mut out).map_err(Failure::Write)?;
        held.drain(..cut);
    }
    Ok(out.into_inner())
}

struct Unquoter {
    rule: Unquote,
    quoted: Finder<'static>,
    /// What comes next begins a line.
    fresh: bool,
}

impl Unquoter {
    fn write(&mut self, text: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut from = 0;
        if self.rule != Unquote::Nothing {
            for found in self.quoted.find_iter(text) {
                let marks = text[..found].iter().rev().take_while(|b| **b == b'>').count();
                let line = found - marks;
                let at_line = if line == 0 { self.fresh } else { text[line - 1] == b'\n' };
                if at_line && (marks == 0 || self.rule == Unquote::Any) {
                    out.write_all(&text[from..line])?;
                    from = line + 1;
                }
            }
        }
        out.write_all(&text[from..])?;
        if let Some(last) = text.last() {
            self.fresh = *last == b'\n';
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(block: &[u8], body: &[u8], unquote: Unquote) -> Vec<u8> {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(block).expect("write");
        file.write_all(body).expect("write");
        let place = (0, block.len() as u64, (block.len() + body.len()) as u64);
        let transform = Transform { strip: Strip { length: true, labels: false }, unquote };
        deliver(&file, place, transform, Vec::new()).expect("deliver")
    }

    #[test]
    fn notes_leave_the_header_block_and_only_it() {
        let block = b"A: 1\nStatus: RO\nX-Keywords: a\n b\nB: 2\ncontent-length: 9\n\n";
        let got = run(block, b"Status: RO\n", Unquote::Nothing);
        assert_eq!(got, b"A: 1\r\nB: 2\r\n\r\nStatus: RO\r\n");
    }

    #[test]
    fn quoted_lines_are_unquoted_by_their_rule() {
        let body = b">From a\n>>From b\n >From c\nx>From d\n>From: e\n>From f";
        assert_eq!(
            run(b"", body, Unquote::Nothing),
            b">From a\r\n>>From b\r\n >From c\r\nx>From d\r\n>From: e\r\n>From f"
        );
        assert_eq!(
            run(b"", body, Unquote::One),
            b"From a\r\n>>From b\r\n >From c\r\nx>From d\r\n>From: e\r\nFrom f"
        );
        assert_eq!(
            run(b"", body, Unquote::Any),
            b"From a\r\n>From b\r\n >From c\r\nx>From d\r\n>From: e\r\nFrom f"
        );
    }

    #[test]
    fn long_lines_and_borders_change_nothing() {
        for pad in [PIECE - 3, PIECE - 1, PIECE, PIECE + 4, 2 * PIECE + MAX_HELD] {
            let long = "y".repeat(pad);
            let body = format!("{long}\n>From a\n{long}>From b\n>>From c");
            let want = format!("{long}\r\nFrom a\r\n{long}>From b\r\n>From c");
            assert_eq!(run(b"", body.as_bytes(), Unquote::Any), want.as_bytes(), "{pad}");
        }
    }
}
