//! Which app registration of a pool serves a mailbox.
//!
//! By highest hash of (app, mailbox): the choice needs no memory, is the same in every process, and a new app takes over
//! its share of the mailboxes and moves no other.

use crate::model::Digest;

/// The place in `apps` of the one that serves `mailbox`, whatever the case of its letters; 0 if there are fewer than two.
/// The order of the list does not matter.
pub fn app_of(apps: &[String], mailbox: &str) -> usize {
    let mailbox = mailbox.to_lowercase();
    let weight = |app: &String| Digest::of(format!("{app}\n{mailbox}").as_bytes()).beginning();
    let best = apps.iter().enumerate().max_by_key(|(_, app)| (weight(app), *app));
    best.map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apps(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn a_mailbox_stays_on_its_app_and_a_new_app_takes_its_share_alone() {
        let (two, turned, three) = (apps(&["a", "b"]), apps(&["b", "a"]), apps(&["a", "b", "c"]));
        let mut shares = [0; 3];
        for n in 0..3000 {
            let mailbox = format!("user{n}@example.org");
            let before = &two[app_of(&two, &mailbox)];
            assert_eq!(before, &two[app_of(&two, &mailbox.to_uppercase())]);
            assert_eq!(before, &turned[app_of(&turned, &mailbox)], "whatever the order");
            let after = app_of(&three, &mailbox);
            assert!(three[after] == *before || three[after] == "c", "only the new app takes mailboxes");
            shares[after] += 1;
        }
        assert!(shares.iter().all(|share| (800..1200).contains(share)), "{shares:?}");
        assert_eq!(app_of(&[], "x"), 0);
    }
}
