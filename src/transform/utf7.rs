//! Modified UTF-7: how IMAP servers write folder names, on the wire and on disk (RFC 3501 §5.1.3).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Writes a name in modified UTF-7. ASCII other than `&` stays as it is, control characters are encoded.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut run: Vec<u16> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            flush(&mut out, &mut run);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut pair = [0u16; 2];
            run.extend_from_slice(c.encode_utf16(&mut pair));
        }
    }
    flush(&mut out, &mut run);
    out
}

fn flush(out: &mut String, run: &mut Vec<u16>) {
    if run.is_empty() {
        return;
    }
    out.push('&');
    let (mut bits, mut held) = (0u32, 0u32);
    for unit in run.drain(..) {
        bits = (bits << 16) | u32::from(unit);
        held += 16;
        while held >= 6 {
            held -= 6;
            out.push(char::from(ALPHABET[(bits >> held & 63) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.push(char::from(ALPHABET[(bits << (6 - held) & 63) as usize]));
    }
    out.push('-');
}

/// Reads modified UTF-7, strictly: `None` for anything [`encode`] would not have written, so that a raw UTF-8 name
/// is told apart.
pub fn decode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(amp) = rest.find('&') {
        out.push_str(&rest[..amp]);
        let end = rest[amp..].find('-')? + amp;
        let coded = &rest[amp + 1..end];
        if coded.is_empty() {
            out.push('&');
        } else {
            out.push_str(&decode_run(coded)?);
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    (encode(&out) == text).then_some(out)
}

fn decode_run(coded: &str) -> Option<String> {
    let (mut bits, mut held) = (0u32, 0u32);
    let mut units = Vec::with_capacity(coded.len());
    for byte in coded.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == byte)?;
        bits = (bits << 6) | u32::try_from(digit).ok()?;
        held += 6;
        if held >= 16 {
            held -= 16;
            units.push(u16::try_from(bits >> held & 0xffff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_written_as_the_rfc_shows() {
        // The example of RFC 3501 §5.1.3.
        assert_eq!(encode("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(encode("Entwürfe"), "Entw&APw-rfe");
        assert_eq!(encode("R&D"), "R&-D");
        assert_eq!(encode("📁"), "&2D3cwQ-");
    }

    #[test]
    fn what_an_encoder_would_not_write_is_not_modified_utf7() {
        for text in ["A&B", "&", "&AGE-", "&U,BTFw", "Entwürfe", "&AOQ-&APY-", "&2D0-", "&!!-", "x&AP-"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in any::<String>()) {
            let coded = encode(&name);
            prop_assert!(coded.is_ascii());
            prop_assert_eq!(decode(&coded), Some(name));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in "[&A-Z,+\\-é]{0,20}") {
            let _ = decode(&text);
        }
    }
}
