//! Looking at messages after they were stored: what servers are known to change is told as a loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::append::Draft;
use super::flags::{Kept, Wire, is_set};
use super::keeps::Keeps;
use super::session::Live;
use super::shelf::Shelf;
use super::store::Batch;
use super::{ImapMailbox, arrivals, losses};
use crate::imap::{UidSet, WireError};
use crate::model::{Flags, Outcome, Result, Timestamp};
use crate::target::{CopyRef, TargetFolderId};

/// A received date is in the future if it is later than now by more than this, in seconds.
const FUTURE: i64 = 60;

impl ImapMailbox {
    /// Looks at what the server made of messages it is known to change, or that are among the first it was given.
    pub(super) async fn look_after(&self, live: &Live, folder: &str, shelf: &Shelf, batch: &mut Batch) {
        let manners = &self.line.host.manners;
        let now = self.env.wall() / 1000;
        let mut looks: BTreeMap<u32, (Draft, Wire)> = BTreeMap::new();
        // One look is enough for those of this batch that are alike.
        let alike = Keeps::default();
        let mut flagged: Vec<(usize, CopyRef, Flags, Wire)> = Vec::new();
        for (draft, uid) in std::mem::take(&mut batch.stored) {
            // Flags: now it is known what the folder keeps.
            let kept = shelf.kept().unwrap_or_else(|| Arc::new(Kept::of(None)));
            let sent = kept.wire(&draft.flags, self.line.host.settings.keywords && !draft.bare);
            if sent.flags_lost {
                lose(batch, draft.at, losses::FLAGS);
            }
            let date = draft.received.seconds > now + FUTURE || draft.received.seconds <= 0;
            let new = manners.keeps.is_new(&sent) && alike.is_new(&sent);
            alike.learn(&sent, &draft.flags);
            if !sent.flags.is_empty()
                && let Some(Some(Outcome::Stored { id, .. })) = batch.outcomes.get(draft.at)
            {
                let copy = CopyRef { folder: TargetFolderId(folder.to_owned()), id: id.clone() };
                flagged.push((draft.at, copy, draft.flags.clone(), sent.clone()));
            }
            if new || draft.oddities.any() || date || manners.changes_dates() || manners.sample() {
                looks.insert(uid, (draft, sent));
            }
        }
        if live.session.is_broken() {
            return;
        }
        // What cannot be looked at is stored all the same.
        if !looks.is_empty() {
            let _ = self.look_closely(live, folder, &looks, now, batch).await;
        }
        flagged.retain(|(_, _, _, sent)| manners.keeps.forgets(sent));
        self.remind(batch, &flagged).await;
    }

    /// Sets flags that were forgotten when they were given with the messages; what is not there even then is lost.
    async fn remind(&self, batch: &mut Batch, forgotten: &[(usize, CopyRef, Flags, Wire)]) {
        if forgotten.is_empty() {
            return;
        }
        let changes: Vec<(CopyRef, Flags)> =
            forgotten.iter().map(|(_, copy, flags, _)| (copy.clone(), flags.clone())).collect();
        let set = self.reflag(&changes).await;
        let copies: Vec<CopyRef> = changes.into_iter().map(|(copy, _)| copy).collect();
        let seen = self.look_at(&copies).await.unwrap_or_default();
        let mut seen = seen.into_iter();
        for ((at, _, _, sent), set) in forgotten.iter().zip(set) {
            let seen = seen.next().flatten().filter(|_| set.is_ok()).unwrap_or_default();
            for flag in sent.flags.iter().filter(|flag| !is_set(flag, &seen)) {
                let loss = if flag.starts_with('\\') { losses::FLAGS } else { losses::KEYWORDS };
                lose(batch, *at, loss);
            }
        }
    }

    async fn look_closely(
        &self,
        live: &Live,
        folder: &str,
        looks: &BTreeMap<u32, (Draft, Wire)>,
        now: i64,
        batch: &mut Batch,
    ) -> Result<()> {
        let opened = live.open(folder).await?;
        live.session.noop().await.map_err(WireError::into_error)?;
        let odd: UidSet = looks.iter().filter(|(_, (d, _))| d.oddities.any()).map(|(uid, _)| *uid).collect();
        let rest: UidSet =
            looks.iter().filter(|(_, (d, _))| !d.oddities.any()).map(|(uid, _)| *uid).collect();
        let keeps = &self.line.host.manners.keeps;
        let mut seen: Vec<(u32, Option<Timestamp>, Option<bool>)> = Vec::new();
        arrivals::fetch(live, &rest, "(UID FLAGS RFC822.SIZE INTERNALDATE)", |uid, items| {
            let same = looks.get(&uid).zip(items.size).map(|((draft, _), size)| draft.body.len() == size);
            if let Some(((_, sent), flags)) = looks.get(&uid).zip(items.flags.as_ref()) {
                keeps.learn(sent, flags);
            }
            seen.push((uid, items.received, same));
        })
        .await?;
        for (uid, arrival) in arrivals::read_back(live, opened.told.uid_validity, &odd).await? {
            let same = looks.get(&uid).map(|(draft, _)| draft.body.digest() == arrival.digest);
            if let Some((_, sent)) = looks.get(&uid) {
                keeps.learn(sent, &arrival.flags);
            }
            seen.push((uid, arrival.received, same));
        }
        for (uid, received, same) in seen {
            let Some((draft, _)) = looks.get(&uid) else { continue };
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
