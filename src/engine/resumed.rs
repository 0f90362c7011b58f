//! Which pass of its wave a run goes on with, and which mailboxes need not be walked in it again. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::WavePass;
use crate::ledger::Walked;
use crate::model::{Mailbox, MailboxKey};

/// Where a wave stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The pass a run of it is part of.
    pub pass: WavePass,
    /// The mailboxes that came to their end in it in earlier runs.
    pub finished: BTreeSet<MailboxKey>,
    /// Every mailbox was walked, or has failed, in the pass before this one: it was over, and was of the kind asked for.
    /// Beside waves in the midst of theirs, there is nothing to be done of this one.
    pub over: bool,
    /// An earlier run did a part of this pass.
    pub midst: bool,
}

/// The pass of a wave that a run of these mailboxes is part of, and those of them that came to their end in it before.
///
/// A pass is over once every mailbox was walked or has failed in it; the next run begins another one. So does a run that
/// is the last before cutover in the midst of one that is not, or the other way round. Mailboxes that failed are tried
/// again as long as their wave's pass goes on.
pub fn resumed(
    wave: &str,
    mailboxes: &[Mailbox],
    walked: &BTreeMap<MailboxKey, Walked>,
    last: bool,
) -> Resumed {
    let rows = mailboxes.iter().filter_map(|m| Some((&m.key, walked.get(&m.key)?)));
    let rows: Vec<(&MailboxKey, &Walked)> = rows.filter(|(_, w)| w.wave == wave).collect();
    let number = rows.iter().map(|(_, w)| w.pass).max().unwrap_or(0);
    let of_it = || rows.iter().filter(|(_, w)| w.pass == number);
    let another = of_it().any(|(_, w)| w.last != last);
    let over = number > 0 && !another && of_it().count() == mailboxes.len();
    if number == 0 || another || over {
        let pass = WavePass { number: number.saturating_add(1), last, before: 0 };
        return Resumed { pass, finished: BTreeSet::new(), over, midst: false };
    }
    let finished: BTreeSet<_> = of_it().filter(|(_, w)| w.complete).map(|(key, _)| (*key).clone()).collect();
    let pass = WavePass { number, last, before: finished.len() as u64 };
    Resumed { pass, finished, over: false, midst: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceName;

    fn key(name: &str) -> MailboxKey {
        MailboxKey::of(&"acme".parse::<SourceName>().expect("a name"), name)
    }

    fn mailbox(name: &str) -> Mailbox {
        Mailbox {
            key: key(name),
            source: name.to_owned(),
            target: name.to_owned(),
            source_endpoint: "old".to_owned(),
            target_endpoint: "new".to_owned(),
            target_place: String::new(),
            wave: "pilot".to_owned(),
            priority: 0,
        }
    }

    /// The pass and who is finished, of a wave of `names`, after `rows` of (name, wave, pass, last, complete).
    fn after(names: &str, rows: &[(&str, &str, u64, bool, bool)], last: bool) -> (u64, usize) {
        let mailboxes: Vec<Mailbox> = names.split(' ').map(mailbox).collect();
        let row = |(name, wave, pass, last, complete): &(&str, &str, u64, bool, bool)| {
            (key(name), Walked { wave: (*wave).to_owned(), pass: *pass, last: *last, complete: *complete })
        };
        let Resumed { pass, finished, over, midst } =
            resumed("pilot", &mailboxes, &rows.iter().map(row).collect(), last);
        assert_eq!(pass.before, finished.len() as u64);
        assert!(!(over && midst) && (midst || finished.is_empty()));
        (pass.number, finished.len())
    }

    #[test]
    fn a_pass_goes_on_until_every_mailbox_was_walked_or_failed() {
        assert_eq!(after("a b c", &[], false), (1, 0));
        assert_eq!(after("a b c", &[("a", "pilot", 1, false, true)], false), (1, 1));
        let failed = [("a", "pilot", 1, false, true), ("b", "pilot", 1, false, false)];
        assert_eq!(after("a b c", &failed, false), (1, 1), "a failed one is tried again");
        assert_eq!(after("a b", &failed, false), (2, 0), "it does not hold the others up for ever");
        let next = [("a", "pilot", 2, false, true), ("b", "pilot", 1, false, true)];
        assert_eq!(after("a b", &next, false), (2, 1));
    }

    #[test]
    fn another_wave_and_the_pass_before_cutover_are_passes_of_their_own() {
        assert_eq!(after("a b", &[("a", "other", 7, false, true)], false), (1, 0));
        let half = [("a", "pilot", 3, false, true)];
        assert_eq!(after("a b", &half, true), (4, 0));
        let last = [("a", "pilot", 4, true, true), ("b", "pilot", 3, false, true)];
        assert_eq!(after("a b", &last, true), (4, 1));
        assert_eq!(after("a b", &last, false), (5, 0));
    }
}
