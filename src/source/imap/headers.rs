//! Header digests: what a message looks like without fetching it.

use std::collections::BTreeMap;

use crate::imap::{BodyItem, Receiver, Session, UidSet, Untagged, WireError};
use crate::model::{Digest, Error, Kind, Result, Scope, SourceId};
use crate::source::Wanted;

/// Messages asked for in a command.
const AT_ONCE: usize = 200;

/// The beginning of the digest of each wanted message's header block, in order; `None`: not there, or too long to hold.
pub(super) async fn headers(
    session: &Session,
    name: &[u8],
    epoch: u64,
    wanted: &[Wanted],
) -> Result<Vec<Option<u64>>> {
    let examined = match session.examined() {
        Some((open, examined)) if open == name => examined,
        _ => session.examine(name).await?,
    };
    if u64::from(examined.uid_validity) != epoch {
        return Err(Error::temporary(
            Kind::Conflict,
            Scope::Folder,
            "the folder was numbered anew by the server (UIDVALIDITY changed)",
        )
        .remedy("it is listed again and matched with what was stored"));
    }
    let uid = |w: &Wanted| match w.id {
        SourceId::Number(n) => u32::try_from(n).ok().filter(|uid| *uid > 0),
        SourceId::Name(_) => None,
    };
    let mut found = Headers::default();
    for some in wanted.chunks(AT_ONCE) {
        let set: UidSet = some.iter().filter_map(uid).collect();
        if set.is_empty() {
            continue;
        }
        let fetch = session.uid_fetch(&set, "(UID BODY.PEEK[HEADER])", &mut found);
        // Those that are left out are fetched whole, one by one if need be.
        let done = fetch.await.map_err(WireError::into_error)?;
        if done.backoff.is_some() {
            done.check(Scope::Mailbox, "fetching headers")?;
        }
    }
    Ok(wanted.iter().map(|w| uid(w).and_then(|uid| found.0.get(&uid).copied())).collect())
}

#[derive(Default)]
struct Headers(BTreeMap<u32, u64>);

impl Receiver for Headers {
    fn untagged(&mut self, response: Untagged) {
        if let Untagged::Fetch(items) = response
            && let (Some(uid), BodyItem::Held(octets)) = (items.uid, &items.header)
        {
            self.0.insert(uid, Digest::of(octets).beginning());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::script::{expect, on_a_runtime, send, session};

    #[test]
    fn header_digests_come_in_the_order_wanted_and_what_is_missing_is_told_as_such() {
        on_a_runtime(async {
            let (session, _peer) = session(vec![
                expect("EXAMINE \"x\""),
                send("* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n$ OK\r\n"),
                expect("UID FETCH 3,5,8 (UID BODY.PEEK[HEADER])"),
                send(
                    "* 1 FETCH (UID 3 BODY[HEADER] {8}\r\nA: b\r\n\r\n)\r\n* 2 FETCH (UID 5 BODY[HEADER] \"\")\r\n$ NO some\r\n",
                ),
            ]);
            let wanted: Vec<Wanted> =
                [8, 3, 5].map(|n| Wanted { number: n, id: SourceId::Number(n), size: None }).into();
            let told = headers(&session, b"x", 7, &wanted).await.expect("told");
            let digest = |octets: &[u8]| Some(Digest::of(octets).beginning());
            assert_eq!(told, [None, digest(b"A: b\r\n\r\n"), digest(b"")]);
            let conflict = headers(&session, b"x", 8, &wanted).await.expect_err("another epoch");
            assert_eq!(conflict.kind, Kind::Conflict);
        });
    }
}
