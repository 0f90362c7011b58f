//! What of a batch can be sent, and as what.

use std::collections::{BTreeSet, VecDeque};

use super::Batch;
use crate::model::{Error, Kind, Outcome, Result, Scope, Timestamp};
use crate::target::StoreItem;
use crate::target::dated::date_of;
use crate::target::imap::append::Draft;
use crate::target::imap::oddities::Oddities;
use crate::target::imap::{ImapMailbox, losses};

impl ImapMailbox {
    /// The largest message a folder takes, in bytes. Where each folder has a limit of its own it is asked for once.
    pub(super) async fn largest(&self, folder: &str) -> Result<u64> {
        let shelf = self.shelves.get(folder);
        let mut told = shelf.append_limit();
        if told.is_none() && self.limits_of_folders {
            let live = self.line.live().await?;
            let _alone = live.alone().await;
            shelf.learn_status(&live.session.status(folder.as_bytes()).await?);
            told = shelf.append_limit();
        }
        Ok(told.flatten().map_or(self.capabilities.max_message_bytes, |limit| {
            self.capabilities.max_message_bytes.min(limit)
        }))
    }

    /// Sorts out what cannot be sent.
    pub(super) fn prepare(&self, items: Vec<StoreItem>, most: u64) -> Batch {
        let mut batch = Batch {
            outcomes: vec![None; items.len()],
            queue: VecDeque::new(),
            stored: Vec::new(),
            stop: None,
            refused: 0,
            singly: false,
            asked: false,
            bad: false,
            doubted: Vec::new(),
        };
        for (at, item) in items.into_iter().enumerate() {
            match self.draft(at, item, most) {
                Ok(draft) => batch.queue.push_back(draft),
                Err(outcome) => batch.settle(at, outcome),
            }
        }
        batch
    }

    fn draft(&self, at: usize, item: StoreItem, most: u64) -> std::result::Result<Draft, Outcome> {
        let refused = |kind, what: String, remedy: &str| {
            Err(Outcome::Refused(Error::new(kind, Scope::Message, what).remedy(remedy)))
        };
        if item.body.is_empty() {
            return refused(
                Kind::Refused,
                "a message without any octets cannot be stored over IMAP (RFC 3502 §3)".to_owned(),
                "there is nothing in it that could be lost; approve the skip",
            );
        }
        if item.body.len() > most {
            return refused(
                Kind::TooLarge,
                format!("a message of {} bytes is larger than the target takes ({most})", item.body.len()),
                "raise the server's limit and `max_message`, or approve the skip",
            );
        }
        let oddities = if item.body.is_spooled() {
            self.env.blocking(|| Oddities::of(&item.body))
        } else {
            Oddities::of(&item.body)
        };
        let oddities = oddities.map_err(|e| {
            let what = format!("a message could not be read back from the spool directory ({})", e.kind());
            Outcome::NotSent(
                Error::temporary(Kind::Io, Scope::Message, what)
                    .remedy("check the disk of the spool directory"),
            )
        })?;
        let mut lost = BTreeSet::new();
        let received = item.received.unwrap_or_else(|| {
            lost.insert(losses::RECEIVED_MADE);
            date_of(&item.body)
        });
        let (received, bent) = sendable(received, self.earliest);
        if bent {
            lost.insert(losses::DATE);
        }
        let (body, flags) = (item.body, item.flags);
        Ok(Draft {
            at,
            body,
            flags,
            received,
            oddities,
            losses: lost,
            bare: false,
            plain: false,
            mended: false,
            utf8: false,
            again: false,
            asks_first: false,
        })
    }
}

/// The date as IMAP can write it and the server keeps it, and whether it is another one.
fn sendable(received: Timestamp, earliest: Option<Timestamp>) -> (Timestamp, bool) {
    let year = received.civil().0;
    match earliest {
        Some(earliest) if received.seconds < earliest.seconds => (earliest, true),
        _ if (1..=9999).contains(&year) => (received, false),
        _ => (Timestamp::utc(0), true),
    }
}
