//! One story, told to its end with or without cuts, and many of them, compared.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailwave::env::Step;
use mailwave::model::Digest;

use super::content::{Content, Scale};
use super::peer::{Account, Held, To};
use super::source::From;
use super::stage::{End, Stage};
use super::target::Defect;
use super::world::Observer;

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Play {
    pub from: From,
    pub to: To,
}

/// Where a story is cut: in which pass (0 initial, 1 delta, 2 final), before which effect; if there are several, the run
/// that resumes is cut at the next one, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    pub pass: usize,
    pub at: Vec<u64>,
}

/// What a story leaves behind.
pub struct Told {
    pub held: Held,
    /// The steps of each undisturbed pass, in order.
    pub order: [Vec<Step>; 3],
    pub cut_at: Vec<Step>,
    pub faults: BTreeMap<String, u64>,
    /// Most requests under way at once in one mailbox, where it is counted.
    pub peak: Option<u32>,
}

/// All that one trial has in common.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub play: Play,
    pub scale: Scale,
    pub seed: u64,
    pub defect: Defect,
}

impl Trial {
    /// The whole story: initial pass, users change things, delta pass, users change things, final pass, one that may tidy
    /// up, one that must not write. A cut pass is resumed.
    pub fn tell(&self, cut: &Cut) -> Result<Told, String> {
        let stage = Stage::new(self.play, self.scale, self.seed, self.defect);
        let (mut order, mut cut_at) = ([const { Vec::new() }; 3], Vec::new());
        for (pass, order) in order.iter_mut().enumerate() {
            if pass > 0 {
                stage.users_change_things(pass);
            }
            let cuts = if cut.pass == pass { &cut.at[..] } else { &[] };
            // One run for each cut, and one that ends by itself.
            for k in cuts.iter().copied().map(Some).chain([None]) {
                let observer = Observer::new(k);
                match stage.run(&observer, pass == 2) {
                    End::Cut => cut_at.extend(observer.cut_at()),
                    End::Finished(result) => {
                        self.finished(End::Finished(result)).map_err(|e| format!("pass {pass}: {e}"))?;
                        *order = observer.order();
                        break;
                    }
                }
            }
        }
        self.finished(stage.run(&Observer::new(None), true)).map_err(|e| format!("tidying up: {e}"))?;
        let writes = stage.account().writes;
        self.finished(stage.run(&Observer::new(None), true)).map_err(|e| format!("the last run: {e}"))?;
        let account = stage.account();
        if account.writes != writes {
            return Err(format!("the last run wrote {} times", account.writes.wrapping_sub(writes)));
        }
        if stage.source_was_written() {
            return Err("the source was written".to_owned());
        }
        if let Some(wrong) = account.wrong.first() {
            return Err(wrong.clone());
        }
        counted(&stage.content(), &account)?;
        if self.play.to.keeps_octets() {
            same_octets(&stage.content(), &account)?;
        }
        Ok(Told { held: account.held, order, cut_at, faults: account.faults, peak: account.peak })
    }

    fn finished(&self, end: End) -> Result<(), String> {
        let End::Finished(result) = end else { return Err("cut where it must not be".to_owned()) };
        for ended in &result.mailboxes {
            if let Some(error) = &ended.error {
                return Err(format!("a mailbox ended with: {error}"));
            }
        }
        if result.mailboxes.len() == self.scale.mailboxes {
            Ok(())
        } else {
            Err("a mailbox is missing".to_owned())
        }
    }

    /// The story without a cut; it must fire every fault of its script, and be the same each time.
    pub fn undisturbed(&self) -> Told {
        let told = self.tell(&Cut::default()).expect("an undisturbed run is right");
        let unfired: Vec<_> = told.faults.iter().filter(|(_, fired)| **fired == 0).map(|(f, _)| f).collect();
        assert!(unfired.is_empty(), "never fired in {:?}: {unfired:?}", self.play);
        let again = self.tell(&Cut::default()).expect("an undisturbed run is right");
        assert_eq!(told.order, again.order, "the same seed makes the same run");
        told
    }

    /// Tells the story once for each cut, on two threads: the kinds of step that were cut, and the failures.
    pub fn tell_all(&self, cuts: &[Cut], expected: &Held, stop_at_first: bool) -> (Vec<Step>, Vec<String>) {
        let next = AtomicUsize::new(0);
        let done = Mutex::new((Vec::new(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(cut) = cuts.get(next.fetch_add(1, Ordering::SeqCst)) {
                        let told = self.tell(cut);
                        let mut done = done.lock().unwrap();
                        match told {
                            Ok(told) => {
                                if told.held != *expected {
                                    let what = difference(expected, &told.held);
                                    done.1.push(format!("{cut:?} ({:?}): {what}", told.cut_at));
                                }
                                done.0.extend(told.cut_at);
                            }
                            Err(what) => done.1.push(format!("{cut:?}: {what}")),
                        }
                        if stop_at_first && !done.1.is_empty() {
                            next.store(cuts.len(), Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        done.into_inner().unwrap()
    }

    /// Every one of these cuts must end as if undisturbed. Gives the kinds of step that were cut.
    pub fn all_end_alike(&self, cuts: &[Cut], undisturbed: &Told) -> Vec<Step> {
        let (cut_at, failures) = self.tell_all(cuts, &undisturbed.held, false);
        let shown = failures[..failures.len().min(20)].join("\n");
        let Trial { play, seed, .. } = self;
        assert!(
            failures.is_empty(),
            "{play:?}, seed {seed}: {} of {} cuts:\n{shown}",
            failures.len(),
            cuts.len()
        );
        cut_at
    }
}

/// As many copies as messages, beside those of others.
fn counted(content: &Content, account: &Account) -> Result<(), String> {
    let (copies, source): (usize, usize) = (account.held.values().map(Vec::len).sum(), content.items.len());
    if copies == source + account.foreign {
        return Ok(());
    }
    Err(format!("{copies} messages: copies of {source}, and {} of others", account.foreign))
}

/// Each message's octets are there as often as at the source, and in as many folders.
fn same_octets(content: &Content, account: &Account) -> Result<(), String> {
    for name in &content.mailboxes {
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        for item in content.items.iter().filter(|i| i.mailbox == *name) {
            *wanted.entry(format!("{:?}", Digest::of(&item.octets))).or_default() += 1;
        }
        let address = super::peer::address(name);
        let there: Vec<&String> =
            account.held.iter().filter(|((m, _), _)| *m == address).flat_map(|(_, copies)| copies).collect();
        for (digest, count) in wanted {
            let found = there.iter().filter(|copy| copy.contains(&digest)).count();
            // The user may have had one already.
            if found < count || found > count + usize::from(account.foreign > 0) {
                return Err(format!("a message is there {found} times instead of {count}"));
            }
        }
    }
    Ok(())
}

fn difference(expected: &Held, got: &Held) -> String {
    for (place, copies) in expected {
        let there = got.get(place).map_or(&[][..], Vec::as_slice);
        if there != copies.as_slice() {
            let other = copies.iter().find(|c| !there.contains(c)).map_or("", String::as_str);
            let folder = &place.1;
            return format!(
                "{folder:?} of {} copies holds {}; not there: {other}",
                copies.len(),
                there.len()
            );
        }
    }
    "the target holds a folder it should not".to_owned()
}

/// Every cut of all passes.
pub fn every_cut(undisturbed: &Told) -> Vec<Cut> {
    let cuts = |(pass, order): (usize, &Vec<Step>)| {
        (1..=order.len() as u64).map(move |k| Cut { pass, at: vec![k] }).collect::<Vec<_>>()
    };
    undisturbed.order.iter().enumerate().flat_map(cuts).collect()
}

/// Some of them: of each kind of step at least `each`, spread over all passes, or all there are.
pub fn some_cuts(undisturbed: &Told, each: usize, dice: &mut fastrand::Rng) -> Vec<Cut> {
    let mut by_kind: BTreeMap<Step, Vec<Cut>> = BTreeMap::new();
    for cut in every_cut(undisturbed) {
        let step = undisturbed.order[cut.pass][cut.at[0] as usize - 1];
        by_kind.entry(step).or_default().push(cut);
    }
    let mut chosen = Vec::new();
    for all in by_kind.into_values() {
        if all.len() <= each {
            chosen.extend(all);
            continue;
        }
        // One of each of as many equal shares.
        for share in 0..each {
            let (from, to) = (all.len() * share / each, all.len() * (share + 1) / each);
            chosen.push(all[dice.usize(from..to)].clone());
        }
    }
    chosen
}

/// Five cuts in a row at random: of one pass, and of what resumes it.
pub fn five_in_a_row(undisturbed: &Told, dice: &mut fastrand::Rng) -> Cut {
    let pass = dice.usize(0..3);
    let steps = undisturbed.order[pass].len() as u64;
    // Later ones are shorter: most of the work is done, and a run that ends ends the row.
    Cut { pass, at: (1..=5).map(|n| dice.u64(1..=(steps / n).max(1))).collect() }
}
