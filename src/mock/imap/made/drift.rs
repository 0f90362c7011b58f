//! What happens to made-up mail between one generation and the next, by the same law on every machine.
//!
//! The law in words: of the messages there are when a generation begins, each one sees a change with the generation's
//! probability, and independently of all others. Of ten changes four are a message that comes into the same folder, four
//! are other flags (`\Seen` set or taken away; in one of four of them `\Flagged`), one is a removal, one a move into
//! another folder. Changes go folder by folder and in the order of UIDs, so that UIDs, UIDNEXT, modification sequences and
//! what vanished follow from the law too: a server started anew with the same law tells the same.

use super::{For, Law, mix, unit};
use crate::mock::imap::store::{Folder, Octets};

/// What one generation changed in one mailbox, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drifted {
    /// Came.
    pub new: u64,
    /// Have other flags.
    pub flags: u64,
    /// Are gone for good.
    pub removed: u64,
    /// Lie in another folder.
    pub moved: u64,
}

impl Drifted {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.new + self.flags + self.removed + self.moved
    }
}

/// What happens where one message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Comes,
    Seen,
    Flagged,
    Goes,
    Moves,
}

impl Law {
    /// What the last generation changed in a mailbox; nothing where none has passed.
    pub fn drifted(&self, mailbox: u64) -> Drifted {
        self.built(mailbox).1
    }

    /// Lets all generations pass over the folders of a mailbox, which are as they were at first; tells what the last did.
    pub(super) fn drift(&self, mailbox: u64, folders: &mut [Folder]) -> Drifted {
        let mut last = Drifted::default();
        for (generation, share) in (1..).zip(&self.drift) {
            last = self.generation(mailbox, generation, *share, folders);
        }
        last
    }

    fn generation(&self, mailbox: u64, generation: u64, share: f64, folders: &mut [Folder]) -> Drifted {
        let there: Vec<Vec<u32>> = folders.iter().map(|f| f.messages.keys().copied().collect()).collect();
        let mut done = Drifted::default();
        for (at, uids) in (0u32..).zip(there) {
            for uid in uids {
                let draw = mix(self.draw(mailbox, at, uid, For::Drift) ^ generation);
                if unit(draw) <= share {
                    match self.change(mailbox, folders, (at, uid), mix(draw)) {
                        Change::Comes => done.new += 1,
                        Change::Seen | Change::Flagged => done.flags += 1,
                        Change::Goes => done.removed += 1,
                        Change::Moves => done.moved += 1,
                    }
                }
            }
        }
        done
    }

    fn change(&self, mailbox: u64, folders: &mut [Folder], (at, uid): (u32, u32), draw: u64) -> Change {
        let others = folders.len().saturating_sub(1) as u64;
        let kind = kind(draw, others > 0);
        let Some(folder) = folders.get_mut(at as usize) else { return kind };
        match kind {
            Change::Comes => {
                let message = self.whole(mailbox, at, folder.uid_next);
                folder.append(message);
            }
            Change::Seen => toggle(folder, uid, "\\Seen"),
            Change::Flagged => toggle(folder, uid, "\\Flagged"),
            Change::Goes => {
                folder.expunge(uid);
            }
            Change::Moves => {
                let message = folder.messages.get(&uid).cloned();
                folder.expunge(uid);
                // Any folder but this one.
                let to = (draw >> 16) % others.max(1);
                let to = if to >= u64::from(at) { to + 1 } else { to };
                let to = usize::try_from(to).ok().and_then(|to| folders.get_mut(to));
                if let (Some(message), Some(to)) = (message, to) {
                    to.append(message);
                }
            }
        }
        kind
    }
}

/// Which change a draw means. Where there is only one folder nothing is moved, but removed.
fn kind(draw: u64, can_move: bool) -> Change {
    match draw % 10 {
        0..=3 => Change::Comes,
        4..=7 if (draw >> 8).is_multiple_of(4) => Change::Flagged,
        4..=7 => Change::Seen,
        9 if can_move => Change::Moves,
        _ => Change::Goes,
    }
}

fn toggle(folder: &mut Folder, uid: u32, flag: &str) {
    let Some(mut flags) = folder.messages.get(&uid).map(|m| m.flags.clone()) else { return };
    if !flags.remove(flag) {
        flags.insert(flag.to_owned());
    }
    folder.set_flags(uid, flags);
}

/// The message behind octets that are made when they are asked for.
pub(super) fn made(octets: &Octets) -> Option<&super::Made> {
    match octets {
        Octets::Made(made) => Some(made),
        Octets::Memory(_) | Octets::File { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn law(drift: &[f64]) -> Law {
        Law { mailboxes: 500, folders_least: 8, folders_more: 0.0, drift: drift.to_vec(), ..Law::default() }
    }

    #[test]
    fn changes_come_in_the_proportions_of_the_law_and_in_its_number() {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..20_000 {
            *counts.entry(format!("{:?}", kind(mix(n), true))).or_default() += 1;
        }
        for (what, wanted) in
            [("Comes", 8_000), ("Seen", 6_000), ("Flagged", 2_000), ("Goes", 2_000), ("Moves", 2_000)]
        {
            let found = counts[what];
            assert!(found.abs_diff(wanted) < wanted / 10, "{what}: {found}");
        }
        assert_eq!(kind(9, false), Change::Goes, "with one folder nothing can be moved");
        let law = law(&[0.5, 0.03]);
        let held: usize = (0..500).map(|n| Law { drift: vec![0.5], ..law.clone() }.told(n).len()).sum();
        let changed: u64 = (0..500).map(|n| law.drifted(n).all()).sum();
        let share = changed as f64 / held as f64;
        assert!((0.026..0.034).contains(&share), "{share} of the messages changed");
    }

    #[test]
    fn what_one_generation_made_the_next_begins_with_and_a_generation_without_changes_changes_nothing() {
        let (first, idle, second) = (law(&[0.2]), law(&[0.2, 0.0]), law(&[0.2, 0.1]));
        let mut grown = 0;
        for n in 0..100 {
            assert_eq!(first.told(n), idle.told(n));
            for ((_, before), (_, after)) in first.folders_now(n).iter().zip(second.folders_now(n)) {
                assert_eq!(before.uid_validity, after.uid_validity);
                assert!(after.uid_next >= before.uid_next && after.highest_modseq >= before.highest_modseq);
                assert_eq!(after.vanished[..before.vanished.len()], before.vanished);
                grown += after.uid_next - before.uid_next;
                let changed = after.messages.values().any(|m| m.modseq > before.highest_modseq)
                    || after.vanished.len() > before.vanished.len();
                assert_eq!(after.highest_modseq > before.highest_modseq, changed);
            }
        }
        assert!(grown > 0);
    }

    #[test]
    fn a_moved_message_keeps_its_octets_and_no_two_messages_have_one_id() {
        let law = law(&[0.5, 0.5]);
        let mut moved = 0;
        for n in 0..50 {
            let mut ids = std::collections::BTreeSet::new();
            for (at, folder) in (0..).zip(law.folders_now(n)) {
                for message in folder.1.messages.values() {
                    let made = made(&message.octets).unwrap();
                    assert!(ids.insert(made.told().message_id), "each of them once");
                    moved += u64::from(!made.told().message_id.contains(&format!(".{n}.{at}.")));
                }
            }
        }
        assert!(moved > 0);
    }
}
