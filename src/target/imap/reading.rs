//! One copy read back, whole.

use bytes::{Bytes, BytesMut};

use super::ImapMailbox;
use super::copies::no_folder;
use super::session::gone;
use super::shelf::parse_id;
use crate::imap::{BodyItem, Receiver, Take, UidSet, Untagged, WireError};
use crate::model::{Error, Kind, Result, Scope};
use crate::target::{CopyRef, ReadBack};

/// Largest message held in memory, in bytes.
const LARGEST: u64 = 256 << 20;

impl ImapMailbox {
    pub(super) async fn read_copy(&self, copy: &CopyRef) -> Result<ReadBack> {
        let (validity, uid) = parse_id(&copy.id).ok_or_else(gone)?;
        let live = self.line.live().await?;
        let opened = match live.open(&copy.folder.0).await {
            Err(e) if no_folder(&e) => return Err(gone()),
            opened => opened?,
        };
        if opened.told.uid_validity != validity {
            return Err(gone());
        }
        let _alone = live.alone().await;
        let mut reader = Reader { uid, octets: BytesMut::new(), found: None, bad: false };
        let items = "(UID FLAGS INTERNALDATE BODY.PEEK[])";
        let done = live.session.uid_fetch(&UidSet::range(uid, uid), items, &mut reader).await;
        done.map_err(WireError::into_error)?.check(Scope::Folder, "reading a message of the target back")?;
        match reader.found {
            Some(found) => Ok(found),
            None if reader.bad => Err(Error::new(
                Kind::Protocol,
                Scope::Message,
                "a message of the target cannot be read back, or is larger than is held in memory",
            )
            .remedy("look at it with another client")),
            None => Err(gone()),
        }
    }
}

struct Reader {
    uid: u32,
    octets: BytesMut,
    found: Option<ReadBack>,
    bad: bool,
}

impl Receiver for Reader {
    fn untagged(&mut self, response: Untagged) {
        let Untagged::Fetch(items) = response else { return };
        let streamed = std::mem::take(&mut self.octets).freeze();
        if items.uid != Some(self.uid) {
            return;
        }
        let octets = match items.body {
            BodyItem::Streamed => streamed,
            BodyItem::Nil => Bytes::new(),
            BodyItem::Held(octets) => octets,
            BodyItem::Absent => return,
            BodyItem::Passed => {
                self.bad = true;
                return;
            }
        };
        let flags = items.flags.unwrap_or_default();
        self.found = Some(ReadBack { octets, received: items.received, flags });
    }

    fn body_begins(&mut self, len: u64) -> Take {
        self.octets.clear();
        if len <= LARGEST { Take::Keep } else { Take::Drain }
    }

    fn body_octets(&mut self, octets: Bytes) {
        self.octets.extend_from_slice(&octets);
    }
}
