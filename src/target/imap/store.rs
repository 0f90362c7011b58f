//! Storing a batch: few commands, all in flight at once; every message gets exactly one outcome.
//!
//! What an answer means for the messages of its command:
//! - OK: stored; where, says APPENDUID, or a look at what came since;
//! - NO or BAD: nothing of it is stored (RFC 3502 §3), unless a look at UIDNEXT says otherwise. What concerns the folder or the mailbox ends the batch as *not
//!   sent*. Else, of several messages each is tried alone, so that only those are refused that must be;
//! - no answer: *unknown* if octets of a message may have left, else *not sent*.

mod draft;
mod refused;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::refused::throttles;
use super::append::{Draft, End, FREE_LITERALS, append, next_group};
use super::flags::Kept;
use super::session::Live;
use super::shelf::{Numbers, Shelf, copy_id};
use super::{ImapMailbox, arrivals};
use crate::env::Step;
use crate::imap::{Code, Done, UidSet};
use crate::limit::{Answer, Ticket};
use crate::model::{Error, Kind, Outcome, Result, Scope, WriteMode};
use crate::target::{StoreItem, TargetFolderId};

/// Commands of one batch in flight at once.
const IN_FLIGHT: usize = 16;
/// A batch being stored.
pub(super) struct Batch {
    pub outcomes: Vec<Option<Outcome>>,
    queue: VecDeque<Draft>,
    /// Messages that were stored: draft and UID.
    pub stored: Vec<(Draft, u32)>,
    /// What ends it.
    stop: Option<Error>,
    /// Messages refused without a reason since the last one stored.
    refused: usize,
    /// Each message goes alone from now on.
    singly: bool,
    /// It was asked whether the folder is there.
    asked: bool,
    /// BAD was said to several messages at once.
    bad: bool,
    /// Several messages at once that were refused.
    doubted: Vec<Draft>,
}

impl Batch {
    fn settle(&mut self, at: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(at) {
            *place = Some(outcome);
        }
    }

    fn not_sent(&mut self, drafts: Vec<Draft>, error: &Error) {
        drafts.into_iter().for_each(|d| self.settle(d.at, Outcome::NotSent(error.clone())));
        self.stop.get_or_insert_with(|| error.clone());
    }
}

impl ImapMailbox {
    pub(super) async fn store_batch(
        &self,
        folder: &TargetFolderId,
        items: Vec<StoreItem>,
        ticket: Ticket,
    ) -> Vec<Outcome> {
        let count = items.len();
        let most = match self.largest(&folder.0).await {
            Ok(most) => most,
            Err(error) => return vec![Outcome::NotSent(error); count],
        };
        let mut batch = self.prepare(items, most);
        if !batch.queue.is_empty()
            && let Err(error) = self.store_all(&folder.0, &mut batch, &ticket).await
        {
            batch.stop.get_or_insert(error);
        }
        let rest = batch
            .stop
            .unwrap_or_else(|| Error::new(Kind::Internal, Scope::Mailbox, "a message was passed over"));
        let mut outcomes = batch.outcomes;
        outcomes.resize(count, None);
        self.env.step(Step::TargetAnswer).await;
        outcomes.into_iter().map(|o| o.unwrap_or_else(|| Outcome::NotSent(rest.clone()))).collect()
    }

    async fn store_all(&self, folder: &str, batch: &mut Batch, ticket: &Ticket) -> Result<()> {
        let live = self.line.live().await?;
        let shelf = self.shelves.get(folder);
        let offer = live.session.capabilities();
        if self.line.host.manners.wants_utf8_data() && live.session.has_enabled("UTF8=ACCEPT") {
            batch.queue.iter_mut().for_each(|draft| draft.utf8 = draft.oddities.utf8);
        }
        let silent = !offer.has("UIDPLUS") || self.line.host.manners.silent_about_uids();
        // Without their UIDs, messages are told apart by who came when: one batch after the other.
        let _lane = if silent { Some(shelf.lane.lock().await) } else { None };
        // The folder is opened once, for what it keeps of flags; awaited only where keywords depend on it.
        let wants =
            batch.queue.iter().any(|d| !d.flags.keywords.is_empty()) && self.line.host.settings.keywords;
        let opening = async {
            if shelf.kept().is_none() {
                let opened = live.open(folder).await?;
                shelf.learn_examined(&opened.told);
            }
            Ok::<(), Error>(())
        };
        if wants || silent {
            opening.await.map_err(|e| self.about_folder(e))?;
            if silent {
                self.numbers_of(&live, folder).await?;
            }
            self.rounds(&live, folder, &shelf, batch, ticket).await;
        } else {
            // One after the other on the wire, answered together.
            let (opened, ()) =
                futures_util::future::join(opening, self.rounds(&live, folder, &shelf, batch, ticket)).await;
            if let (Err(error), true) = (opened, batch.stop.is_none() && batch.stored.is_empty()) {
                batch.stop = Some(error);
            }
        }
        let all = batch.outcomes.iter().all(|o| matches!(o, Some(Outcome::Stored { .. })));
        if batch.bad && all {
            // Each alone was fine: it does not take several.
            self.line.host.manners.learn_one_at_a_time();
        }
        self.look_after(&live, folder, &shelf, batch).await;
        Ok(())
    }

    fn about_folder(&self, error: Error) -> Error {
        if error.kind == Kind::NotFound { error.scoped(Scope::Folder) } else { error }
    }

    async fn rounds(
        &self,
        live: &Arc<Live>,
        folder: &str,
        shelf: &Shelf,
        batch: &mut Batch,
        ticket: &Ticket,
    ) {
        while batch.stop.is_none() && !batch.queue.is_empty() {
            let offer = live.session.capabilities();
            let several =
                offer.has("MULTIAPPEND") && !self.line.host.manners.one_at_a_time() && !batch.singly;
            let most = if several { self.capabilities.batch_messages } else { 1 };
            let mut groups = Vec::new();
            while groups.len() < IN_FLIGHT && !batch.queue.is_empty() {
                groups.push(next_group(&mut batch.queue, most, &offer));
            }
            let before = shelf.numbers();
            let kept = shelf.kept().unwrap_or_else(|| Arc::new(Kept::of(None)));
            let sends = groups.into_iter().map(|group| self.send(live, folder, &kept, group, ticket));
            for (group, end) in futures_util::future::join_all(sends).await {
                match end {
                    End::Answered(done) if done.ok() => {
                        self.stored(live, folder, shelf, before, batch, group, &done).await;
                    }
                    End::Answered(done) => self.refused(live, folder, batch, group, &done).await,
                    End::Cut { error, begun } => self.cut(batch, group, error, begun),
                }
            }
            if !batch.doubted.is_empty() {
                self.part_or_nothing(live, folder, shelf, batch).await;
            }
            // Those to be tried again keep their places.
            batch.queue.make_contiguous().sort_by_key(|draft| draft.at);
        }
    }

    /// Sends a group, as the gate allows.
    async fn send(
        &self,
        live: &Live,
        folder: &str,
        kept: &Kept,
        mut group: Vec<Draft>,
        ticket: &Ticket,
    ) -> (Vec<Draft>, End) {
        let bytes = group.iter().map(|d| d.body.len()).sum();
        let slot = self.gate.admit(ticket, bytes).await;
        self.env.step(Step::TargetStore).await;
        let keywords = self.line.host.settings.keywords;
        let end = append(live, folder, kept, keywords, &mut group).await;
        slot.finish(match &end {
            End::Answered(done) if !done.ok() && throttles(done) => Answer::Throttled(done.backoff),
            End::Answered(_) => Answer::Served,
            End::Cut { begun: true, .. } => Answer::Unknown,
            End::Cut { begun: false, .. } => Answer::NotSent,
        });
        (group, end)
    }

    #[allow(clippy::too_many_arguments)] // one command's fate
    async fn stored(
        &self,
        live: &Live,
        folder: &str,
        shelf: &Shelf,
        before: Numbers,
        batch: &mut Batch,
        group: Vec<Draft>,
        done: &Done,
    ) {
        batch.refused = 0;
        let manners = &self.line.host.manners;
        if !group.iter().any(|draft| draft.asks_first) {
            manners.learn_takes_free_literals();
        } else if !manners.takes_free_literals() {
            // What was refused is taken once it is asked about: the offer is not true.
            manners.learn_no_free_literals();
            live.session.forgo(&FREE_LITERALS);
        }
        if group.iter().any(|draft| draft.utf8) {
            manners.learn_utf8_data();
        }
        let told = match &done.code {
            Code::AppendUid(told) if told.uids.len() == group.len() => Some((told.uid_validity, &told.uids)),
            _ => None,
        };
        let bound = match told {
            Some((validity, uids)) => {
                uids.iter().for_each(|uid| shelf.stored(validity, *uid));
                Ok((validity, uids.iter().copied().map(Some).collect()))
            }
            None => {
                self.line.host.manners.learn_silent_about_uids();
                self.bind(live, folder, shelf, before, &group).await
            }
        };
        match bound {
            Ok((validity, uids)) => {
                for (draft, uid) in group.into_iter().zip(uids) {
                    match uid {
                        Some(uid) => {
                            let losses = draft.losses.iter().copied().collect();
                            batch.settle(
                                draft.at,
                                Outcome::Stored {
                                    id: copy_id(validity, uid),
                                    losses,
                                    mode: WriteMode::Usual,
                                },
                            );
                            batch.stored.push((draft, uid));
                        }
                        None => batch.settle(draft.at, Outcome::Unknown(nowhere())),
                    }
                }
            }
            Err(_) => group.into_iter().for_each(|d| batch.settle(d.at, Outcome::Unknown(nowhere()))),
        }
    }

    /// The UIDs of messages stored without a word about where, by what came since `before`.
    async fn bind(
        &self,
        live: &Live,
        folder: &str,
        shelf: &Shelf,
        before: Numbers,
        group: &[Draft],
    ) -> Result<(u32, Vec<Option<u32>>)> {
        let opened = live.open(folder).await?;
        let before = match before.anchor() {
            Some(_) => before,
            None => Numbers { validity: opened.told.uid_validity, next: 1 },
        };
        let came = arrivals::above(live, &opened, before).await?;
        let came: UidSet = came.iter().filter(|uid| !shelf.is_bound(*uid)).collect();
        let mut sizes: Vec<(u32, Option<u64>)> = Vec::new();
        arrivals::fetch(live, &came, "(UID RFC822.SIZE)", |uid, items| sizes.push((uid, items.size))).await?;
        sizes.sort_unstable();
        sizes.dedup_by_key(|(uid, _)| *uid);
        // As many as were sent, and of the same sizes in the same order: nobody else stored anything.
        let exact = sizes.len() == group.len()
            && sizes.iter().zip(group).all(|((_, size), draft)| *size == Some(draft.body.len()));
        let uids: Vec<Option<u32>> = if exact {
            sizes.iter().map(|(uid, _)| Some(*uid)).collect()
        } else {
            let mut by_digest: BTreeMap<_, VecDeque<u32>> = BTreeMap::new();
            for (uid, arrival) in arrivals::read_back(live, before.validity, &came).await? {
                by_digest.entry(arrival.digest).or_default().push_back(uid);
            }
            group.iter().map(|draft| by_digest.get_mut(&draft.body.digest())?.pop_front()).collect()
        };
        for uid in uids.iter().flatten() {
            shelf.bind(*uid);
            shelf.stored(before.validity, *uid);
        }
        Ok((before.validity, uids))
    }
}

fn nowhere() -> Error {
    Error::temporary(Kind::Protocol, Scope::Message, "the server stored a message and did not tell where")
        .remedy("run again: it is looked for before it is stored again")
}
