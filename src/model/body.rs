//! A message's octets: in memory or in a spooled file, always replayable, length and digest known before any store.

use std::any::Any;
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::digest::{Digest, Hasher};

/// Octets of one message. Cheap to clone; every clone reads the same octets.
#[derive(Clone)]
pub struct Body {
    place: Place,
    len: u64,
    digest: Digest,
}

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    /// An unlinked temporary file (0600): the system removes it when the last clone is dropped, also after `kill -9`.
    Spooled(Arc<File>, Option<Guard>),
}

/// What is held for as long as octets are.
type Guard = Arc<dyn Any + Send + Sync>;

/// Octets in memory, and what is held for them.
struct Guarded {
    octets: Bytes,
    _held: Guard,
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes, {:?})", self.len, self.digest)
    }
}

impl Body {
    /// From octets in memory.
    pub fn from_bytes(octets: Bytes) -> Body {
        let digest = Digest::of(&octets);
        Body { len: octets.len() as u64, digest, place: Place::Memory(octets) }
    }

    /// Holds `guard` (a share of a budget) until nobody holds octets of this body any more: it, its clones made from now
    /// on, and what was cut from them.
    #[must_use]
    pub fn guarded(self, guard: impl Any + Send + Sync) -> Body {
        let guard: Guard = Arc::new(guard);
        let place = match self.place {
            Place::Memory(octets) => Place::Memory(Bytes::from_owner(Guarded { octets, _held: guard })),
            Place::Spooled(file, earlier) => {
                let both =
                    earlier.map_or_else(|| guard.clone(), |earlier| Arc::new((earlier, guard.clone())));
                Place::Spooled(file, Some(both))
            }
        };
        Body { place, ..self }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// No octets at all?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BLAKE3 of the octets.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Do the octets lie in a file?
    pub fn is_spooled(&self) -> bool {
        matches!(self.place, Place::Spooled(..))
    }

    /// All octets. For a spooled body this reads the file into memory: the caller holds the budget for it.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn bytes(&self) -> io::Result<Bytes> {
        self.range(0, self.len)
    }

    /// `len` octets from `offset`; without a copy if they are in memory.
    ///
    /// # Errors
    /// The range is not inside the body, or reading the spool failed.
    pub fn range(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let (Some(end), Ok(size)) = (end, usize::try_from(len)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        match &self.place {
            Place::Memory(octets) => {
                let cut = |v: u64| usize::try_from(v).map_err(|_| io::ErrorKind::UnexpectedEof);
                Ok(octets.slice(cut(offset)?..cut(end)?))
            }
            Place::Spooled(file, _) => {
                let mut octets = vec![0; size];
                file.read_exact_at(&mut octets, offset)?;
                Ok(Bytes::from(octets))
            }
        }
    }

    /// Reads from the beginning.
    pub fn reader(&self) -> BodyReader {
        BodyReader { body: self.clone(), at: 0 }
    }
}

/// Reads a [`Body`] from the beginning, in pieces.
#[derive(Debug)]
pub struct BodyReader {
    body: Body,
    at: u64,
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.body.len - self.at;
        let want = (buf.len() as u64).min(left).min(256 * 1024);
        let piece = self.body.range(self.at, want)?;
        buf[..piece.len()].copy_from_slice(&piece);
        self.at += want;
        Ok(piece.len())
    }
}

/// Where bodies are put: in memory up to a size, above it in an unlinked file of the spool directory.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// Bodies larger than this go to the spool, in bytes.
    pub memory_limit: u64,
    /// No body may be larger than this, in bytes, whatever the source announces.
    pub max: u64,
    /// The spool directory; it must exist.
    pub spool: PathBuf,
}

impl Bodies {
    /// Starts a body whose source announces `announced` bytes (a hint for where to put it; what arrives counts).
    ///
    /// # Errors
    /// The spool file could not be made.
    pub fn begin(&self, announced: u64) -> io::Result<BodyWriter> {
        let place = if announced > self.memory_limit {
            Partial::Spooled(spool_file(&self.spool)?)
        } else {
            // The announced size is foreign: never allocate more than the memory limit on its word.
            Partial::Memory(Vec::with_capacity(usize::try_from(announced).unwrap_or(0)))
        };
        Ok(BodyWriter { limits: self.clone(), place, hasher: Hasher::new(), len: 0 })
    }
}

/// A file without a name, for us alone. A new file's mode is what the umask leaves of 0666; nothing is in it yet.
fn spool_file(dir: &Path) -> io::Result<File> {
    let file = tempfile::tempfile_in(dir)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

enum Partial {
    Memory(Vec<u8>),
    Spooled(File),
}

/// A body being received.
pub struct BodyWriter {
    limits: Bodies,
    place: Partial,
    hasher: Hasher,
    len: u64,
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyWriter({} bytes)", self.len)
    }
}

impl BodyWriter {
    /// Length so far, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the body.
    ///
    /// # Errors
    /// The spool could not be rewound.
    pub fn finish(self) -> io::Result<Body> {
        let place = match self.place {
            Partial::Memory(octets) => Place::Memory(Bytes::from(octets)),
            Partial::Spooled(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Place::Spooled(Arc::new(file), None)
            }
        };
        Ok(Body { place, len: self.len, digest: self.hasher.finish() })
    }
}

impl Write for BodyWriter {
    /// Adds octets. Refuses ([`io::ErrorKind::FileTooLarge`]) what would go above the largest body allowed.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let len = self.len + octets.len() as u64;
        if len > self.limits.max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Partial::Memory(memory) = &mut self.place
            && len > self.limits.memory_limit
        {
            // The source announced less than it sends: move over to the spool.
            let mut file = spool_file(&self.limits.spool)?;
            file.write_all(memory)?;
            self.place = Partial::Spooled(file);
        }
        match &mut self.place {
            Partial::Memory(memory) => memory.extend_from_slice(octets),
            Partial::Spooled(file) => file.write_all(octets)?,
        }
        self.hasher.update(octets);
        self.len = len;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(memory_limit: u64, max: u64) -> Bodies {
        Bodies { memory_limit, max, spool: std::env::temp_dir() }
    }

    #[test]
    fn a_body_reads_the_same_from_memory_and_from_the_spool() {
        let octets: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        for (limit, spooled) in [(1 << 20, false), (1000, true)] {
            let mut w = bodies(limit, 1 << 20).begin(10).expect("begin");
            octets.chunks(777).for_each(|c| w.write_all(c).expect("write"));
            let body = w.finish().expect("finish");
            assert_eq!(body.is_spooled(), spooled);
            assert_eq!(body.digest(), Digest::of(&octets));
            assert_eq!(body.bytes().expect("bytes"), octets);
            assert_eq!(body.range(99_990, 10).expect("range"), octets[99_990..]);
            assert!(body.range(99_990, 11).is_err());
            let mut read = Vec::new();
            body.reader().read_to_end(&mut read).expect("read");
            assert_eq!(read, octets);
        }
    }

    #[test]
    fn what_guards_a_body_is_let_go_with_the_last_of_its_octets() {
        for memory_limit in [1 << 20, 10] {
            let guard = Arc::new(());
            let mut w = bodies(memory_limit, 1 << 20).begin(10).expect("begin");
            w.write_all(&[7; 1000]).expect("write");
            let body = w.finish().expect("finish").guarded(guard.clone()).guarded(guard.clone());
            assert_eq!(Arc::strong_count(&guard), 3);
            let (clone, piece) = (body.clone(), body.range(10, 10).expect("range"));
            drop(body);
            assert_eq!(Arc::strong_count(&guard), 3, "a clone holds it");
            let spooled = clone.is_spooled();
            drop(clone);
            // What was read from a file lies beside it.
            assert_eq!(Arc::strong_count(&guard), if spooled { 1 } else { 3 });
            assert_eq!(&piece[..], &[7; 10]);
            drop(piece);
            assert_eq!(Arc::strong_count(&guard), 1);
        }
    }

    #[test]
    fn a_spooled_body_has_no_name_and_is_for_us_alone() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("made");
        let bodies = Bodies { memory_limit: 10, max: 1 << 20, spool: dir.path().to_owned() };
        // Announced as large, and found to be.
        for announced in [1_000, 0] {
            let mut w = bodies.begin(announced).expect("begin");
            w.write_all(&[7; 1_000]).expect("write");
            let body = w.finish().expect("finish");
            let Place::Spooled(file, _) = &body.place else { panic!("not in the spool") };
            let meta = file.metadata().expect("told");
            assert_eq!((meta.mode() & 0o777, meta.nlink()), (0o600, 0));
            assert_eq!(std::fs::read_dir(dir.path()).expect("read").count(), 0);
        }
    }

    #[test]
    fn an_announced_size_is_not_believed() {
        let mut w = bodies(1000, 2000).begin(u64::MAX).expect("begin");
        assert!(w.write_all(&[0; 2001]).is_err());
        assert!(w.write_all(&[0; 2000]).is_ok());
    }
}
