//! Names of mailboxes on the wire: modified UTF-7 (RFC 3501 §5.1.3), or what servers really send.

use encodify::utf7;

/// A name as sent → Unicode. Modified UTF-7 where it is that; a name that is not stays as it stands, octet for octet
/// (UTF-8 as UTF-8, anything else as Latin-1), so that nothing is lost and two names stay two.
pub fn decode(wire: &[u8]) -> String {
    if let Ok(text) = utf7::IMAP.decode(wire) {
        return text;
    }
    match std::str::from_utf8(wire) {
        Ok(text) => {
            // Sloppy encoders (unneeded shifts, missing `-`) still mean Unicode; accept them only if nothing was
            // replaced on the way.
            let lenient = utf7::IMAP.lenient().decode(wire);
            lenient.ok().filter(|t| !t.contains('\u{fffd}')).unwrap_or_else(|| text.to_owned())
        }
        Err(_) => wire.iter().map(|b| char::from(*b)).collect(),
    }
}

/// Unicode → a name as sent.
pub fn encode(text: &str) -> Vec<u8> {
    utf7::IMAP.encode(text).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_decoded_as_the_rfc_shows() {
        assert_eq!(decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"), "~peter/mail/台北/日本語");
        assert_eq!(decode(b"Entw&APw-rfe"), "Entwürfe");
        assert_eq!(decode(b"Tom &- Jerry"), "Tom & Jerry");
        assert_eq!(encode("Tom & Jerry"), b"Tom &- Jerry");
        assert_eq!(decode(b"&2D3eAA-"), "😀");
    }

    #[test]
    fn what_is_no_modified_utf_7_stays_as_it_stands() {
        assert_eq!(decode("Gelöscht".as_bytes()), "Gelöscht");
        assert_eq!(decode(b"Gel\xf6scht"), "Gelöscht");
        assert_eq!(decode(b"R&D!"), "R&D!");
        assert_eq!(decode(b"&2D0-"), "&2D0-", "half a surrogate pair");
        assert_eq!(decode(b"a&"), "a&");
    }

    proptest! {
        #[test]
        fn every_name_survives_the_wire(name in "\\PC{0,40}|[&+,a-c/.\\-]{0,20}|.{0,20}") {
            prop_assert_eq!(decode(&encode(&name)), name);
        }

        #[test]
        fn no_octets_can_hurt_the_decoder(wire in proptest::collection::vec(any::<u8>(), 0..60)) {
            let text = decode(&wire);
            prop_assert!(wire.is_empty() || !text.is_empty());
        }
    }
}
