//! COMPRESS=DEFLATE (RFC 4978) on the server's side: octets packed as they leave, unpacked as they come.

use bytes::BytesMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::wire::End;

/// Room made at once, in octets.
const ROOM: usize = 16 * 1024;

/// Both ways of a compressed connection.
pub(super) struct Squeeze {
    going: Compress,
    coming: Decompress,
}

impl Squeeze {
    pub fn new() -> Squeeze {
        Squeeze { going: Compress::new(Compression::default(), false), coming: Decompress::new(false) }
    }

    /// Packs octets so that the client can read them all.
    pub fn pack(&mut self, octets: &[u8]) -> Result<Vec<u8>, End> {
        let mut packed = Vec::new();
        let mut rest = octets;
        loop {
            packed.reserve(ROOM);
            let before = self.going.total_in();
            self.going.compress_vec(rest, &mut packed, FlushCompress::Sync).map_err(|_| End::Closed)?;
            rest = &rest[(self.going.total_in() - before) as usize..];
            if rest.is_empty() && packed.len() < packed.capacity() {
                return Ok(packed);
            }
        }
    }

    /// Unpacks what came, behind what is there already.
    pub fn unpack(&mut self, came: &[u8], to: &mut BytesMut) -> Result<(), End> {
        let mut rest = came;
        loop {
            let mut room = Vec::with_capacity(ROOM);
            let before = self.coming.total_in();
            let done = self.coming.decompress_vec(rest, &mut room, FlushDecompress::None);
            let taken = (self.coming.total_in() - before) as usize;
            rest = &rest[taken..];
            to.extend_from_slice(&room);
            match done {
                Ok(_) if taken > 0 || !room.is_empty() => {}
                // Nothing more can be made of it.
                Ok(_) => return Ok(()),
                Err(_) => return Err(End::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_however_it_arrives() {
        let (mut one, mut other) = (Squeeze::new(), Squeeze::new());
        let mut came = BytesMut::new();
        let texts = [
            b"a".repeat(100_000),
            b"b NOOP\r\n".to_vec(),
            Vec::new(),
            (0..=255).cycle().take(70_000).collect(),
        ];
        for text in &texts {
            for piece in one.pack(text).expect("packed").chunks(777) {
                other.unpack(piece, &mut came).expect("unpacked");
            }
            assert_eq!(came.split().to_vec(), *text);
        }
        assert!(other.unpack(b"in clear text", &mut came).is_err());
    }
}
