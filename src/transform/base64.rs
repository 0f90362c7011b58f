//! The octets of a part as they will be sent, in base64 or decoded a range at a time.
//!
//! What is already base64 in the message, and as an encoder would write it, is passed on: cut out at its offsets, its
//! line ends removed, not decoded and encoded again. It is validated before its length is announced. Nothing is held
//! twice: a content is slices of the message, decoded where and when a request needs them.

use std::io;

use bytes::Bytes;
use encodify::base64::{LENIENT, STANDARD};

use super::octets::{Octets, WINDOW};

/// Octets of a part, in one or more pieces.
#[derive(Clone, Default)]
pub struct Content {
    pieces: Vec<Piece>,
    len: usize,
}

#[derive(Clone)]
struct Piece {
    octets: Octets,
    form: Form,
    /// Decoded, in bytes.
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As they are.
    Plain,
    /// Base64 with line breaks, as an encoder writes it; so many lines at its beginning are of [`LINE`] octets.
    Canonical { lines: usize },
    /// Base64 that only a forgiving reader can read: padding left out, stray bits, something behind it.
    Lenient,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

impl From<Octets> for Content {
    fn from(octets: Octets) -> Content {
        let len = octets.len();
        Content { pieces: vec![Piece { octets, form: Form::Plain, len }], len }
    }
}

impl From<Bytes> for Content {
    fn from(octets: Bytes) -> Content {
        Octets::from(octets).into()
    }
}

impl Content {
    /// From the body of a part with `Content-Transfer-Encoding: base64`. The flag tells whether the base64 was broken
    /// (characters outside the alphabet): then what could be decoded up to there is kept.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn from_base64(body: &Octets) -> io::Result<(Content, bool)> {
        let mut scan = Scan::default();
        for window in body.windows() {
            if !scan.feed(&window?) {
                break;
            }
        }
        if let Some(len) = scan.decoded_len() {
            let piece = Piece { octets: body.clone(), form: Form::Canonical { lines: scan.lines }, len };
            return Ok((Content { pieces: vec![piece], len }, false));
        }
        // Most of what is not right is so at its end: what stands before is passed on all the same.
        let (clean, symbols) = scan.whole_quanta(body)?;
        let tail = body.slice(clean..body.len());
        let (first, mut last) = (symbols / 4 * 3, 0);
        let read = decode_lenient(&tail, |octets| last += octets.len())?;
        let broken = tail.slice(read..tail.len()).any_readable()?;
        let pieces = vec![
            Piece {
                octets: body.slice(0..clean),
                form: Form::Canonical { lines: scan.lines.min(clean / LINE) },
                len: first,
            },
            Piece { octets: tail.slice(0..read), form: Form::Lenient, len: last },
        ];
        Ok((Content { pieces, len: first + last }, broken))
    }

    /// This and then that.
    #[must_use]
    pub fn then(mut self, next: Content) -> Content {
        self.len += next.len;
        self.pieces.extend(next.pieces);
        self
    }

    /// Decoded length in bytes: what the target counts.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No octets?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of its base64 form in bytes.
    pub fn base64_len(&self) -> usize {
        self.len().div_ceil(3) * 4
    }

    /// Appends its base64 form, one line, padded.
    ///
    /// # Errors
    /// Reading the spool failed; then part of it may be there.
    pub fn push_base64(&self, out: &mut String) -> io::Result<()> {
        out.reserve(self.base64_len());
        let mut pieces = self.pieces.as_slice();
        // Symbols are passed on as long as the next piece begins with a group of its own.
        while let [piece, rest @ ..] = pieces
            && let Form::Canonical { lines } = piece.form
            && (piece.len.is_multiple_of(3) || rest.iter().all(|p| p.len == 0))
        {
            push_canonical(&piece.octets, lines, out)?;
            pieces = rest;
        }
        let mut reader = Reader { pieces, at: 0, held: Bytes::new() };
        loop {
            // Whole groups of three, so that the pieces of base64 join without padding.
            let octets = reader.next(WINDOW / 3 * 3)?;
            if octets.is_empty() {
                return Ok(());
            }
            STANDARD.encode_append(&octets, out);
        }
    }

    /// The decoded octets.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn octets(&self) -> io::Result<Bytes> {
        self.reader().next(self.len())
    }

    /// Reads the decoded octets from the beginning.
    pub fn reader(&self) -> Reader<'_> {
        Reader { pieces: &self.pieces, at: 0, held: Bytes::new() }
    }
}

/// Reads a [`Content`] decoded, in order.
pub struct Reader<'a> {
    /// The piece being read, and those after it.
    pieces: &'a [Piece],
    /// Where in the encoded octets of the first piece.
    at: usize,
    /// Decoded already, not given yet.
    held: Bytes,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({} pieces left)", self.pieces.len())
    }
}

impl Reader<'_> {
    /// The next `want` octets; fewer only at the end. Octets that are not encoded and lie in memory are not copied.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn next(&mut self, want: usize) -> io::Result<Bytes> {
        if self.held.is_empty()
            && let [piece, rest @ ..] = self.pieces
            && piece.form == Form::Plain
            && (piece.len - self.at >= want || rest.is_empty())
        {
            let octets = piece.octets.read(self.at..self.at.saturating_add(want))?;
            self.at += octets.len();
            return Ok(octets);
        }
        let mut out = Vec::new();
        while out.len() < want {
            let left = want - out.len();
            if !self.held.is_empty() {
                out.extend_from_slice(&self.held.split_to(left.min(self.held.len())));
                continue;
            }
            let [piece, rest @ ..] = self.pieces else { break };
            if self.at >= piece.octets.len() {
                (self.pieces, self.at) = (rest, 0);
                continue;
            }
            if out.is_empty() {
                // The decoder asks for room by the length of what is encoded, line ends and all: it shall not have to move.
                let most = want.min(self.pieces.iter().map(|p| p.len).sum());
                out.reserve_exact(most + most / 24 + 64);
            }
            match piece.form {
                Form::Plain => {
                    let octets = piece.octets.read(self.at..self.at.saturating_add(left.min(WINDOW)))?;
                    self.at += octets.len();
                    out.extend_from_slice(&octets);
                }
                Form::Canonical { .. } => self.at = decode_window(&piece.octets, self.at, left, &mut out)?,
                Form::Lenient => {
                    // Rare, and its quanta may begin anywhere: once, as a whole.
                    let mut all = Vec::with_capacity(piece.len);
                    decode_lenient(&piece.octets, |octets| all.extend_from_slice(octets))?;
                    (self.held, self.at) = (all.into(), piece.octets.len());
                }
            }
        }
        if out.len() > want {
            self.held = Bytes::copy_from_slice(&out[want..]);
            out.truncate(want);
        }
        Ok(out.into())
    }

    /// Passes over `count` octets.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn skip(&mut self, mut count: usize) -> io::Result<()> {
        while count > 0 {
            let passed = self.next(count.min(WINDOW))?.len();
            if passed == 0 {
                break;
            }
            count -= passed;
        }
        Ok(())
    }
}

/// Decodes canonical base64 from `at` on, about `want` octets of it, whole groups of four symbols; gives where it
/// stopped.
fn decode_window(octets: &Octets, at: usize, want: usize, out: &mut Vec<u8>) -> io::Result<usize> {
    // Four symbols for three octets, and a line end after 76 of them.
    let mut size = (want.div_ceil(3).saturating_mul(4)).saturating_add(want / 28 + 16).min(WINDOW);
    loop {
        let window = octets.read(at..at.saturating_add(size))?;
        let last = at + window.len() >= octets.len();
        let end = if last { window.len() } else { whole_quanta(&window) };
        if end == 0 && !last {
            size = size.saturating_mul(2); // nothing but white space so far
            continue;
        }
        LENIENT.decode_prefix(&window[..end], out);
        return Ok(at + end);
    }
}

/// Where in a window the last whole group of four symbols ends.
fn whole_quanta(window: &[u8]) -> usize {
    let blanks: usize =
        window.chunks(192).map(|c| usize::from(c.iter().map(|b| is_blank(*b)).sum::<u8>())).sum();
    let mut over = (window.len() - blanks) % 4;
    let mut end = window.len();
    while over > 0 {
        end -= 1;
        over -= usize::from(is_blank(window[end]) == 0);
    }
    end
}

/// Decodes what can be decoded, in pieces; gives where reading stopped.
fn decode_lenient(octets: &Octets, mut sink: impl FnMut(&[u8])) -> io::Result<usize> {
    let mut decoder = LENIENT.decoder();
    let mut out = Vec::new();
    let mut read = 0;
    'all: for window in octets.windows() {
        let window = window?;
        let mut at = 0;
        while at < window.len() {
            at += decoder.decode_symbols(&window[at..], &mut out);
            match window.get(at) {
                None => {}
                Some(b'=') => {
                    decoder.pad(&mut out);
                    at += 1;
                }
                Some(b) if b.is_ascii_whitespace() || *b == 0x0b => at += 1,
                Some(_) => {
                    read += at;
                    break 'all;
                }
            }
            if out.len() >= WINDOW {
                sink(&out);
                out.clear();
            }
        }
        read += window.len();
    }
    decoder.finish(&mut out);
    sink(&out);
    Ok(read)
}

/// A line as nearly every encoder writes it: 76 symbols and a line end (RFC 2045 §6.8).
const LINE: usize = SYMBOLS + 2;
const SYMBOLS: usize = 76;

/// Appends the symbols of canonical base64, which begins with so many lines of the usual length: those are copied without
/// a look.
fn push_canonical(octets: &Octets, lines: usize, out: &mut String) -> io::Result<()> {
    const STEP: usize = WINDOW / LINE * LINE;
    let regular = lines * LINE;
    let step = if octets.in_memory().is_some() { regular.max(1) } else { STEP };
    for at in (0..regular).step_by(step) {
        let window = octets.read(at..(at + step).min(regular))?;
        let Ok(text) = std::str::from_utf8(&window) else { break }; // the scan saw only ASCII
        for line in 0..text.len() / LINE {
            out.push_str(&text[line * LINE..line * LINE + SYMBOLS]);
        }
    }
    for window in octets.slice(regular..octets.len()).windows() {
        push_symbols(&window?, out);
    }
    Ok(())
}

/// Appends the symbols of a window of canonical base64.
fn push_symbols(window: &[u8], out: &mut String) {
    let Ok(text) = std::str::from_utf8(window) else { return }; // the scan saw only ASCII
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', window) {
        push_line(&text[from..at], out);
        from = at + 1;
    }
    push_line(&text[from..], out);
}

fn push_line(line: &str, out: &mut String) {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.bytes().map(is_blank).fold(0, |all, blank| all | blank) == 0 {
        out.push_str(line);
    } else {
        line.split_ascii_whitespace().for_each(|run| out.push_str(run));
    }
}

/// Looks whether base64, without its white space, is exactly what an encoder would write: alphabet only, padding only
/// at the end and complete, no stray bits.
#[derive(Default)]
struct Scan {
    /// Where the next octet is.
    at: usize,
    /// Where the first octet is that is neither a symbol nor white space, once there is one.
    clean: Option<usize>,
    /// Symbols before it.
    symbols: usize,
    pads: usize,
    last: u8,
    wrong: bool,
    /// Lines of [`LINE`] octets that it begins with.
    lines: usize,
}

impl Scan {
    /// The next octets; `false` as soon as it is not.
    fn feed(&mut self, mut octets: &[u8]) -> bool {
        if self.at == self.lines * LINE {
            let mut last = None;
            while let Some((line, rest)) = octets.split_first_chunk::<LINE>()
                && is_usual(line)
            {
                (octets, last) = (rest, Some(line[SYMBOLS - 1]));
                self.lines += 1;
                self.at += LINE;
                self.symbols += SYMBOLS;
            }
            self.last = last.unwrap_or(self.last);
        }
        let chunks = octets.chunks_exact(64);
        let rest = chunks.remainder();
        for chunk in chunks {
            // No branch inside: the compiler makes a few vector instructions of it.
            let (mut symbols, mut blanks) = (0u8, 0u8);
            for &b in chunk {
                symbols += is_symbol(b);
                blanks += is_blank(b);
            }
            if symbols + blanks == 64 && self.pads == 0 {
                self.at += 64;
                self.symbols += usize::from(symbols);
                if let Some(&last) = chunk.iter().rev().find(|b| is_symbol(**b) == 1) {
                    self.last = last;
                }
            } else if !self.slowly(chunk) {
                return false;
            }
        }
        self.slowly(rest)
    }

    fn slowly(&mut self, octets: &[u8]) -> bool {
        for &b in octets {
            if is_symbol(b) == 1 && self.pads == 0 {
                self.symbols += 1;
                self.last = b;
            } else if is_blank(b) == 0 {
                self.clean.get_or_insert(self.at);
                if b != b'=' || self.pads == 2 {
                    self.wrong = true;
                    return false;
                }
                self.pads += 1;
            }
            self.at += 1;
        }
        true
    }

    /// Where the last whole group of four symbols ends before anything else but white space, and how many symbols stand
    /// before that.
    fn whole_quanta(&self, body: &Octets) -> io::Result<(usize, usize)> {
        let clean = self.clean.unwrap_or(self.at);
        let over = self.symbols % 4;
        let from = clean.saturating_sub(1024);
        let end = body.read(from..clean)?;
        let (mut left, mut at) = (over, end.len());
        while left > 0 && at > 0 {
            at -= 1;
            left -= usize::from(is_symbol(end[at]));
        }
        // So much white space between symbols is nothing to build on.
        Ok(if left == 0 { (from + at, self.symbols - over) } else { (0, 0) })
    }

    /// The decoded length, if it is.
    fn decoded_len(&self) -> Option<usize> {
        let stray = match self.pads {
            0 => 0,
            1 => value(self.last) & 0b11,
            _ => value(self.last) & 0b1111,
        };
        let all = self.symbols + self.pads;
        (!self.wrong && all.is_multiple_of(4) && stray == 0 && self.symbols >= self.pads)
            .then(|| all / 4 * 3 - self.pads)
    }
}

/// Is this a usual line, full of symbols? Its last octets are looked at twice, for the sake of lengths that the compiler
/// makes vector instructions of.
fn is_usual(line: &[u8; LINE]) -> bool {
    let (symbols, end) = line.split_at(SYMBOLS);
    end == b"\r\n"
        && symbols.first_chunk::<64>().is_some_and(are_symbols)
        && symbols.last_chunk::<16>().is_some_and(are_symbols)
}

fn are_symbols<const N: usize>(octets: &[u8; N]) -> bool {
    const { assert!(N < 256) }
    // No branch inside.
    usize::from(octets.iter().map(|b| is_symbol(*b)).sum::<u8>()) == N
}

fn is_symbol(b: u8) -> u8 {
    let letter = (b | 0x20).wrapping_sub(b'a') < 26;
    let digit = b.wrapping_sub(b'0') < 10;
    u8::from(letter | digit | (b == b'+') | (b == b'/'))
}

fn is_blank(b: u8) -> u8 {
    u8::from((b == b' ') | (b == b'\t') | (b == b'\r') | (b == b'\n') | (b == 0x0c))
}

fn value(b: u8) -> u8 {
    match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    }
}

#[cfg(test)]
mod tests;
