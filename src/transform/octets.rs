//! Octets of a message or of a part of it, where they lie: in memory, or in the spool.
//!
//! A part is a slice. A large message stays in its file: what is needed of it is read when it is needed, a window at a
//! time, so that building and uploading hold a few megabytes of it and not all.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::model::Body;

/// How much of a spooled message is read at a time, in bytes.
pub const WINDOW: usize = 1 << 20;

/// Octets, replayable. Cheap to clone and to slice; no `Debug` that would show them.
#[derive(Clone)]
pub struct Octets {
    place: Place,
    from: usize,
    len: usize,
}

#[derive(Clone)]
enum Place {
    Memory(Bytes),
    Spooled(Body),
}

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Octets({} bytes)", self.len)
    }
}

impl From<Bytes> for Octets {
    fn from(octets: Bytes) -> Octets {
        Octets { from: 0, len: octets.len(), place: Place::Memory(octets) }
    }
}

impl Octets {
    /// All octets of a message.
    ///
    /// # Errors
    /// It is larger than this machine can address, or cannot be read.
    pub fn of(body: &Body) -> io::Result<Octets> {
        if !body.is_spooled() {
            return Ok(body.bytes()?.into());
        }
        let len = usize::try_from(body.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(Octets { place: Place::Spooled(body.clone()), from: 0, len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No octets?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, if they lie in memory: then nothing is read and nothing can fail.
    pub fn in_memory(&self) -> Option<Bytes> {
        match &self.place {
            Place::Memory(octets) => Some(octets.slice(self.from..self.from + self.len)),
            Place::Spooled(_) => None,
        }
    }

    /// A part; a range that goes beyond the end is cut to what is there.
    pub fn slice(&self, range: Range<usize>) -> Octets {
        let end = range.end.min(self.len);
        let begin = range.start.min(end);
        Octets { place: self.place.clone(), from: self.from + begin, len: end - begin }
    }

    /// Reads a part into memory; a range that goes beyond the end is cut to what is there.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn read(&self, range: Range<usize>) -> io::Result<Bytes> {
        let end = range.end.min(self.len);
        let begin = range.start.min(end);
        match &self.place {
            Place::Memory(octets) => Ok(octets.slice(self.from + begin..self.from + end)),
            Place::Spooled(body) => body.range((self.from + begin) as u64, (end - begin) as u64),
        }
    }

    /// Reads all into memory.
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn load(&self) -> io::Result<Bytes> {
        self.read(0..self.len)
    }

    /// The windows they are read in, in order: all at once if they lie in memory.
    pub fn windows(&self) -> impl Iterator<Item = io::Result<Bytes>> + '_ {
        let step = match self.place {
            Place::Memory(_) => self.len.max(1),
            Place::Spooled(_) => WINDOW,
        };
        (0..self.len).step_by(step).map(move |at| self.read(at..at + step))
    }

    /// Is there anything but white space?
    ///
    /// # Errors
    /// Reading the spool failed.
    pub fn any_readable(&self) -> io::Result<bool> {
        for window in self.windows() {
            if window?.iter().any(|b| !b.is_ascii_whitespace()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;
    use crate::model::Bodies;

    /// The same octets in a spooled file.
    pub(crate) fn spooled(octets: &[u8]) -> Octets {
        let bodies = Bodies { memory_limit: 0, max: 1 << 30, spool: std::env::temp_dir() };
        let mut writer = bodies.begin(1).expect("a file");
        writer.write_all(octets).expect("written");
        let body = writer.finish().expect("finished");
        assert!(body.is_spooled());
        Octets::of(&body).expect("readable")
    }

    #[test]
    fn a_part_reads_the_same_from_memory_and_from_the_spool() {
        let octets: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        for all in [Octets::from(Bytes::from(octets.clone())), spooled(&octets)] {
            assert_eq!(all.len(), octets.len());
            let part = all.slice(1_000_001..2_500_000).slice(10..1_400_000);
            assert_eq!(part.load().expect("read"), octets[1_000_011..2_400_001]);
            assert_eq!(part.read(5..9).expect("read"), octets[1_000_016..1_000_020]);
            let joined: Vec<u8> = part.windows().flat_map(|w| w.expect("read").to_vec()).collect();
            assert_eq!(joined, octets[1_000_011..2_400_001]);
            assert_eq!(all.read(2_999_999..9_000_000).expect("cut").len(), 1);
            assert!(all.slice(3..3).is_empty() && all.slice(3..3).windows().next().is_none());
        }
        assert!(!spooled(b" \r\n\t").any_readable().expect("read"));
        assert!(spooled(b" \r\nx").any_readable().expect("read"));
    }
}
