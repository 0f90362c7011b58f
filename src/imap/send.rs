//! Writing: few system calls, message octets straight from where they lie.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::WireError;
use super::command::{Chunk, Piece};
use crate::env::Env;
use crate::model::Body;

/// Pieces of a spooled message, in bytes.
const SPOOLED: u64 = 64 << 10;

/// What is smaller is gathered and written together, in bytes.
const GATHERED: usize = 16 << 10;

/// Writes one piece of a command and flushes it. `idle` bounds every single write: a peer that takes nothing for that
/// long is gone.
pub(super) async fn piece<W: AsyncWrite + Unpin>(
    writer: &mut W,
    env: &Env,
    idle: Duration,
    piece: Piece,
) -> Result<(), WireError> {
    let mut out = Out { writer, env, idle, gathered: Zeroizing::new(Vec::new()) };
    for chunk in piece.chunks {
        match chunk {
            Chunk::Octets(octets) => out.put(&octets).await?,
            Chunk::Body(body, begun) => {
                begun.begins();
                out.body(&body).await?;
            }
        }
    }
    out.end().await
}

struct Out<'a, W> {
    writer: &'a mut W,
    env: &'a Env,
    idle: Duration,
    /// May hold a password: wiped.
    gathered: Zeroizing<Vec<u8>>,
}

impl<W: AsyncWrite + Unpin> Out<'_, W> {
    async fn put(&mut self, octets: &[u8]) -> Result<(), WireError> {
        if octets.len() < GATHERED {
            self.gathered.extend_from_slice(octets);
            if self.gathered.len() < 4 * GATHERED {
                return Ok(());
            }
            return self.write_gathered().await;
        }
        self.write_gathered().await?;
        self.write(octets).await
    }

    async fn body(&mut self, body: &Body) -> Result<(), WireError> {
        let piece = if body.is_spooled() { SPOOLED } else { body.len() };
        let mut at = 0;
        while at < body.len() {
            let len = piece.min(body.len() - at);
            let octets = if body.is_spooled() {
                self.env.blocking(|| body.range(at, len))
            } else {
                body.range(at, len)
            };
            self.put(&octets.map_err(|e| WireError::Spool(e.kind()))?).await?;
            at += len;
        }
        Ok(())
    }

    async fn write_gathered(&mut self) -> Result<(), WireError> {
        let gathered = std::mem::replace(&mut self.gathered, Zeroizing::new(Vec::new()));
        self.write(&gathered).await
    }

    async fn write(&mut self, mut octets: &[u8]) -> Result<(), WireError> {
        while !octets.is_empty() {
            let written = self.env.within(self.idle, self.writer.write(octets)).await;
            match written.ok_or(WireError::TimedOut)?? {
                0 => return Err(WireError::Closed),
                n => octets = octets.get(n..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), WireError> {
        self.write_gathered().await?;
        self.env
            .within(self.idle, self.writer.flush())
            .await
            .ok_or(WireError::TimedOut)?
            .map_err(WireError::from)
    }
}
