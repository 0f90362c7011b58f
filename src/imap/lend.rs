//! The wire, lent to async-imap one line at a time.
//!
//! async-imap reads ahead and drops what it read when it gives the stream back. Handed no octet beyond the line end it
//! is waiting for, it has nothing to drop. It also grows its buffer to whatever a literal announces (up to 512 MiB):
//! a login has no use for literals, so a line that announces one ends the loan, as does too much text.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::WireError;
use super::wire::{Wire, announced};

/// Text a login may take, in bytes.
const BUDGET: usize = 256 << 10;

/// A borrowed [`Wire`] that reads to the end of a line and no further.
pub(super) struct Lent<'a> {
    wire: &'a mut Wire,
    line: BytesMut,
    budget: usize,
    /// The last whole line handed out: after a login, the tagged answer.
    pub last: Vec<u8>,
    /// Why the loan ended early, if it did.
    pub failure: Option<WireError>,
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

impl<'a> Lent<'a> {
    pub fn new(wire: &'a mut Wire) -> Lent<'a> {
        Lent { wire, line: BytesMut::new(), budget: BUDGET, last: Vec::new(), failure: None }
    }

    fn fail<T>(&mut self, why: WireError) -> Poll<io::Result<T>> {
        self.failure = Some(why);
        Poll::Ready(Err(io::Error::other("the loan of the wire has ended")))
    }
}

impl AsyncRead for Lent<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.line.is_empty() {
            match this.wire.buffered_line() {
                Err(e) => return this.fail(e),
                Ok(Some(line)) => {
                    let text = line.trim_ascii_end();
                    if announced(text).is_some() {
                        return this.fail(WireError::Limit("a literal during login"));
                    }
                    let Some(left) = this.budget.checked_sub(line.len()) else {
                        return this.fail(WireError::Limit("the answer to a login"));
                    };
                    this.budget = left;
                    this.last = text.to_vec();
                    this.line = line;
                }
                Ok(None) => {
                    let mut room = [0u8; 4096];
                    let mut room = ReadBuf::new(&mut room);
                    ready!(Pin::new(&mut this.wire.stream).poll_read(cx, &mut room))?;
                    if room.filled().is_empty() {
                        this.failure = Some(WireError::Closed);
                        return Poll::Ready(Ok(()));
                    }
                    this.wire.buffer.extend_from_slice(room.filled());
                }
            }
        }
        let piece = this.line.len().min(buf.remaining());
        buf.put_slice(&this.line[..piece]);
        this.line.advance(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire.stream).poll_shutdown(cx)
    }
}
