//! Digests of message octets.

use std::fmt;

/// BLAKE3 of a message's octets as the source sent them (after the source's own declared transform, e.g. the
/// line ends of a Maildir file).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `octets`.
    pub fn of(octets: &[u8]) -> Digest {
        Digest(*blake3::hash(octets).as_bytes())
    }

    /// From stored bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes as a number, never 0: enough to tell apart what is alike in size and date too.
    pub fn beginning(&self) -> u64 {
        self.0.iter().take(8).fold(0u64, |v, b| v << 8 | u64::from(*b)).max(1)
    }

    /// Lower-case hexadecimal, 64 characters.
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", &self.to_hex()[..16])
    }
}

/// Builds a [`Digest`] from pieces.
#[derive(Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// An empty one.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Adds octets.
    pub fn update(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// The digest of everything added.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}
