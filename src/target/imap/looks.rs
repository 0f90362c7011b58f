//! Looking at messages after they were stored: what servers are known to change is told as a loss.

use std::collections::BTreeMap;

use super::append::Draft;
use super::session::Live;
use super::shelf::Shelf;
use super::store::Batch;
use super::{ImapMailbox, arrivals, losses};
use crate::imap::{UidSet, WireError};
use crate::model::{Outcome, Result, Timestamp};

/// A received date is in the future if it is later than now by more than this, in seconds.
const FUTURE: i64 = 60;

impl ImapMailbox {
    /// Looks at what the server made of messages it is known to change, or that are among the first it was given.
    pub(super) async fn look_after(&self, live: &Live, folder: &str, shelf: &Shelf, batch: &mut Batch) {
        let manners = &self.line.host.manners;
        let now = self.env.wall() / 1000;
        let mut looks: BTreeMap<u32, Draft> = BTreeMap::new();
        for (draft, uid) in std::mem::take(&mut batch.stored) {
            // Flags: now it is known what the folder keeps.
            let lost = shelf.kept().map(|kept| kept.wire(&draft.flags, self.line.host.settings.keywords));
            if lost.is_some_and(|wire| wire.flags_lost) {
                lose(batch, draft.at, losses::FLAGS);
            }
            let date = draft.received.seconds > now + FUTURE || draft.received.seconds <= 0;
            if draft.oddities.any() || date || manners.changes_dates() || manners.sample() {
                looks.insert(uid, draft);
            }
        }
        if looks.is_empty() || live.session.is_broken() {
            return;
        }
        // What cannot be looked at is stored all the same.
        let _ = self.look_closely(live, folder, &looks, now, batch).await;
    }

    async fn look_closely(
        &self,
        live: &Live,
        folder: &str,
        looks: &BTreeMap<u32, Draft>,
        now: i64,
        batch: &mut Batch,
    ) -> Result<()> {
        let opened = live.open(folder).await?;
        live.session.noop().await.map_err(WireError::into_error)?;
        let odd: UidSet = looks.iter().filter(|(_, d)| d.oddities.any()).map(|(uid, _)| *uid).collect();
        let rest: UidSet = looks.iter().filter(|(_, d)| !d.oddities.any()).map(|(uid, _)| *uid).collect();
        let mut seen: Vec<(u32, Option<Timestamp>, Option<bool>)> = Vec::new();
        arrivals::fetch(live, &rest, "(UID RFC822.SIZE INTERNALDATE)", |uid, items| {
            let same = looks.get(&uid).zip(items.size).map(|(draft, size)| draft.body.len() == size);
            seen.push((uid, items.received, same));
        })
        .await?;
        for (uid, arrival) in arrivals::read_back(live, opened.told.uid_validity, &odd).await? {
            let same = looks.get(&uid).map(|draft| draft.body.digest() == arrival.digest);
            seen.push((uid, arrival.received, same));
        }
        for (uid, received, same) in seen {
            let Some(draft) = looks.get(&uid) else { continue };
            if received.is_some_and(|r| r.seconds != draft.received.seconds) {
                lose(batch, draft.at, losses::DATE);
                if (0..=now).contains(&draft.received.seconds) {
                    self.line.host.manners.learn_changes_dates();
                }
            }
            if same == Some(false) {
                if draft.oddities.utf8 && !draft.oddities.nul && !draft.oddities.bare_line_end {
                    // It was the header, then: the next ones go as UTF8 data where the server takes that.
                    self.line.host.manners.learn_utf8_data();
                }
                lose(batch, draft.at, losses::OCTETS);
            }
        }
        Ok(())
    }
}

/// Adds a loss to a message that is stored.
fn lose(batch: &mut Batch, at: usize, loss: &'static str) {
    if let Some(Some(Outcome::Stored { losses, .. })) = batch.outcomes.get_mut(at)
        && !losses.contains(&loss)
    {
        losses.push(loss);
        losses.sort_unstable();
    }
}
