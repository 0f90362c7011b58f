use super::*;
use proptest::prelude::*;

/// The octets of each piece of a command, if it can be sent.
fn encoded(command: Command, literals: Literals) -> Option<Vec<Vec<u8>>> {
    let octets = |chunk: Chunk| match chunk {
        Chunk::Octets(octets) => octets.to_vec(),
        Chunk::Body(body, _) => body.bytes().expect("readable").to_vec(),
    };
    let pieces = command.encode("m1", literals).ok()?;
    Some(pieces.into_iter().map(|p| p.chunks.into_iter().flat_map(octets).collect()).collect())
}

fn sent(command: Command, non_sync: bool) -> Vec<Vec<u8>> {
    let literals = if non_sync { Literals::Plus } else { Literals::Synchronising };
    encoded(command, literals).expect("sendable")
}

fn text(pieces: &[Vec<u8>]) -> Vec<String> {
    pieces.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect()
}

#[test]
fn messages_go_as_literals_with_flags_and_their_exact_date() {
    let body = |text: &'static str| Body::from_bytes(text.into());
    let append = || {
        Command::new("APPEND")
            .string(b"x")
            .flags(["\\Seen", "$Forwarded"])
            .date_time(Timestamp { seconds: 0, zone: -90 })
            .body(&body("one"))
            .flags([])
            .binary_body(&body("t\0o"))
            .utf8_body(&body("ü"))
    };
    let first = "m1 APPEND \"x\" (\\Seen $Forwarded) \"31-Dec-1969 22:30:00 -0130\" {3}\r\n";
    let pieces = [first, "one () ~{3}\r\n", "t\0o UTF8 (~{2}\r\n", "ü)\r\n"];
    assert_eq!(text(&sent(append(), false)), pieces);
    let whole = text(&sent(append(), true)).concat();
    assert_eq!(whole, pieces.concat().replace("}\r\n", "+}\r\n"));
}

#[test]
fn literal_minus_sends_small_literals_only_without_asking() {
    let append = |len: usize| {
        let body = Body::from_bytes(vec![b'x'; len].into());
        encoded(Command::new("APPEND").body(&body), Literals::Minus).expect("sendable").len()
    };
    assert_eq!((append(4096), append(4097)), (1, 2));
}

#[test]
fn what_is_no_flag_cannot_be_sent() {
    for flag in ["", "a b", "a)", "\\", "\\Se\\en", "ä", "a\r\nb", "{1}", "a\""] {
        let command = Command::new("STORE").flags([flag]);
        assert!(encoded(command, Literals::Plus).is_none(), "{flag}");
    }
}

#[test]
fn strings_are_quoted_or_sent_as_literals() {
    let list = |name: &str| Command::new("LIST").string(b"").string(name.as_bytes());
    assert_eq!(sent(list("a\"b\\c"), false), [b"m1 LIST \"\" \"a\\\"b\\\\c\"\r\n".to_vec()]);
    assert_eq!(sent(list("ä"), false), [b"m1 LIST \"\" {2}\r\n".to_vec(), "ä\r\n".as_bytes().to_vec()]);
    assert_eq!(sent(list("ä"), true), ["m1 LIST \"\" {2+}\r\nä\r\n".as_bytes().to_vec()]);
    let login = Command::new("LOGIN").string("ä".as_bytes()).string(b"x y");
    assert_eq!(sent(login, false), [b"m1 LOGIN {2}\r\n".to_vec(), "ä \"x y\"\r\n".as_bytes().to_vec()]);
}

#[test]
fn a_nul_is_never_sent() {
    assert!(encoded(Command::new("LOGIN").string(b"a\0b"), Literals::Plus).is_none());
}

/// Reads a command back as a server would; `None` if it is not exactly one command with two strings.
fn as_a_server(pieces: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let octets = pieces.concat();
    let mut rest = octets.strip_prefix(b"m1 EXAMINE")?;
    let mut strings = Vec::new();
    loop {
        if rest == b"\r\n" {
            return Some(strings);
        }
        rest = rest.strip_prefix(b" ")?;
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let (mut string, mut at) = (Vec::new(), 0);
            loop {
                match quoted.get(at)? {
                    b'"' => break,
                    b'\\' => {
                        at += 1;
                        string.push(*quoted.get(at).filter(|b| matches!(b, b'"' | b'\\'))?);
                    }
                    b'\r' | b'\n' => return None,
                    b => string.push(*b),
                }
                at += 1;
            }
            strings.push(string);
            rest = &quoted[at + 1..];
        } else {
            let close = rest.iter().position(|b| *b == b'}')?;
            let len: usize = std::str::from_utf8(&rest[1..close]).ok()?.trim_end_matches('+').parse().ok()?;
            let body = rest[close + 1..].strip_prefix(b"\r\n")?;
            strings.push(body.get(..len)?.to_vec());
            rest = &body[len..];
        }
    }
}

proptest! {
    #[test]
    fn any_two_strings_are_one_command_with_two_strings(
        a in proptest::collection::vec(1u8.., 0..700),
        b in "[ \"\\\\{}\r\n0-9+a-c]{0,40}",
        non_sync in any::<bool>(),
    ) {
        let command = Command::new("EXAMINE").string(&a).string(b.as_bytes());
        let strings = as_a_server(&sent(command, non_sync));
        prop_assert_eq!(strings, Some(vec![a, b.into_bytes()]));
    }
}
