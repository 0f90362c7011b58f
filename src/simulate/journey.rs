//! The way of a batch: its reservation, spool and memory, fetch, lane, leave to send, the app's rate, and the answer.

use std::time::Duration;

use super::mailbox::{Asked, Holds, Open, Room};
use super::night::{Broken, Event, LOOK_UP, Night, ordinal};
use crate::limit::machine::{Asked as Bytes, Grant, LineId, share};
use crate::limit::{Answer, Bound, Cost, Stage};
use crate::plan::Load;

/// What an admission granted is put down here, again and again.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Batches that may be fetched.
    fetch: Vec<u32>,
    /// Batches whose requests may leave, and how many these are.
    leave: Vec<(u32, u32)>,
    /// Batches that left.
    gone: Vec<(usize, u32)>,
}

impl Night<'_> {
    /// Begins what may be begun, or ends the mailbox.
    pub(super) fn go_on(&mut self, m: usize) {
        let copying = self.open.len();
        let (memory, large) = (self.scenario.memory, self.large);
        let short = self.memory.is_short() && self.broken != Some(Broken::LaneBeforeMemory);
        let Some(open) = self.open.get_mut(m) else { return };
        if self.draining {
            open.drain(self.now);
        } else {
            let room = Room { share: share(memory, copying, open.most_batches()), short, large };
            open.begin_batches(self.now, room);
            if open.must_look() {
                self.look(m);
                return;
            }
        }
        if open.has_ended() || (self.draining && open.batches.is_empty()) {
            open.lane.stage(self.now, Stage::Count, 0, 0);
            let takes = Duration::from_millis(self.scenario.target.latency_ms) * 2;
            self.at(self.now + takes, Event::Ended(ordinal(m)));
            return;
        }
        self.granted(m);
    }

    /// Takes what the admission of a mailbox granted.
    pub(super) fn granted(&mut self, m: usize) {
        let now = self.now;
        let Some(open) = self.open.get_mut(m) else { return };
        let mut fetch = std::mem::take(&mut self.lists.fetch);
        let mut leave = std::mem::take(&mut self.lists.leave);
        // Asking moves the machine's time on; then everything granted is known.
        if !open.asked.is_empty() {
            while let Some((id, grant)) = open.admission.take_any(now) {
                take(open, id, grant, &mut fetch, &mut leave);
            }
        }
        if let Some(at) = open.admission.wake_at()
            && open.wake.is_none_or(|wake| at < wake)
        {
            open.wake = Some(at);
            self.at(at, Event::Wake(ordinal(m)));
        }
        for batch in fetch.drain(..) {
            self.ask_spool(m, batch);
        }
        if !leave.is_empty() {
            let app = self.mailboxes[m].app;
            for (batch, requests) in leave.drain(..) {
                self.apps[app].join((m, batch), requests);
            }
            self.app(app);
        }
        (self.lists.fetch, self.lists.leave) = (fetch, leave);
    }

    fn holds(&self, m: usize, batch: u32) -> Holds {
        self.open.get(m).and_then(|o| o.batches.get(batch)).map_or(Holds::default(), |b| b.holds)
    }

    /// As a pass does: the spool first, then memory, then the fetch.
    fn ask_spool(&mut self, m: usize, batch: u32) {
        if let Some(open) = self.open.get_mut(m) {
            open.lane.turns(self.now, Bound::Limit, Bound::Memory);
            if self.broken == Some(Broken::LaneBeforeMemory) && open.storing < open.lanes {
                open.storing += 1;
                open.laned.insert(batch);
            }
        }
        let bytes = self.holds(m, batch).spool;
        match self.spool.ask(bytes) {
            Bytes::Granted => self.ask_memory(m, batch),
            Bytes::Waits(id) => {
                self.for_spool.insert(id, (m, batch));
            }
        }
    }

    fn ask_memory(&mut self, m: usize, batch: u32) {
        let bytes = self.holds(m, batch).memory;
        if self.broken == Some(Broken::LargerNeverFits) && bytes > self.scenario.memory {
            self.for_memory.insert(LineId::MAX - u64::from(batch), (m, batch));
            return;
        }
        match self.memory.ask(bytes) {
            Bytes::Granted => self.fetch(m, batch),
            Bytes::Waits(id) => {
                self.for_memory.insert(id, (m, batch));
            }
        }
    }

    /// Gives back what a batch held; whoever waited goes on.
    fn release(&mut self, holds: Holds) {
        let mut granted = Vec::new();
        self.spool.release(holds.spool, &mut granted);
        for id in std::mem::take(&mut granted) {
            if let Some((m, batch)) = self.for_spool.remove(&id) {
                self.ask_memory(m, batch);
            }
        }
        self.memory.release(holds.memory, &mut granted);
        for id in granted {
            match self.for_memory.remove(&id) {
                Some((m, LOOK_UP)) => self.ask_look(m),
                Some((m, batch)) => self.fetch(m, batch),
                None => {}
            }
        }
    }

    fn fetch(&mut self, m: usize, batch: u32) {
        let Some(open) = self.open.get_mut(m) else { return };
        open.lane.turns(self.now, Bound::Memory, Bound::Source);
        let bytes = open.batches.get(batch).map_or(0, |b| b.bytes);
        let arrives = self.source.through(self.now, bytes);
        let latency = Duration::from_millis(self.scenario.source.latency_ms);
        self.at(arrives + latency, Event::Fetched(ordinal(m), batch));
    }

    pub(super) fn fetched(&mut self, m: usize, batch: u32) {
        if let Some(open) = self.open.get_mut(m) {
            open.lane.turns(self.now, Bound::Source, Bound::Target);
            open.ready.push_back(batch);
            open.store_ready(self.now);
        }
        self.granted(m);
    }

    /// Lets requests of an app leave.
    pub(super) fn app(&mut self, app: usize) {
        let mut gone = std::mem::take(&mut self.lists.gone);
        let due = self.apps[app].wake;
        self.apps[app].advance(&mut gone);
        if let Some(at) = self.apps[app].wake
            && due.is_none_or(|due| due <= self.now || at < due)
        {
            self.at(at, Event::App(ordinal(app)));
        }
        for (m, batch) in gone.drain(..) {
            if batch == LOOK_UP {
                self.look_leaves(m);
                continue;
            }
            let Some(open) = self.open.get_mut(m) else { continue };
            let Some(one) = open.batches.get_mut(batch) else { continue };
            open.lane.leaves_gate(self.now, true);
            one.sent = self.now;
            let (messages, wire) = (one.messages, one.wire);
            self.requests += u64::from(messages);
            // One after the other in its lane; the link is shared.
            let through = self.target.through(self.now, wire);
            let latency = Duration::from_millis(self.scenario.target.latency_ms) * messages;
            self.at(through.max(self.now + latency), Event::Stored(ordinal(m), batch));
        }
        self.lists.gone = gone;
    }

    pub(super) fn stored(&mut self, m: usize, batch: u32) {
        let now = self.now;
        let Some(open) = self.open.get_mut(m) else { return };
        let Some(one) = open.batches.remove(batch) else { return };
        open.storing -= 1;
        open.laned.remove(&batch);
        open.lane.answered(now);
        open.lane.ends(now, Bound::Target);
        let (messages, bytes) = (u64::from(one.messages), one.bytes);
        let refused = open.service.arrive(now, messages, one.wire, &self.scenario.target);
        let answer = refused.map_or(Answer::Served, |wait| Answer::Throttled(Some(wait)));
        let unanswered = self.scenario.target.unanswered_percent;
        let lost = refused.is_none() && unanswered > 0.0 && self.dice.f64() * 100.0 < unanswered;
        // What is lost is the answer to the last one; the octets that do not divide are its.
        let each = one.wire / messages.max(1);
        let last = if lost { one.wire - each * (messages - 1) } else { 0 };
        let alike = Cost { requests: one.messages - u32::from(lost), upload_bytes: one.wire - last };
        let unknown = Cost { requests: u32::from(lost), upload_bytes: last };
        let parts = [(alike, answer), (unknown, Answer::Unknown)].into_iter().filter(|(c, _)| c.requests > 0);
        let random = self.dice.u64(..);
        open.admission.finish_alike(now, one.sent, 1, parts, random);
        open.admission.give_back(now, one.ticket);
        if let Some(wait) = refused {
            open.put_back(&one);
            open.lane.blocked(now, open.admission.blocked_until());
            self.refused += messages;
            let key = &self.mailboxes[m].key;
            self.progress.throttled(key, now, wait);
            let secs = wait.as_secs();
            self.watch.event(now, format_args!("{key} refused: {messages} requests, {secs} s"));
        } else {
            let unknown =
                if lost { Load { messages: 1, bytes: bytes / messages.max(1) } } else { Load::default() };
            open.unsettled.messages += unknown.messages;
            open.unsettled.bytes += unknown.bytes;
            let (messages, bytes) = (messages - unknown.messages, bytes - unknown.bytes);
            open.done.messages += messages;
            open.done.bytes += bytes;
            self.stored.messages += messages;
            self.stored.bytes += bytes;
            self.advanced = now;
        }
        // Who breaks this rule gives the lane that became free to the next one that waits for memory.
        let broken = self.broken == Some(Broken::LaneBeforeMemory);
        if broken {
            self.go_on(m);
        }
        if let Some(open) = self.open.get_mut(m) {
            open.store_ready(now);
        }
        let mut holds = one.holds;
        if self.broken == Some(Broken::LookHoldsMemory) && lost {
            holds.memory -= bytes / messages.max(1);
        }
        self.release(holds);
        self.go_on(m);
    }
}

fn take(open: &mut Open, id: u64, grant: Grant, fetch: &mut Vec<u32>, leave: &mut Vec<(u32, u32)>) {
    match (open.asked.remove(id), grant) {
        (Some(Asked::Reserve(batch)), Grant::Reserved(cost)) => {
            if let Some(one) = open.batches.get_mut(batch) {
                one.ticket = cost;
                fetch.push(batch);
            }
        }
        (Some(Asked::Send(batch)), Grant::Send { cost, .. }) => leave.push((batch, cost.requests)),
        (Some(Asked::Look), Grant::Send { .. }) => leave.push((LOOK_UP, 1)),
        _ => {}
    }
}
