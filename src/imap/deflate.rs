//! COMPRESS=DEFLATE (RFC 4978): a stream whose octets travel as raw deflate, both ways.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Stream;

/// Octets read from below at once, and written at most before the rest waits, in bytes.
const PIECE: usize = 64 << 10;

/// A compressed stream over another.
pub(super) struct Deflated {
    below: Box<dyn Stream>,
    inflate: Decompress,
    deflate: Compress,
    /// Compressed, came and not yet inflated.
    came: BytesMut,
    /// Compressed, not yet sent.
    going: BytesMut,
    /// Something was written since the last flush.
    unflushed: bool,
}

impl fmt::Debug for Deflated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflated")
    }
}

impl Deflated {
    /// Compresses from now on. `came`: what was read already, which is compressed.
    pub fn new(below: Box<dyn Stream>, came: BytesMut) -> Deflated {
        Deflated {
            below,
            inflate: Decompress::new(false),
            // Mail is mostly base64: more effort finds little more, and what we send is commands.
            deflate: Compress::new(Compression::fast(), false),
            came,
            going: BytesMut::new(),
            unflushed: false,
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.going.is_empty() {
            match ready!(Pin::new(&mut self.below).poll_write(cx, &self.going))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.going.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Compresses `octets` and says how many were taken; with `flush` also what the compressor holds back.
    fn compress(&mut self, octets: &[u8], flush: FlushCompress) -> io::Result<usize> {
        let mut room = [0u8; 8 << 10];
        let mut taken = 0;
        loop {
            let (before_in, before_out) = (self.deflate.total_in(), self.deflate.total_out());
            let rest = octets.get(taken..).unwrap_or_default();
            self.deflate.compress(rest, &mut room, flush).map_err(io::Error::other)?;
            let made = usize::try_from(self.deflate.total_out() - before_out).unwrap_or(0);
            taken += usize::try_from(self.deflate.total_in() - before_in).unwrap_or(0);
            self.going.extend_from_slice(room.get(..made).unwrap_or_default());
            // With room to spare nothing is held back any more.
            if made < room.len() && taken >= octets.len() {
                return Ok(taken);
            }
            if made == 0 && rest.is_empty() {
                return Ok(taken);
            }
        }
    }
}

impl AsyncRead for Deflated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let (before_in, before_out) = (this.inflate.total_in(), this.inflate.total_out());
            let status =
                this.inflate.decompress(&this.came, buf.initialize_unfilled(), FlushDecompress::None);
            let taken = usize::try_from(this.inflate.total_in() - before_in).unwrap_or(0);
            let made = usize::try_from(this.inflate.total_out() - before_out).unwrap_or(0);
            this.came.advance(taken);
            if status.is_err() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            buf.advance(made);
            match status {
                Ok(_) if made > 0 || buf.remaining() == 0 => return Poll::Ready(Ok(())),
                Ok(Status::StreamEnd) => return Poll::Ready(Ok(())), // as an end of file
                _ if taken > 0 && !this.came.is_empty() => continue,
                _ => {}
            }
            this.came.reserve(PIECE);
            let mut below = [0u8; 16 << 10];
            let mut below = ReadBuf::new(&mut below);
            ready!(Pin::new(&mut this.below).poll_read(cx, &mut below))?;
            if below.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.came.extend_from_slice(below.filled());
        }
    }
}

impl AsyncWrite for Deflated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.going.len() >= PIECE {
            ready!(this.send(cx))?;
        }
        let piece = octets.get(..octets.len().min(PIECE)).unwrap_or_default();
        this.unflushed = true;
        Poll::Ready(this.compress(piece, FlushCompress::None))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unflushed {
            this.compress(&[], FlushCompress::Sync)?;
            this.unflushed = false;
        }
        ready!(this.send(cx))?;
        Pin::new(&mut this.below).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.below).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::script::on_a_runtime;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_goes_in_comes_out_however_it_is_cut(
            parts in proptest::collection::vec(
                (any::<u8>(), prop_oneof![0usize..300, 60_000usize..200_000], any::<bool>()), 1..8),
        ) {
            let parts: Vec<(Vec<u8>, bool)> = parts
                .into_iter()
                .map(|(seed, len, flush)| {
                    let mut dice = fastrand::Rng::with_seed(u64::from(seed));
                    // Half of them cannot be compressed.
                    let octets = (0..len).map(|_| if seed % 2 == 0 { dice.u8(..) } else { b'a' + dice.u8(..3) });
                    (octets.collect(), flush)
                })
                .collect();
            let expected: Vec<u8> = parts.iter().flat_map(|(octets, _)| octets.clone()).collect();
            let read = on_a_runtime(async {
                let (ours, theirs) = tokio::io::duplex(1000);
                let mut ours = Deflated::new(Box::new(ours), BytesMut::new());
                let mut theirs = Deflated::new(Box::new(theirs), BytesMut::new());
                let write = async {
                    for (octets, flush) in &parts {
                        ours.write_all(octets).await.expect("write");
                        if *flush {
                            ours.flush().await.expect("flush");
                        }
                    }
                    ours.flush().await.expect("flush");
                };
                let mut read = vec![0; expected.len()];
                let (_, end) = futures_util::future::join(write, theirs.read_exact(&mut read)).await;
                end.expect("all came");
                read
            });
            prop_assert!(read == expected);
        }
    }

    #[test]
    fn what_is_not_deflate_is_an_error_and_not_octets() {
        on_a_runtime(async {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            let mut ours = Deflated::new(Box::new(ours), BytesMut::new());
            theirs.write_all(b"* OK this is in clear text\r\n").await.expect("write");
            drop(theirs);
            let mut read = Vec::new();
            let end = ours.read_to_end(&mut read).await;
            assert!(end.is_err(), "{read:?}");
        });
    }
}
