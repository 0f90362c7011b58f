//! One open mailbox: what is left of it, and where its batches wait.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::few::Few;
use super::service::Service;
use crate::env::Tick;
use crate::limit::machine::{Admission, Id, Lane, Rules};
use crate::limit::{Bound, Cost};
use crate::plan::Load;

/// Messages and bytes of one batch: as a Graph target asks for.
const BATCH_MESSAGES: u64 = 20;
const BATCH_BYTES: u64 = 4 << 20;
/// Batches fetched while every lane is taken.
const AHEAD: usize = 1;

/// One batch of an open mailbox.
#[derive(Debug)]
pub(super) struct Batch {
    pub messages: u32,
    /// Octets at the source, in bytes.
    pub bytes: u64,
    /// Bytes on the wire.
    pub wire: u64,
    /// What its ticket still has.
    pub ticket: Cost,
    pub holds: Holds,
    pub sent: Tick,
}

/// What a batch asked its mailbox's admission for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Reserve(u32),
    Send(u32),
    /// To look for messages whose stores were not answered.
    Look,
}

/// What a batch holds of the budgets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Holds {
    pub memory: u64,
    pub spool: u64,
}

/// What may be begun now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes of one batch.
    pub share: u64,
    /// Somebody waits for memory.
    pub short: bool,
    /// Each how many messages one is large, and how large; 0: none is.
    pub large: (u64, u64),
}

/// An open mailbox.
#[derive(Debug)]
pub(super) struct Open {
    pub admission: Admission,
    pub service: Service,
    pub asked: Few<Id, Asked>,
    pub batches: Few<u32, Batch>,
    /// What its time goes to.
    pub lane: Lane,
    /// Fetched, waiting for a lane.
    pub ready: VecDeque<u32>,
    /// Stores under way.
    pub storing: usize,
    /// Messages, and their bytes, whose stores were not answered.
    pub unsettled: Load,
    /// They were looked for once.
    pub looked: bool,
    /// A look is asked for, or under way.
    pub looking: bool,
    pub look_sent: Tick,
    /// Batches that were given a lane before they were fetched: against the rules.
    pub laned: BTreeSet<u32>,
    pub lanes: usize,
    pub left: Load,
    pub done: Load,
    /// Nothing new is begun once so many messages are stored: it fails then.
    pub fails_after: Option<u64>,
    /// A look at its admission is due then.
    pub wake: Option<Tick>,
    pub began: Tick,
    next: u32,
}

impl Open {
    pub(super) fn new(
        now: Tick,
        rules: &Arc<Rules>,
        lanes: usize,
        load: Load,
        fails_after: Option<u64>,
    ) -> Open {
        Open {
            admission: Admission::new(rules.clone(), false),
            service: Service::default(),
            asked: Few::new(),
            batches: Few::new(),
            lane: Lane::new(now),
            ready: VecDeque::new(),
            storing: 0,
            unsettled: Load::default(),
            looked: false,
            looking: false,
            look_sent: now,
            laned: BTreeSet::new(),
            lanes,
            left: load,
            done: Load::default(),
            fails_after,
            wake: None,
            began: now,
            next: 0,
        }
    }

    /// It has failed: nothing new is begun.
    pub(super) fn has_failed(&self) -> bool {
        self.fails_after.is_some_and(|after| self.done.messages >= after)
    }

    /// Batches under way or prepared at once, at most.
    pub(super) fn most_batches(&self) -> usize {
        self.lanes + AHEAD
    }

    /// Begins as many batches as a pass would: each asks for its reservation.
    pub(super) fn begin_batches(&mut self, now: Tick, room: Room) {
        while self.batches.len() < self.most_batches() && self.left.messages > 0 && !self.has_failed() {
            let ahead = self.batches.len() >= self.lanes;
            let (every, size) = room.large;
            let large = every > 0 && self.left.messages.is_multiple_of(every) && self.left.bytes > size;
            // As in `engine::copy`: nothing large ahead, and nothing while others wait for memory.
            if ahead && (room.short || (large && size > BATCH_BYTES)) {
                break;
            }
            let mean = (self.left.bytes / self.left.messages).max(1);
            // Up to the next large one.
            let most = if every > 0 { self.left.messages % every } else { self.left.messages };
            let most = if most == 0 { every.min(self.left.messages) } else { most };
            let most_bytes = BATCH_BYTES.min(room.share);
            let (messages, bytes) = if large {
                (1, size)
            } else {
                let messages = (most_bytes / mean).clamp(1, BATCH_MESSAGES).min(most);
                let all = messages == self.left.messages;
                (messages, if all { self.left.bytes } else { (mean * messages).min(self.left.bytes) })
            };
            self.left.messages -= messages;
            self.left.bytes -= bytes;
            let requests = u32::try_from(messages).unwrap_or(u32::MAX);
            // The target's estimate: base64, and room for headers twice and the envelope.
            let wire = bytes.saturating_mul(4) / 3 + messages * 4_096;
            let cost = Cost { requests, upload_bytes: bytes.saturating_mul(4) / 3 + messages * 8_192 };
            let batch = self.next;
            self.next += 1;
            let holds = if bytes > BATCH_BYTES && messages == 1 {
                Holds { memory: BATCH_BYTES, spool: bytes }
            } else {
                Holds { memory: bytes, spool: 0 }
            };
            let one = Batch { messages: requests, bytes, wire, ticket: Cost::default(), holds, sent: now };
            self.batches.add(batch, one);
            self.lane.begins(now, Bound::Limit);
            let id = self.admission.ask_reserve(now, cost);
            self.asked.add(id, Asked::Reserve(batch));
        }
    }

    /// Lets go of batches that still wait for their reservation: a stop begins nothing that has not begun.
    pub(super) fn drain(&mut self, now: Tick) {
        let waits = |(id, asked): &(Id, Asked)| match asked {
            Asked::Reserve(batch) => Some((*id, Some(*batch))),
            Asked::Look => Some((*id, None)),
            Asked::Send(_) => None,
        };
        let waiting: Vec<(Id, Option<u32>)> = self.asked.iter().filter_map(waits).collect();
        for (id, batch) in waiting {
            self.admission.cancel(now, id, &mut Cost::default());
            self.asked.remove(id);
            match batch {
                Some(_) => self.lane.ends(now, Bound::Limit),
                None => self.lane.leaves_gate(now, false),
            }
            if let Some(batch) = batch.and_then(|batch| self.batches.remove(batch)) {
                self.put_back(&batch);
            }
        }
    }

    /// Gives fetched batches a lane, as far as there are any.
    pub(super) fn store_ready(&mut self, now: Tick) {
        while let Some(at) = self
            .ready
            .iter()
            .position(|b| self.laned.contains(b))
            .or((self.storing < self.lanes).then_some(0))
            && let Some(batch) = self.ready.remove(at)
        {
            let Some(one) = self.batches.get_mut(batch) else { continue };
            let cost = Cost { requests: one.messages, upload_bytes: one.wire };
            let id = self.admission.ask_batch(now, &mut one.ticket, false, cost, 1);
            self.asked.add(id, Asked::Send(batch));
            self.lane.comes_to_gate(now);
            self.storing += usize::from(!self.laned.remove(&batch));
        }
    }

    /// A batch that was refused whole: its messages are to be stored again.
    pub(super) fn put_back(&mut self, batch: &Batch) {
        self.left.messages += u64::from(batch.messages);
        self.left.bytes += batch.bytes;
    }

    /// All was tried, and something has no known outcome: a look for it is to be asked for.
    pub(super) fn must_look(&self) -> bool {
        let copied = self.batches.is_empty() && self.left.messages == 0 && !self.has_failed();
        copied && self.unsettled.messages > 0 && !self.looking
    }

    /// Asks to look; before all stores.
    pub(super) fn look(&mut self, now: Tick) {
        let id = self.admission.ask_send(now, &mut Cost::default(), true, 0);
        self.asked.add(id, Asked::Look);
        self.lane.comes_to_gate(now);
        self.looking = true;
    }

    /// Nothing is left, or nothing more will be begun, and nothing is under way.
    pub(super) fn has_ended(&self) -> bool {
        let settled = self.unsettled.messages == 0;
        self.batches.is_empty() && ((self.left.messages == 0 && settled) || self.has_failed())
    }
}
