//! One message put together from partial fetches, where the server does not hand it out whole.

use std::io::{self, Write};

use bytes::Bytes;

use super::fetch::spool_failed;
use super::incoming::Answer;
use crate::imap::{BodyItem, FetchItems, Receiver, Session, Take, UidSet, Untagged, WireError};
use crate::model::{Bodies, BodyWriter, Error, Kind, Result, Scope};

/// Octets asked for at a time, in bytes.
const PART: u64 = 256 << 10;

/// Fetches message `uid` in parts. It counts only if the parts add up to the size the server tells; else it failed, for
/// the reason `why` and with what came of it.
///
/// # Errors
/// Outer: the session failed. Inner: the spool did.
pub(super) async fn in_parts(
    session: &Session,
    uid: u32,
    bodies: &Bodies,
    why: &Error,
) -> Result<Result<Answer>, WireError> {
    let mut told = Told::default();
    session.uid_fetch(&UidSet::range(uid, uid), "(UID FLAGS INTERNALDATE RFC822.SIZE)", &mut told).await?;
    let Some(size) = told.items.size.filter(|_| told.items.uid == Some(uid)) else {
        return Ok(Ok(Answer::Failed(why.clone())));
    };
    if size > bodies.max {
        return Ok(Ok(Answer::Failed(Answer::too_large(size, bodies.max))));
    }
    let mut writer = match bodies.begin(size) {
        Ok(writer) => writer,
        Err(e) => return Ok(Err(spool_failed(e.kind()))),
    };
    while writer.len() < size {
        let at = writer.len();
        let len = PART.min(size - at);
        let mut part =
            Part { writer: &mut writer, uid, at, len, came: false, failed: None, held: Vec::new() };
        let done = session.uid_fetch_part(uid, at, len, &mut part).await?;
        let came = part.came;
        if let Some(kind) = part.failed {
            return Ok(Err(spool_failed(kind)));
        }
        if !done.ok() || !came || writer.len() == at {
            break;
        }
    }
    let len = writer.len();
    if len != size {
        let what = format!("{}: the server hands out {len} of its {size} bytes", why.what);
        return Ok(Ok(Answer::Failed(
            Error::temporary(Kind::Io, Scope::Message, what).remedy(why.remedy.clone()),
        )));
    }
    Ok(match writer.finish() {
        Ok(body) => Ok(Answer::Message { body, flags: told.items.flags, received: told.items.received }),
        Err(e) => Err(spool_failed(e.kind())),
    })
}

/// What the server tells beside the octets.
#[derive(Default)]
struct Told {
    items: FetchItems,
}

impl Receiver for Told {
    fn untagged(&mut self, response: Untagged) {
        if let Untagged::Fetch(items) = response
            && items.size.is_some()
        {
            self.items = *items;
        }
    }
}

/// One part as it comes in. Octets are held until their response tells whose they are and where they begin.
struct Part<'a> {
    writer: &'a mut BodyWriter,
    uid: u32,
    at: u64,
    len: u64,
    came: bool,
    failed: Option<io::ErrorKind>,
    held: Vec<Bytes>,
}

impl Receiver for Part<'_> {
    fn body_begins(&mut self, len: u64) -> Take {
        self.held.clear();
        if len > self.len { Take::Drain } else { Take::Keep }
    }

    fn body_octets(&mut self, octets: Bytes) {
        self.held.push(octets);
    }

    fn untagged(&mut self, response: Untagged) {
        let Untagged::Fetch(items) = response else { return };
        let mut held = std::mem::take(&mut self.held);
        if self.came || items.uid != Some(self.uid) || items.origin.unwrap_or(0) != self.at {
            return;
        }
        match items.body {
            BodyItem::Streamed => {}
            BodyItem::Held(octets) if octets.len() as u64 <= self.len => held = vec![octets],
            _ => return,
        }
        self.came = true;
        for octets in held {
            if let Err(e) = self.writer.write_all(&octets) {
                self.failed = Some(e.kind());
            }
        }
    }
}
