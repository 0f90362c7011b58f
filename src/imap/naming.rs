//! One name for a folder, however it travels.
//!
//! Names are modified UTF-7 on the wire (RFC 3501 §5.1.3), or UTF-8 once UTF8=ACCEPT is on (RFC 6855 §3). Callers know a
//! folder by modified UTF-7 in both cases: a server that offers UTF8=ACCEPT one day and not the next must not make
//! other folders of those on record.

use std::borrow::Cow;

use bytes::Bytes;
use encodify::utf7;

use super::{Namespaces, Session};

impl Session {
    /// A folder's name as it is sent on this session.
    pub fn wire_name<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        if self.sends_utf8() { to_utf8(name) } else { Cow::Borrowed(name) }
    }

    /// A name the server sent, as callers know it.
    pub(super) fn known_name(&self, name: Bytes) -> Bytes {
        if self.sends_utf8() { from_utf8(name) } else { name }
    }

    /// The same for the beginnings of names.
    pub(super) fn known_spaces(&self, mut spaces: Namespaces) -> Namespaces {
        let all = [&mut spaces.personal, &mut spaces.others, &mut spaces.shared];
        for (prefix, _) in all.into_iter().flatten() {
            *prefix = self.known_name(std::mem::take(prefix));
        }
        spaces
    }

    fn sends_utf8(&self) -> bool {
        self.has_enabled("UTF8=ACCEPT") || self.capabilities().has("UTF8=ONLY")
    }
}

/// Modified UTF-7 → UTF-8. What is no modified UTF-7 stays as it stands.
fn to_utf8(name: &[u8]) -> Cow<'_, [u8]> {
    match utf7::IMAP.decode(name) {
        Ok(text) if utf7::IMAP.encode(&text).as_bytes() == name => Cow::Owned(text.into_bytes()),
        _ => Cow::Borrowed(name),
    }
}

/// UTF-8 → modified UTF-7. What is no UTF-8 stays as it stands.
fn from_utf8(name: Bytes) -> Bytes {
    match std::str::from_utf8(&name) {
        Ok(text) => Bytes::from(utf7::IMAP.encode(text)),
        Err(_) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{expect, line, on_a_runtime, send, session_with};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn with_utf8_names_travel_in_utf8_and_are_known_as_before() {
        on_a_runtime(async {
            let (session, peer) = session_with(
                "ENABLE UTF8=ACCEPT NAMESPACE",
                vec![
                    expect("ENABLE UTF8=ACCEPT"),
                    send("* ENABLED UTF8=ACCEPT\r\n$ OK\r\n"),
                    expect("NAMESPACE"),
                    send("* NAMESPACE ((\"Über/\" \"/\")) NIL NIL\r\n$ OK\r\n"),
                    expect("LIST \"\" \"*\""),
                    send("* LIST () \"/\" \"Entwürfe & mehr\"\r\n* LIST () \"/\" INBOX\r\n$ OK\r\n"),
                    expect("SUBSCRIBE {17}"),
                    send("+ \r\n"),
                    line("Entwürfe & mehr!"),
                    send("$ OK\r\n"),
                ],
            );
            session.enable(&["UTF8=ACCEPT"]).await.expect("enabled");
            let spaces = session.namespaces().await.expect("told");
            assert_eq!(spaces.personal[0].0, "&ANw-ber/");
            let list = session.list(b"*").await.expect("listed");
            let names: Vec<&[u8]> = list.iter().map(|e| &e.name[..]).collect();
            assert_eq!(names, [&b"Entw&APw-rfe &- mehr"[..], b"INBOX"]);
            session.subscribe(b"Entw&APw-rfe &- mehr!").await.expect("answered");
            drop(session);
            peer.await.expect("the peer saw what it expected");
        });
    }

    proptest! {
        #[test]
        fn a_name_in_utf8_comes_back_as_it_was(name in "[a-c&/~,+ äß日📎-]{0,12}") {
            let known = from_utf8(Bytes::from(name.clone()));
            prop_assert!(known.is_ascii());
            prop_assert_eq!(to_utf8(&known), name.as_bytes());
        }

        #[test]
        fn no_octets_are_lost_that_are_no_name(name in proptest::collection::vec(any::<u8>(), 0..12)) {
            if std::str::from_utf8(&name).is_err() {
                let known = from_utf8(Bytes::from(name.clone()));
                prop_assert_eq!(&to_utf8(&known)[..], &name[..]);
            }
        }
    }
}
