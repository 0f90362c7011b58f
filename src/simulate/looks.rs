//! Looking for what was stored and never answered.

use std::time::Duration;

use super::night::{Broken, Event, LOOK_UP, Night, ordinal};
use crate::limit::Answer;
use crate::limit::machine::Asked;

/// What has no known outcome is looked for again after this.
const SETTLE: Duration = Duration::from_secs(10);

impl Night<'_> {
    /// Looks for what has no known outcome: nothing is held for it.
    pub(super) fn look(&mut self, m: usize) {
        if self.broken == Some(Broken::LookHoldsMemory) {
            let Some(open) = self.open.get_mut(m) else { return };
            open.looking = true;
            if let Asked::Waits(id) = self.memory.ask(open.unsettled.bytes) {
                self.for_memory.insert(id, (m, LOOK_UP));
                return;
            }
        }
        self.ask_look(m);
    }

    pub(super) fn ask_look(&mut self, m: usize) {
        if let Some(open) = self.open.get_mut(m) {
            open.look(self.now);
        }
        self.granted(m);
    }

    /// The look-up of a mailbox leaves.
    pub(super) fn look_leaves(&mut self, m: usize) {
        let Some(open) = self.open.get_mut(m) else { return };
        open.look_sent = self.now;
        open.lane.leaves_gate(self.now, true);
        self.requests += 1;
        let latency = Duration::from_millis(self.scenario.target.latency_ms);
        self.at(self.now + latency, Event::Looked(ordinal(m)));
    }

    /// A look-up was answered: what is not there after the second one is stored again.
    pub(super) fn looked(&mut self, m: usize) {
        let (now, there) = (self.now, self.dice.bool());
        let Some(open) = self.open.get_mut(m) else { return };
        open.lane.answered(now);
        open.admission.finish(now, open.look_sent, 0, Answer::Served, 0);
        if !there && !open.looked {
            open.looked = true;
            self.at(now + SETTLE, Event::LookAgain(ordinal(m)));
            return;
        }
        let found = std::mem::take(&mut open.unsettled);
        (open.looked, open.looking) = (false, false);
        if there {
            open.done.messages += found.messages;
            open.done.bytes += found.bytes;
            self.stored.messages += found.messages;
            self.stored.bytes += found.bytes;
        } else {
            open.left.messages += found.messages;
            open.left.bytes += found.bytes;
        }
        let (key, word) = (&self.mailboxes[m].key, if there { "there" } else { "not there" });
        self.watch.event(now, format_args!("{key} looked for {} messages: {word}", found.messages));
        self.advanced = now;
        self.go_on(m);
    }
}
