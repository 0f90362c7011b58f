//! Storing a batch: few commands, all in flight at once; every message gets exactly one outcome.
//!
//! What an answer means for the messages of its command:
//! - OK: stored; where, says APPENDUID, or a look at what came since;
//! - NO or BAD: nothing of it is stored (RFC 3502 §3), unless a look at UIDNEXT says otherwise. What concerns the folder or the mailbox ends the batch as *not
//!   sent*. Else, of several messages each is tried alone, so that only those are refused that must be;
//! - no answer: *unknown* if octets of a message may have left, else *not sent*.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::append::{Draft, End, FREE_LITERALS, append, next_group};
use super::flags::Kept;
use super::oddities::Oddities;
use super::session::{Live, gone};
use super::shelf::{Numbers, Shelf, copy_id};
use super::{ImapMailbox, arrivals, losses};
use crate::env::Step;
use crate::imap::{Code, Done, Status, UidSet, WireError};
use crate::limit::{Answer, Ticket};
use crate::model::{Error, Kind, Outcome, Result, Scope, Timestamp, WriteMode};
use crate::target::dated::date_of;
use crate::target::{StoreItem, TargetFolderId};

/// Commands of one batch in flight at once.
const IN_FLIGHT: usize = 16;
/// Messages refused one after the other, without a reason, before it is the folder that is at fault.
const IN_A_ROW: usize = 8;
/// A message that was refused so often without a reason is.
const STRIKES: u32 = 3;
/// Messages whose strikes are remembered.
const REMEMBERED: usize = 10_000;

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

    /// The largest message a folder takes, in bytes. Where each folder has a limit of its own it is asked for once.
    async fn largest(&self, folder: &str) -> Result<u64> {
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
    fn prepare(&self, items: Vec<StoreItem>, most: u64) -> Batch {
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

    /// Several messages at once were refused. All or none of them is the rule; a server that stored some of them before
    /// it said NO would get them twice. So it is asked whether anything came: then they must be looked for.
    async fn part_or_nothing(&self, live: &Live, folder: &str, shelf: &Shelf, batch: &mut Batch) {
        let doubted = std::mem::take(&mut batch.doubted);
        let known = shelf.numbers();
        let told = {
            let _alone = live.alone().await;
            live.session.status(folder.as_bytes()).await
        };
        let error = match told {
            Err(error) => error,
            Ok(told) if known.next > 0 && told.uid_next.is_some_and(|next| next > known.next) => {
                Error::temporary(
                    Kind::Protocol,
                    Scope::Folder,
                    "the server refused several messages, and something came into the folder",
                )
                .remedy("run again: they are looked for before they are stored again")
            }
            Ok(_) => {
                doubted.into_iter().rev().for_each(|draft| batch.queue.push_front(draft));
                return;
            }
        };
        for draft in doubted {
            batch.settle(draft.at, Outcome::Unknown(error.clone()));
        }
        batch.stop.get_or_insert(error);
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

    async fn refused(&self, live: &Live, folder: &str, batch: &mut Batch, group: Vec<Draft>, done: &Done) {
        let what = "storing messages";
        let named = |names: &[&str]| matches!(&done.code, Code::Named(n) if names.contains(&n.as_str()));
        let coded = matches!(&done.code, Code::Named(_)) || done.backoff.is_some();
        let mut missing = named(&["TRYCREATE", "NONEXISTENT"]);
        if !coded && !batch.asked {
            batch.asked = true;
            missing = live.is_gone(folder).await.unwrap_or(false);
        }
        if missing {
            self.folders.forget(folder).await;
            self.shelves.forget(|name| name == folder);
            return batch.not_sent(group, &gone());
        }
        if named(&["OVERQUOTA"]) {
            let error =
                Error::temporary(Kind::Quota, Scope::Mailbox, "the target mailbox is full (OVERQUOTA)")
                    .remedy("give the mailbox more space, or migrate less of it; then run again");
            return batch.not_sent(group, &error);
        }
        let keywords = group.iter().any(Draft::with_keywords);
        if throttles(done) && !(named(&["LIMIT"]) && keywords)
            || named(&["UNAVAILABLE", "INUSE", "SERVERBUG", "CONTACTADMIN", "NOPERM", "AUTHORIZATIONFAILED"])
            || done.not_connected()
        {
            return batch.not_sent(group, &done.refusal(Scope::Folder, what));
        }
        let offer = live.session.capabilities();
        if done.status == Status::Bad
            && !coded
            && FREE_LITERALS.iter().any(|name| offer.has(name))
            && !self.line.host.manners.takes_free_literals()
            && !group.iter().any(|draft| draft.asks_first)
        {
            // Perhaps it offers literals that it does not take.
            let asked = group.into_iter().map(|draft| Draft { asks_first: true, ..draft });
            asked.rev().for_each(|draft| batch.queue.push_front(draft));
            return;
        }
        if group.len() > 1 {
            // One of them is at fault, or several at once are.
            batch.bad |= done.status == Status::Bad;
            batch.singly = true;
            return batch.doubted.extend(group);
        }
        let Some(mut draft) = group.into_iter().next() else { return };
        if named(&["TOOBIG"]) {
            let what = format!("a message of {} bytes is larger than the target takes", draft.body.len());
            let error = Error::new(Kind::TooLarge, Scope::Message, what)
                .remedy("raise the server's limit, or approve the skip");
            return batch.settle(draft.at, Outcome::Refused(error));
        }
        if named(&["UNKNOWN-CTE", "BADBURL"]) && !draft.plain {
            draft.plain = true;
        } else if draft.oddities.utf8
            && !draft.utf8
            && !draft.again
            && live.session.has_enabled("UTF8=ACCEPT")
        {
            // Some take UTF-8 in a header in this form only (RFC 6855 §4).
            draft.utf8 = true;
        } else if draft.mend() {
            // Some servers take no bare LF at all.
        } else if draft.with_keywords() {
            draft.bare = true;
        } else if !draft.again {
            draft.again = true;
            // Later standards do without that form (RFC 9755).
            draft.utf8 = false;
        } else {
            batch.refused += 1;
            let error = done.refusal(Scope::Message, what);
            return self.strike(batch, draft, error);
        }
        batch.queue.push_front(draft);
    }

    /// A message was refused twice without a reason. Servers say a bare NO for anything from a bad message to a full
    /// disk: it is the message if others are stored, or if it happens again and again.
    fn strike(&self, batch: &mut Batch, draft: Draft, error: Error) {
        let strikes = {
            let mut strikes = self.strikes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if strikes.len() > REMEMBERED {
                strikes.clear();
            }
            let strikes = strikes.entry(draft.body.digest()).or_default();
            *strikes += 1;
            *strikes
        };
        if batch.refused >= IN_A_ROW && batch.stored.is_empty() && strikes < STRIKES {
            return batch.not_sent(vec![draft], &error.scoped(Scope::Folder));
        }
        if !batch.stored.is_empty() || strikes >= STRIKES {
            let error = Error::new(
                Kind::Refused,
                Scope::Message,
                "the target server refuses a message and does not say why",
            )
            .remedy("look at the message at the source; approve the skip if it can stay behind");
            return batch.settle(draft.at, Outcome::Refused(error));
        }
        batch.settle(draft.at, Outcome::NotSent(error));
    }

    fn cut(&self, batch: &mut Batch, group: Vec<Draft>, error: WireError, begun: bool) {
        if begun && matches!(error, WireError::Framing(_)) {
            // It answered what it never was sent as a command: it may take the octets of a literal for some.
            self.line.host.manners.learn_no_free_literals();
        }
        let error = error.into_error();
        if !begun {
            return batch.not_sent(group, &error);
        }
        for draft in group {
            batch.settle(draft.at, Outcome::Unknown(error.clone()));
        }
        batch.stop.get_or_insert(error);
    }
}

fn nowhere() -> Error {
    Error::temporary(Kind::Protocol, Scope::Message, "the server stored a message and did not tell where")
        .remedy("run again: it is looked for before it is stored again")
}

fn throttles(done: &Done) -> bool {
    done.backoff.is_some() || ["THROTTLED", "LIMIT", "OVERQUOTA-TEMP"].iter().any(|name| done.code.is(name))
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
