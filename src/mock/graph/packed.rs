//! Texts as they are held: long ones squeezed. A mock that is told to keep no contents still holds a header block of each
//! message, and that is most of what it holds.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use zstd::bulk::{Compressor, Decompressor};

/// Texts of so many octets are squeezed.
const LONG: usize = 256;
/// The sample holds so many octets at most.
const SAMPLE: usize = 8 << 10;
const LEVEL: i32 = 3;

/// The first long text of this process: header blocks are much alike, and each is told by how it differs from this.
static FIRST: OnceLock<Vec<u8>> = OnceLock::new();

thread_local! {
    static SQUEEZE: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// A text that is not changed.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Plain(Arc<str>),
    /// How long it is, and its octets squeezed.
    Squeezed(u32, Box<[u8]>),
}

impl Text {
    /// As it is.
    pub(super) fn plain(text: &str) -> Text {
        Text::Plain(text.into())
    }

    /// Squeezed if it is long and that makes it shorter.
    pub(super) fn new(text: &str) -> Text {
        match u32::try_from(text.len()) {
            Ok(length) if text.len() >= LONG => squeeze(text.as_bytes())
                .filter(|octets| octets.len() < text.len())
                .map_or_else(|| Text::plain(text), |octets| Text::Squeezed(length, octets.into())),
            _ => Text::plain(text),
        }
    }

    /// What it says.
    pub(super) fn read(&self) -> Cow<'_, str> {
        match self {
            Text::Plain(text) => Cow::Borrowed(text),
            Text::Squeezed(length, octets) => {
                let plain = expand(octets, *length as usize).unwrap_or_default();
                Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
            }
        }
    }
}

fn squeeze(plain: &[u8]) -> Option<Vec<u8>> {
    let first = FIRST.get_or_init(|| plain[..plain.len().min(SAMPLE)].to_vec());
    SQUEEZE.with_borrow_mut(|held| {
        if held.is_none() {
            *held = Compressor::with_dictionary(LEVEL, first).ok();
        }
        held.as_mut()?.compress(plain).ok()
    })
}

fn expand(octets: &[u8], length: usize) -> Option<Vec<u8>> {
    Decompressor::with_dictionary(FIRST.get()?).ok()?.decompress(octets, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_squeezed_reads_as_it_was() {
        let block =
            |n: u32| format!("Received: from a{n} by b.example; Mon\r\nSubject: ü {n}\r\n").repeat(20);
        for n in 0..50 {
            let text = Text::new(&block(n));
            assert!(matches!(&text, Text::Squeezed(_, octets) if octets.len() < 200), "{text:?}");
            assert_eq!(text.read(), block(n));
        }
        for short in ["", "x", &"y".repeat(LONG - 1)] {
            assert!(matches!(Text::new(short), Text::Plain(_)));
            assert_eq!(Text::new(short).read(), *short);
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_kept_as_it_is() {
        let mut state = 1u64;
        let text: String = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from_u32(0x4e00 + (state >> 50) as u32).unwrap()
            })
            .collect();
        assert_eq!(Text::new(&text).read(), text);
    }
}
