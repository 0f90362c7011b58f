//! Line ends: mail in files has LF, mail on the wire has CRLF (RFC 5322 §2.1).

use std::io::{self, Write};

/// Writes octets on with every bare LF made CRLF. An existing CRLF stays, a bare CR stays: the same octets come out
/// however the input is cut, and a second run changes nothing.
#[derive(Debug)]
pub struct ToCrlf<W> {
    out: W,
    after_cr: bool,
    scratch: Vec<u8>,
}

impl<W: Write> ToCrlf<W> {
    /// Around a writer.
    pub fn new(out: W) -> ToCrlf<W> {
        ToCrlf { out, after_cr: false, scratch: Vec::new() }
    }

    /// The writer again.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for ToCrlf<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.scratch.clear();
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', octets) {
            let cr = if at == 0 { self.after_cr } else { octets[at - 1] == b'\r' };
            if !cr {
                self.scratch.extend_from_slice(&octets[from..at]);
                self.scratch.push(b'\r');
                from = at;
            }
        }
        self.scratch.extend_from_slice(&octets[from..]);
        if let Some(last) = octets.last() {
            self.after_cr = *last == b'\r';
        }
        self.out.write_all(&self.scratch)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes octets on with every CRLF made LF. A bare CR stays.
#[derive(Debug)]
pub struct ToLf<W> {
    out: W,
    held_cr: bool,
    scratch: Vec<u8>,
}

impl<W: Write> ToLf<W> {
    /// Around a writer.
    pub fn new(out: W) -> ToLf<W> {
        ToLf { out, held_cr: false, scratch: Vec::new() }
    }

    /// Writes what is held back; gives the writer again.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        if self.held_cr {
            self.out.write_all(b"\r")?;
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for ToLf<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.scratch.clear();
        for byte in octets {
            if self.held_cr && *byte != b'\n' {
                self.scratch.push(b'\r');
            }
            self.held_cr = *byte == b'\r';
            if !self.held_cr {
                self.scratch.push(*byte);
            }
        }
        self.out.write_all(&self.scratch)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// All of `octets` with CRLF line ends.
pub fn to_crlf(octets: &[u8]) -> Vec<u8> {
    let mut writer = ToCrlf::new(Vec::with_capacity(octets.len() + octets.len() / 32));
    // Writing to memory does not fail.
    let _ = writer.write_all(octets);
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bare_line_feeds_get_a_return_and_nothing_else_changes() {
        assert_eq!(to_crlf(b"a\nb\r\nc\rd\n\n"), b"a\r\nb\r\nc\rd\r\n\r\n");
        assert_eq!(to_crlf(b""), b"");
        assert_eq!(to_crlf(b"\0\xff\r"), b"\0\xff\r");
    }

    proptest! {
        #[test]
        fn the_cuts_of_the_input_do_not_matter(
            octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')], 0..40),
            cut in 1usize..7,
        ) {
            let mut crlf = ToCrlf::new(Vec::new());
            let mut lf = ToLf::new(Vec::new());
            for piece in octets.chunks(cut) {
                crlf.write_all(piece).expect("memory");
                lf.write_all(piece).expect("memory");
            }
            let crlf = crlf.into_inner();
            prop_assert_eq!(&crlf, &to_crlf(&octets));
            prop_assert_eq!(&to_crlf(&crlf), &crlf);
            let text = String::from_utf8(octets).expect("ascii");
            prop_assert_eq!(lf.finish().expect("memory"), text.replace("\r\n", "\n").into_bytes());
        }
    }
}
