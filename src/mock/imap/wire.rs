//! The octets: commands in (lines and literals, bounded), answers out (one buffer, large literals not copied).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::options::ImapOptions;
use super::squeeze::Squeeze;
use crate::mock::World;

/// A connection, plain or (after STARTTLS) with TLS.
pub(super) enum Wire<S> {
    Plain(S),
    Tls(Box<TlsStream<S>>),
    /// Between the two, and after a failed handshake.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Wire::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_flush(cx),
            Wire::Tls(s) => Pin::new(s).poll_flush(cx),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Gone => Poll::Ready(Ok(())),
        }
    }
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// LOGOUT, BYE or the client's close: shut down in order.
    Orderly,
    /// As a fault: dropped without a word.
    Closed,
    /// As a fault: reset.
    Reset,
}

/// A piece of a command: the line's text between literals, and the literals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Vec<u8>),
    Literal(Bytes),
}

/// A command as it came.
#[derive(Debug)]
pub(super) struct Raw {
    /// Text, literal, text, literal, …, text.
    pub parts: Vec<Part>,
    /// Why it cannot be a command, whatever it says.
    pub flaw: Option<&'static str>,
    /// A tagged answer that was decided on before its literal came.
    pub refused: Option<String>,
}

impl Raw {
    /// The text before the first literal.
    pub fn first_line(&self) -> &[u8] {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => &[],
        }
    }
}

/// Beyond this a pending answer is written before more is added.
const PENDING: usize = 128 * 1024;
/// Literals up to this size are copied into the buffer, larger ones are kept as they are.
const COPIED: usize = 16 * 1024;
/// So many literals may one command have.
const MOST_LITERALS: usize = 1000;

/// The answers on their way. Counts octets, and stops at a cut as if the connection ended there.
#[derive(Default)]
pub(super) struct Out {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    pending: usize,
    /// Octets of the current answer so far.
    answered: u64,
    cut: Option<(u64, End, usize)>,
    /// The cut was reached: what ends the connection, and the rule that did it.
    pub stopped: Option<(End, usize)>,
    /// Doubles the spaces of untagged text.
    pub double_spaces: bool,
    pub total: u64,
}

impl Out {
    /// A new answer begins: octets count from here.
    pub fn begin(&mut self) {
        self.answered = 0;
        self.cut = None;
        self.double_spaces = false;
    }

    /// Ends the connection that many octets from here.
    pub fn cut_at(&mut self, octets: u64, end: End, rule: usize) {
        self.cut = Some((self.answered.saturating_add(octets), end, rule));
        if octets == 0 {
            self.stopped = Some((end, rule));
        }
    }

    /// How many of `len` octets still go out.
    fn admit(&mut self, len: usize) -> usize {
        if self.stopped.is_some() {
            return 0;
        }
        let mut take = len;
        if let Some((at, end, rule)) = self.cut {
            let room = at.saturating_sub(self.answered);
            if room <= len as u64 {
                take = room as usize;
                self.stopped = Some((end, rule));
            }
        }
        self.answered += take as u64;
        self.pending += take;
        self.total += take as u64;
        take
    }

    pub fn push(&mut self, octets: &[u8]) {
        let take = self.admit(octets.len());
        self.tail.extend_from_slice(&octets[..take]);
    }

    /// Text of an untagged answer.
    pub fn text(&mut self, text: &str) {
        if self.double_spaces {
            self.push(text.replace(' ', "  ").as_bytes());
        } else {
            self.push(text.as_bytes());
        }
    }

    /// A whole untagged line, without its `* ` and line end.
    pub fn untagged(&mut self, line: &str) {
        self.text("* ");
        self.text(line);
        self.push(b"\r\n");
    }

    pub fn literal(&mut self, octets: Bytes) {
        if octets.len() <= COPIED {
            return self.push(&octets);
        }
        let take = self.admit(octets.len());
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        self.chunks.push(octets.slice(..take));
    }

    pub fn is_full(&self) -> bool {
        self.pending >= PENDING || self.stopped.is_some()
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.pending = 0;
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        std::mem::take(&mut self.chunks)
    }
}

/// One connection's octets.
pub(super) struct Conn<'a, S> {
    pub wire: Wire<S>,
    pub input: BytesMut,
    pub out: Out,
    /// Octets travel compressed.
    pub squeeze: Option<Squeeze>,
    /// Writes octet by octet, so long apart.
    pub trickle: Option<Duration>,
    pub world: &'a dyn World,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<'_, S> {
    /// Writes all pending answers. A reached cut ends it with an error after the last octet before it.
    pub async fn flush(&mut self) -> Result<(), End> {
        for chunk in self.out.take() {
            let chunk = match &mut self.squeeze {
                Some(squeeze) => Bytes::from(squeeze.pack(&chunk)?),
                None => chunk,
            };
            let step = if self.trickle.is_some() { 1 } else { chunk.len().max(1) };
            for piece in chunk.chunks(step) {
                if let Some(pause) = self.trickle {
                    self.wire.flush().await.map_err(|_| End::Closed)?;
                    self.world.sleep(pause).await;
                }
                self.wire.write_all(piece).await.map_err(|_| End::Closed)?;
            }
        }
        self.wire.flush().await.map_err(|_| End::Closed)?;
        self.out.stopped.map_or(Ok(()), |(end, _)| Err(end))
    }

    /// Reads more. All that is pending is written before, so that nobody waits for what lies in our buffer.
    pub async fn fill(&mut self) -> Result<(), End> {
        self.flush().await?;
        if let Some(squeeze) = &mut self.squeeze {
            let mut came = BytesMut::with_capacity(16 * 1024);
            return match self.wire.read_buf(&mut came).await {
                Ok(n) if n > 0 => squeeze.unpack(&came, &mut self.input),
                _ => Err(End::Closed),
            };
        }
        if self.input.capacity() - self.input.len() < 4096 {
            self.input.reserve(16 * 1024);
        }
        match self.wire.read_buf(&mut self.input).await {
            Ok(n) if n > 0 => Ok(()),
            _ => Err(End::Closed),
        }
    }

    /// One line without its line end, and whether that was a proper CRLF.
    pub async fn line(&mut self, longest: usize) -> Result<(Vec<u8>, bool), End> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input[searched..]) {
                let mut line = self.input.split_to(searched + at + 1).to_vec();
                line.pop();
                let proper = line.last() == Some(&b'\r');
                if proper {
                    line.pop();
                }
                return Ok((line, proper));
            }
            searched = self.input.len();
            if searched > longest {
                self.out.untagged("BYE [LIMIT] Command line too long");
                self.flush().await?;
                return Err(End::Orderly);
            }
            self.fill().await?;
        }
    }

    /// Reads one command. `early` may refuse it when a literal is announced: then a synchronising literal is never
    /// asked for, and any other is read and thrown away.
    pub async fn command(
        &mut self,
        options: &ImapOptions,
        early: impl Fn(&[Part], u64) -> Option<String>,
    ) -> Result<Raw, End> {
        let mut raw = Raw { parts: Vec::new(), flaw: None, refused: None };
        let mut budget = options.max_line;
        let mut literals = options.max_literal;
        loop {
            let (mut line, proper) = self.line(budget).await?;
            budget = budget.saturating_sub(line.len());
            if !proper {
                raw.flaw = Some("a line must end with CRLF");
            }
            if memchr::memchr(0, &line).is_some() {
                raw.flaw = Some("NUL in a command");
            }
            let Some((announced, waits)) = announcement(&mut line) else {
                raw.parts.push(Part::Text(line));
                return Ok(raw);
            };
            raw.parts.push(Part::Text(line));
            let length = announced.unwrap_or(u64::MAX);
            if raw.parts.len() > 2 * MOST_LITERALS {
                raw.flaw = Some("too many literals");
            }
            let minus = options.offers("LITERAL-") && length <= 4096;
            if !(waits || minus || options.offers("LITERAL+")) {
                raw.flaw = Some("LITERAL+ is not offered");
            }
            if !waits && options.quirks.lies_about_literals {
                raw.flaw = Some("Command Argument Error. 12");
            }
            if raw.refused.is_none() {
                raw.refused = early(&raw.parts, length);
            }
            if length > literals {
                raw.refused = Some("NO [TOOBIG] The literal is larger than this server takes".to_owned());
            }
            let unwanted = raw.flaw.is_some() || raw.refused.is_some();
            if unwanted && waits {
                return Ok(raw);
            }
            if unwanted && length > literals {
                // Nobody waits for a refused literal of any length: the only way out is the end (RFC 7888 §4).
                self.out.untagged("BYE [TOOBIG] The literal is larger than this server takes");
                self.flush().await?;
                return Err(End::Orderly);
            }
            if waits {
                self.out.push(b"+ OK\r\n");
            }
            literals -= length;
            let octets = self.octets(length, unwanted).await?;
            raw.parts.push(Part::Literal(octets));
        }
    }

    async fn octets(&mut self, length: u64, discard: bool) -> Result<Bytes, End> {
        let length = usize::try_from(length).map_err(|_| End::Closed)?;
        if discard {
            let mut left = length;
            while left > 0 {
                let have = left.min(self.input.len());
                let _ = self.input.split_to(have);
                left -= have;
                if left > 0 {
                    self.fill().await?;
                }
            }
            return Ok(Bytes::new());
        }
        while self.input.len() < length {
            // Grown as octets come, not as announced.
            self.input.reserve((length - self.input.len()).min(1024 * 1024));
            self.fill().await?;
        }
        Ok(self.input.split_to(length).freeze())
    }
}

/// Takes `{n}` or `{n+}` off the line's end: the length, and whether the client waits for us.
fn announcement(line: &mut Vec<u8>) -> Option<(Result<u64, ()>, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|&b| b == b'{')?;
    let digits = &inner[open + 1..];
    let (digits, waits) = digits.strip_suffix(b"+").map_or((digits, true), |d| (d, false));
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    let length = text.parse::<u64>().map_err(|_| ());
    line.truncate(open);
    Some((length, waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_stops_at_its_octet_whatever_is_pushed() {
        for at in 0..12_u64 {
            let mut out = Out::default();
            out.begin();
            out.cut_at(at, End::Reset, 7);
            out.push(b"0123");
            out.literal(Bytes::from_static(b"4567"));
            out.push(b"89");
            let sent: Vec<u8> = out.take().concat();
            assert_eq!(sent, b"0123456789"[..at.min(10) as usize].to_vec());
            assert_eq!(out.stopped.is_some(), at <= 10, "at {at}");
        }
    }

    #[test]
    fn a_cut_within_a_large_literal_keeps_what_came_before() {
        let large = Bytes::from(vec![b'x'; 3 * COPIED]);
        for at in [0, 4, 5, COPIED, 3 * COPIED + 4, 3 * COPIED + 5] {
            let mut out = Out::default();
            out.begin();
            out.cut_at(at as u64, End::Closed, 0);
            out.push(b"head");
            out.literal(large.clone());
            out.push(b"tail");
            let sent: Vec<u8> = out.take().concat();
            assert_eq!(sent, [b"head", &large[..], b"tail"].concat()[..at]);
            assert!(out.stopped.is_some());
        }
    }

    #[test]
    fn a_literal_is_announced_only_at_the_end_of_a_line() {
        let mut line = b"a APPEND x {12+}".to_vec();
        assert_eq!(announcement(&mut line), Some((Ok(12), false)));
        assert_eq!(line, b"a APPEND x ");
        assert_eq!(announcement(&mut b"a LOGIN {3".to_vec()), None);
        assert_eq!(announcement(&mut b"a LOGIN {-1}".to_vec()), None);
        assert_eq!(announcement(&mut b"a {99999999999999999999}".to_vec()), Some((Err(()), true)));
    }
}
