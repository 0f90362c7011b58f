//! The framer: lines and literals cut out of a byte stream by length alone (RFC 3501 §4.3, §2.2).

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};

use super::deflate::Deflated;
use super::{Limits, WireError};
use crate::env::{Env, Tick};

/// Anything octets travel over: TCP, TLS, or a pipe in memory.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The half of a wire that reads.
pub(super) type Reader = Wire<ReadHalf<Box<dyn Stream>>>;

/// The half that writes.
pub(super) type Writer = WriteHalf<Box<dyn Stream>>;

/// Room asked for before a read, in bytes: little at first, as much as this while octets fill it. Of thousands of
/// connections most wait or lie idle.
const READ: usize = 128 << 10;
/// The least.
const LITTLE: usize = 8 << 10;

/// Within the idle time a line or a literal ends, or so many octets of it come; else the peer is gone for all it is worth:
/// an octet every ten seconds keeps a connection busy for days.
const PACE: usize = 1024;

/// A literal up to this size is handed on whole, in bytes, where nothing else was agreed.
pub(super) const WHOLE: usize = 256 << 10;

/// One line without its line end, and the length of the literal it announces, if it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub text: Bytes,
    pub literal: Option<u64>,
}

/// A buffered byte stream with timeouts.
pub struct Wire<S = Box<dyn Stream>> {
    pub(super) stream: S,
    pub(super) buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    pace: Pace,
    /// Room to ask for before the next read.
    room: usize,
    env: Env,
    idle: Duration,
    line_limit: usize,
}

/// What came since when of the line or the literal that is being read.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Tick>,
    octets: usize,
}

impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Wire {
    /// Wraps a stream. `idle` bounds every single read and write: a peer that moves nothing for that long is gone; and so
    /// is one that moves next to nothing.
    pub fn new(stream: Box<dyn Stream>, env: Env, idle: Duration, limits: &Limits) -> Wire {
        Wire::over(stream, env, idle, limits.line)
    }

    fn over(stream: Box<dyn Stream>, env: Env, idle: Duration, line_limit: usize) -> Wire {
        let (buffer, pace) = (BytesMut::new(), Pace::default());
        Wire { stream, buffer, searched: 0, pace, room: LITTLE, env, idle, line_limit }
    }

    /// The bare stream, for the hand-over to TLS. Refused if octets are buffered: they came before the encryption and
    /// must never be read as if they came after it (response injection, CVE-2011-0411 and its kin).
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, WireError> {
        if self.buffer.is_empty() {
            Ok(self.stream)
        } else {
            Err(WireError::Framing("octets were sent ahead of the TLS handshake"))
        }
    }

    /// From now on octets travel compressed both ways (RFC 4978), also those that were read ahead.
    pub(super) fn deflate(self) -> Wire {
        let Wire { stream, buffer, env, idle, line_limit, .. } = self;
        Wire::over(Box::new(Deflated::new(stream, buffer)), env, idle, line_limit)
    }

    /// Parts it into the half that reads, with what is buffered, and the half that writes.
    pub(super) fn split(self) -> (Reader, Writer) {
        let (read, write) = tokio::io::split(self.stream);
        let Wire { buffer, searched, pace, room, env, idle, line_limit, .. } = self;
        (Wire { stream: read, buffer, searched, pace, room, env, idle, line_limit }, write)
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads one line. A bare LF ends it too; some servers send that.
    pub(super) async fn line(&mut self) -> Result<Line, WireError> {
        loop {
            if let Some(text) = self.buffered_line()? {
                let mut text = text.freeze();
                text.truncate(text.len() - 1);
                if text.last() == Some(&b'\r') {
                    text.truncate(text.len() - 1);
                }
                return Ok(match announced(&text) {
                    Some((at, len)) => Line { text: text.slice(..at), literal: Some(len) },
                    None => Line { text, literal: None },
                });
            }
            self.fill(0).await?;
        }
    }

    /// The next line without taking it, as text, at most its first 1,000 octets.
    pub(super) async fn peek(&mut self) -> Result<String, WireError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.get(..end.min(1000)).unwrap_or_default();
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            if self.buffer.len() > self.line_limit {
                return Err(WireError::Limit("one line"));
            }
            self.fill(0).await?;
        }
    }

    /// The first buffered line with its line end, if one is complete.
    pub(super) fn buffered_line(&mut self) -> Result<Option<BytesMut>, WireError> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let end = memchr::memchr(b'\n', unsearched).map(|at| self.searched + at);
        if end.unwrap_or(self.buffer.len()) > self.line_limit {
            return Err(WireError::Limit("one line"));
        }
        self.searched = if end.is_some() { 0 } else { self.buffer.len() };
        if end.is_some() {
            self.pace = Pace::default();
        }
        Ok(end.map(|end| self.buffer.split_to(end + 1)))
    }

    /// Reads `len` octets into `sink`: whole if they are at most `whole`, else in the pieces they arrive in. They are not
    /// copied.
    pub(super) async fn literal(
        &mut self,
        len: u64,
        whole: usize,
        sink: &mut (dyn FnMut(Bytes) + Send),
    ) -> Result<(), WireError> {
        if let Ok(size) = usize::try_from(len)
            && size <= whole
        {
            while self.buffer.len() < size {
                let missing = size - self.buffer.len();
                self.fill(missing).await?;
            }
            self.pace = Pace::default();
            sink(self.buffer.split_to(size).freeze());
            return Ok(());
        }
        let mut left = len;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill(0).await?;
            }
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            sink(self.buffer.split_to(piece).freeze());
            left -= piece as u64;
        }
        self.pace = Pace::default();
        Ok(())
    }

    /// Nothing is awaited any more: what was asked for to read into is given back, if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() {
            (self.buffer, self.searched, self.room) = (BytesMut::new(), 0, LITTLE);
        }
    }

    /// Reads what there is, with room for at least `room` bytes.
    async fn fill(&mut self, room: usize) -> Result<(), WireError> {
        self.buffer.reserve(room.max(self.room));
        let since = *self.pace.since.get_or_insert_with(|| self.env.now());
        let read = self.stream.read_buf(&mut self.buffer);
        match self.env.within(self.idle, read).await {
            None => Err(WireError::TimedOut),
            Some(Ok(0)) => Err(WireError::Closed),
            Some(Ok(read)) => {
                if read >= self.room / 2 {
                    self.room = (self.room * 2).min(READ);
                } else if read < self.room / 8 {
                    self.room = (self.room / 2).max(LITTLE);
                }
                self.pace.octets = self.pace.octets.saturating_add(read);
                if self.pace.octets >= PACE {
                    self.pace = Pace::default();
                } else if self.env.now().saturating_sub(since) >= self.idle {
                    return Err(WireError::TimedOut);
                }
                Ok(())
            }
            Some(Err(e)) => Err(e.into()),
        }
    }
}

/// The literal a line announces: where `{n}` begins, and n. Only in a place where a string may stand, and never in
/// the human text of a status response, which may end in anything.
pub(super) fn announced(line: &[u8]) -> Option<(usize, u64)> {
    let inner = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inner)?;
    let digits = inner[open + 1..].strip_suffix(b"+").unwrap_or(&inner[open + 1..]);
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let len = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let at = if open > 0 && line[open - 1] == b'~' { open - 1 } else { open };
    let place_for_a_string = at == 0 || matches!(line[at - 1], b' ' | b'(');
    (place_for_a_string && !is_status(line)).then_some((at, len))
}

/// `* OK text`, `A1 NO text`, `+ text`: a line whose end is human text.
fn is_status(line: &[u8]) -> bool {
    if line.starts_with(b"+") {
        return true;
    }
    let mut words = line.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let (tag, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|s| word.eq_ignore_ascii_case(s));
    // The rest of a response after a literal begins with a blank or a parenthesis, never with a tag.
    status && !line.starts_with(b" ") && tag.iter().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    fn wire(stream: impl Stream + 'static, limits: &Limits) -> Wire {
        Wire::new(Box::new(stream), Env::system(), Duration::from_secs(5), limits)
    }

    fn on_a_runtime<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test)
    }

    /// Sends `octets` cut at `cuts`, reads lines and literals back.
    async fn read_back(octets: Vec<u8>, cuts: Vec<usize>, count: usize) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let env = Env::system();
        let writer = env.spawn(async move {
            let mut from = 0;
            for cut in cuts {
                let to = (from + cut).min(octets.len());
                theirs.write_all(&octets[from..to]).await.expect("write");
                tokio::task::yield_now().await;
                from = to;
            }
            theirs.write_all(&octets[from..]).await.expect("write");
            theirs
        });
        let mut wire = wire(ours, &Limits::default());
        let mut read = Vec::new();
        for _ in 0..count {
            let line = wire.line().await.expect("line");
            let mut literal = None;
            if let Some(len) = line.literal {
                let mut octets = Vec::new();
                wire.literal(len, WHOLE, &mut |piece| octets.extend_from_slice(&piece))
                    .await
                    .expect("literal");
                literal = Some(octets);
            }
            read.push((line.text.to_vec(), literal));
        }
        writer.await.expect("writer");
        read
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn framing_does_not_depend_on_how_the_octets_arrive(
            parts in proptest::collection::vec(("[ -z]{0,40}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))), 1..12),
            cuts in proptest::collection::vec(0usize..50, 0..40),
        ) {
            let mut octets = Vec::new();
            let mut expected = Vec::new();
            for (text, literal) in &parts {
                let text = format!("* X{text} ");
                octets.extend_from_slice(text.as_bytes());
                if let Some(literal) = literal {
                    octets.extend_from_slice(format!("{{{}}}\r\n", literal.len()).as_bytes());
                    octets.extend_from_slice(literal);
                } else {
                    octets.extend_from_slice(b"\r\n");
                }
                expected.push((text.into_bytes(), literal.clone()));
            }
            let count = expected.len();
            prop_assert_eq!(on_a_runtime(read_back(octets, cuts, count)), expected);
        }
    }

    #[test]
    fn a_literal_is_announced_only_where_a_string_may_stand() {
        assert_eq!(announced(b"* 1 FETCH (BODY[] {12}"), Some((18, 12)));
        assert_eq!(announced(b"* LIST () \"/\" {3+}"), Some((14, 3)));
        assert_eq!(announced(b"* 1 FETCH (BINARY[] ~{12}"), Some((20, 12)));
        assert_eq!(announced(b" FLAGS () BODY[] {7}"), Some((17, 7)));
        for text in [
            &b"* OK hello {12}"[..],
            b"* BYE see you {12}",
            b"A1 NO too long {12}",
            b"+ go on {12}",
            b"* LIST () \"/\" name{12}",
            b"* LIST () \"/\" {}",
            b"* LIST () \"/\" {x}",
            b"* LIST () \"/\" {99999999999999999999}",
            b"}",
        ] {
            assert_eq!(announced(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        on_a_runtime(async {
            let (ours, mut theirs) = tokio::io::duplex(2 << 20);
            theirs.write_all(&vec![b'x'; (1 << 20) + (300 << 10)]).await.expect("write");
            let mut wire = wire(ours, &Limits::default());
            assert_eq!(wire.line().await, Err(WireError::Limit("one line")));
        });
    }

    /// A wire in virtual time whose peer sends `octets` octet by octet, so long apart.
    async fn trickled(octets: &'static [u8], apart: Duration) -> Wire {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let env = Env::system();
        let peer = env.clone();
        env.spawn(async move {
            for octet in octets {
                peer.sleep(apart).await;
                if theirs.write_all(&[*octet]).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        Wire::new(Box::new(ours), env, Duration::from_secs(120), &Limits::default())
    }

    #[tokio::test(start_paused = true)]
    async fn an_octet_every_ten_seconds_is_as_good_as_silence_but_short_lines_may_take_their_time() {
        let mut slow = trickled(&[b'x'; 1000], Duration::from_secs(10)).await;
        assert_eq!(slow.line().await, Err(WireError::TimedOut), "a line without end");
        let mut slow = trickled(&[b'x'; 1000], Duration::from_secs(10)).await;
        assert_eq!(slow.literal(1000, WHOLE, &mut |_| ()).await, Err(WireError::TimedOut), "a literal");
        let mut slow = trickled(&[b'x'; 1000], Duration::from_millis(100)).await;
        assert_eq!(slow.literal(1000, WHOLE, &mut |_| ()).await, Ok(()), "a narrow way, and whole in time");
        let mut searching =
            trickled(b"* OK wait\r\n* OK wait\r\n* OK wait\r\n", Duration::from_secs(9)).await;
        for _ in 0..3 {
            assert_eq!(searching.line().await.map(|line| line.text), Ok(Bytes::from_static(b"* OK wait")));
        }
    }

    #[test]
    fn silence_and_end_of_file_are_told_apart() {
        on_a_runtime(async {
            let (ours, theirs) = tokio::io::duplex(64);
            let mut wire =
                Wire::new(Box::new(ours), Env::system(), Duration::from_millis(20), &Limits::default());
            assert_eq!(wire.line().await, Err(WireError::TimedOut));
            drop(theirs);
            assert_eq!(wire.line().await, Err(WireError::Closed));
        });
    }
}
