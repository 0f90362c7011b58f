//! Folder names on the wire: modified UTF-7 (RFC 3501 §5.1.3), and base64 for it and for SASL.
//!
//! Written here and not shared with the client on purpose: a mistake made on both sides would hide itself.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The wire form of a name: printable ASCII stays, `&` becomes `&-`, all else is UTF-16BE in modified base64.
pub fn encode(name: &str) -> String {
    fn shift_out(run: &mut Vec<u8>, wire: &mut String) {
        if !run.is_empty() {
            wire.push('&');
            wire.push_str(&base64(run).trim_end_matches('=').replace('/', ","));
            wire.push('-');
            run.clear();
        }
    }
    let mut wire = String::with_capacity(name.len());
    let mut run: Vec<u8> = Vec::new();
    for c in name.chars() {
        if (' '..='~').contains(&c) {
            shift_out(&mut run, &mut wire);
            wire.push(c);
            if c == '&' {
                wire.push('-');
            }
        } else {
            let mut units = [0_u16; 2];
            for unit in c.encode_utf16(&mut units) {
                run.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    shift_out(&mut run, &mut wire);
    wire
}

/// The name behind a wire form, or `None` where the form is not the only right one: octets outside printable
/// ASCII, an unclosed shift, printable ASCII in base64, two shifts in a row, lone surrogates, left-over bits.
pub fn decode(wire: &[u8]) -> Option<String> {
    let mut name = String::with_capacity(wire.len());
    let mut rest = wire;
    let mut shifted_before = false;
    while let Some((&first, tail)) = rest.split_first() {
        if !(b' '..=b'~').contains(&first) {
            return None;
        }
        if first != b'&' {
            name.push(first as char);
            rest = tail;
            shifted_before = false;
            continue;
        }
        let end = memchr::memchr(b'-', tail)?;
        let (shift, after) = (&tail[..end], &tail[end + 1..]);
        rest = after;
        if shift.is_empty() {
            name.push('&');
            shifted_before = false;
            continue;
        }
        if shifted_before {
            return None;
        }
        shifted_before = true;
        let text: Vec<u8> = shift.iter().map(|&b| if b == b',' { b'/' } else { b }).collect();
        if shift.contains(&b'/') || shift.contains(&b'=') {
            return None;
        }
        let octets = unbase64_unpadded(&text)?;
        if octets.len() % 2 != 0 {
            return None;
        }
        let units = octets.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]]));
        for c in char::decode_utf16(units) {
            let c = c.ok()?;
            if (' '..='~').contains(&c) || c == '\0' {
                return None;
            }
            name.push(c);
        }
    }
    Some(name)
}

/// Standard base64 with padding.
pub fn base64(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            if i <= group.len() {
                text.push(STANDARD[(bits >> (18 - 6 * i)) as usize & 63] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Strict standard base64: padding required, left-over bits zero.
pub fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    unbase64_unpadded(bare)
}

fn unbase64_unpadded(text: &[u8]) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &b in text {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0 && held < 6).then_some(octets)
}

/// Does `name` match the LIST pattern (`*` is anything, `%` anything but the separator)? Linear in the product of
/// the lengths, so that a hostile pattern costs no more than its size.
pub fn matches(pattern: &str, name: &str, separator: char) -> bool {
    let name: Vec<char> = name.chars().collect();
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for p in pattern.chars() {
        let mut next = vec![false; name.len() + 1];
        match p {
            '*' | '%' => {
                let mut open = false;
                for at in 0..=name.len() {
                    open |= reach[at];
                    next[at] = open;
                    if p == '%' && name.get(at) == Some(&separator) {
                        open = false;
                    }
                }
            }
            literal => {
                for at in 0..name.len() {
                    next[at + 1] = reach[at] && name[at] == literal;
                }
            }
        }
        reach = next;
    }
    reach[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_standard_and_awkward_ones_travel_both_ways() {
        for (name, wire) in [
            ("INBOX", "INBOX"),
            ("A&B", "A&-B"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("📎", "&2D3czg-"),
            ("tab\there", "tab&AAk-here"),
        ] {
            assert_eq!(encode(name), wire);
            assert_eq!(decode(wire.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn every_other_spelling_of_a_name_is_refused() {
        for wire in [
            "A&B",
            "&Jjo!",
            "&U,BTFw-&ZeVnLIqe-",
            "&AGE-",
            "&2D0-",
            "&U,BTF-",
            "Entw\u{fc}rfe",
            "&AAA-",
            "&/w-",
        ] {
            assert_eq!(decode(wire.as_bytes()), None, "{wire}");
        }
    }

    #[test]
    fn base64_is_strict() {
        for text in ["", "f", "fo", "foo", "foob"] {
            assert_eq!(unbase64(base64(text.as_bytes()).as_bytes()).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(unbase64(b"Zg="), None);
        assert_eq!(unbase64(b"Zh=="), None);
        assert_eq!(unbase64(b"Z==="), None);
    }

    #[test]
    fn percent_stops_at_the_separator_and_star_does_not() {
        assert!(matches("*", "a/b", '/'));
        assert!(!matches("%", "a/b", '/'));
        assert!(matches("%/%", "a/b", '/'));
        assert!(matches("a%", "a", '/'));
        assert!(!matches("a/%", "a", '/'));
        assert!(matches("*b*", "a/b/c", '/'));
    }
}
