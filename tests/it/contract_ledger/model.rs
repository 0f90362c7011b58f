//! The ledger against a plain model of it: random changes, many of them wrong, with the ledger reopened in between.

use std::collections::{BTreeMap, BTreeSet};

use mailwave::ledger::LedgerView;
use mailwave::ledger::sqlite::SqliteView;
use proptest::prelude::*;

use super::*;

/// What the model knows of a folder. Everything that can be counted is counted, not kept.
#[derive(Clone, Default)]
struct MFolder {
    epoch: u64,
    done: BTreeSet<u64>,
    flags: BTreeMap<u64, Flags>,
    facts: BTreeMap<(u64, u64), Fact>,
    next_number: u64,
    position: (u64, u64, u64),
    mark: String,
    missing: bool,
}

#[derive(Clone, Default)]
struct Model {
    identity: Option<String>,
    folders: BTreeMap<u32, MFolder>,
    folders_ever: u32,
    open: BTreeMap<i64, (u32, u64, BTreeSet<u64>)>,
    watch: BTreeSet<Stamp>,
    skips: BTreeMap<(u32, u64), Skip>,
}

/// What the model answers; `None`: the change is wrong and must be refused.
type Told = Option<Applied>;

impl Model {
    fn apply(&mut self, change: &Change, next_batch: &mut i64) -> Told {
        let before = self.clone();
        let told = self.try_apply(change, next_batch);
        if told.is_none() {
            *self = before;
        }
        told
    }

    fn try_apply(&mut self, change: &Change, next_batch: &mut i64) -> Told {
        match change {
            Change::BindTarget { identity } => self.identity = Some(identity.clone()),
            Change::StartOver { identity } => {
                let folders_ever = self.folders_ever;
                *self = Model { identity: Some(identity.clone()), folders_ever, ..Model::default() };
            }
            Change::Folder(row) => {
                let id = match row.id {
                    Some(id) => id.0,
                    None => {
                        self.folders_ever += 1;
                        let new = MFolder { epoch: row.epoch, next_number: 1, ..MFolder::default() };
                        self.folders.insert(self.folders_ever, new);
                        self.folders_ever
                    }
                };
                let f = self.folders.get_mut(&id)?;
                f.missing = false;
                if f.epoch != row.epoch {
                    f.epoch = row.epoch;
                    f.done.clear();
                    f.flags.clear();
                    f.position = (0, 0, 0);
                    self.skips.retain(|(folder, _), _| *folder != id);
                }
                return Some(Applied::Folder(FolderId(id)));
            }
            Change::FolderGiven { id, row } => {
                if self.folders.contains_key(&id.0) {
                    return None;
                }
                self.folders_ever = self.folders_ever.max(id.0);
                if let Some(row) = row {
                    let new = MFolder { epoch: row.epoch, next_number: 1, ..MFolder::default() };
                    self.folders.insert(id.0, new);
                }
                return Some(Applied::Folder(*id));
            }
            Change::FolderMissing(id) => self.folders.get_mut(&id.0)?.missing = true,
            Change::Intent { folder, epoch, items, .. } => {
                let numbers: BTreeSet<u64> = items.iter().map(|i| i.number).collect();
                let clash = self.open_numbers(folder.0, *epoch).intersection(&numbers).count() > 0;
                if self.folders.get(&folder.0)?.epoch != *epoch
                    || items.is_empty()
                    || numbers.len() < items.len()
                    || clash
                {
                    return None;
                }
                let id = *next_batch;
                *next_batch += 1;
                self.open.insert(id, (folder.0, *epoch, numbers));
                return Some(Applied::Batch(BatchId(id)));
            }
            Change::Outcome { batch, outcomes } => self.outcome(*batch, outcomes)?,
            Change::Ended { folder, numbers } => self.ended(folder.0, numbers)?,
            Change::Moved { from, to, stored } => {
                self.ended(from.0.0, &[(from.1, from.2)])?;
                if self.folders.get(&to.0)?.epoch != stored.fact.epoch || stored.from > stored.fact.number {
                    return None;
                }
                self.store(to.0, stored)?;
            }
            Change::FlagsSynced { folder, flags } => {
                let f = self.folders.get_mut(&folder.0)?;
                for (number, flags) in flags {
                    f.flags.entry(*number).and_modify(|old| old.clone_from(flags));
                }
            }
            Change::Skipped { folder, skips } => {
                self.folders.get(&folder.0)?;
                for s in skips {
                    self.skip(folder.0, s)?;
                }
            }
            Change::Unwatch(stamps) => self.watch.retain(|s| !stamps.contains(s)),
            Change::Unskip { folder, numbers } => {
                self.folders.get(&folder.0)?;
                self.skips.retain(|(f, n), _| *f != folder.0 || !numbers.contains(n));
            }
            Change::Marked { folder, mark } => self.folders.get_mut(&folder.0)?.mark.clone_from(mark),
            Change::Position { folder, uidnext, modseq, messages } => {
                self.folders.get_mut(&folder.0)?.position = (*uidnext, *modseq, *messages);
            }
            Change::PassEnded(_) | Change::Failed(_) | Change::Walked(_) => {}
        }
        Some(Applied::Done)
    }

    fn open_numbers(&self, folder: u32, epoch: u64) -> BTreeSet<u64> {
        let of = self.open.values().filter(|(f, e, _)| (*f, *e) == (folder, epoch));
        of.flat_map(|(_, _, numbers)| numbers.iter().copied()).collect()
    }

    fn outcome(&mut self, batch: BatchId, outcomes: &Outcomes) -> Option<()> {
        let (folder, epoch, mut numbers) = self.open.remove(&batch.0)?;
        let unknown: Vec<u64> = outcomes.unknown.iter().map(|(n, _)| *n).collect();
        let named = outcomes.stored.iter().map(|s| s.fact.number);
        let named = named.chain(outcomes.skipped.iter().map(|s| s.number));
        for number in named.chain(outcomes.gone.iter().chain(&outcomes.unsent).chain(&unknown).copied()) {
            if !numbers.remove(&number) {
                return None;
            }
        }
        numbers.extend(unknown);
        if !numbers.is_empty() {
            self.open.insert(batch.0, (folder, epoch, numbers));
        }
        for s in &outcomes.stored {
            if s.fact.epoch != epoch || s.from > s.fact.number {
                return None;
            }
            self.store(folder, s)?;
        }
        if self.folders[&folder].epoch == epoch {
            for s in &outcomes.skipped {
                self.skip(folder, s)?;
            }
            self.folders.get_mut(&folder)?.done.extend(&outcomes.gone);
        }
        self.watch.extend(outcomes.unknown.iter().map(|(_, stamp)| stamp.clone()));
        Some(())
    }

    fn store(&mut self, folder: u32, stored: &Stored) -> Option<()> {
        let epoch = self.folders.get(&folder)?.epoch;
        let open = self.open_numbers(folder, epoch);
        let f = self.folders.get_mut(&folder)?;
        let key = (stored.fact.epoch, stored.fact.number);
        f.facts.insert(key, stored.fact.clone());
        if stored.fact.epoch == epoch {
            f.done.extend((stored.from..key.1).filter(|n| !open.contains(n)));
            f.done.insert(key.1);
            f.flags.insert(key.1, stored.flags.clone());
            self.skips.remove(&(folder, key.1));
        }
        Some(())
    }

    fn ended(&mut self, folder: u32, numbers: &[(u64, u64)]) -> Option<()> {
        let f = self.folders.get_mut(&folder)?;
        for (epoch, number) in numbers {
            f.facts.remove(&(*epoch, *number));
            if *epoch == f.epoch {
                f.flags.remove(number);
            }
        }
        Some(())
    }

    fn skip(&mut self, folder: u32, skip: &Skip) -> Option<()> {
        let f = self.folders.get_mut(&folder)?;
        if !f.flags.contains_key(&skip.number) {
            f.done.remove(&skip.number);
        }
        self.skips.insert((folder, skip.number), skip.clone());
        Some(())
    }

    /// The ledger says the same as the model.
    fn compare(&self, state: &MailboxState, facts: &BTreeMap<u32, Vec<Fact>>) {
        assert_eq!(state.target_identity, self.identity);
        assert_eq!(state.folders.len(), self.folders.len());
        for (told, (id, f)) in state.folders.iter().zip(&self.folders) {
            assert_eq!(told.id.0, *id);
            assert_eq!(told.epoch, f.epoch);
            assert_eq!(told.done.iter().collect::<BTreeSet<_>>(), f.done);
            for number in 0..=NUMBERS {
                assert_eq!(told.flags.get(number), f.flags.get(&number));
            }
            // A folder that comes back to an epoch keeps its orphans until they are bound, stored anew or ended.
            let live = f.flags.len() as u64;
            assert_eq!((told.live, told.orphans), (live, f.facts.len() as u64 - live));
            assert_eq!((told.uidnext, told.modseq, told.messages), f.position);
            assert_eq!(told.mark, f.mark);
            assert_eq!((told.missing, told.next_number), (f.missing, f.next_number));
            assert_eq!(facts[id], f.facts.values().cloned().collect::<Vec<_>>());
        }
        let open: BTreeMap<i64, (u32, u64, BTreeSet<u64>)> = state
            .open
            .iter()
            .map(|b| (b.id.0, (b.folder.0, b.epoch, b.items.iter().map(|i| i.number).collect())))
            .collect();
        assert_eq!(open, self.open);
        assert_eq!(state.watch.iter().map(|w| w.stamp.clone()).collect::<BTreeSet<_>>(), self.watch);
        let skips: BTreeMap<_, _> = state.skips.iter().map(|(f, s)| ((f.0, s.number), s.clone())).collect();
        assert_eq!(skips, self.skips);
    }
}

const NUMBERS: u64 = 8;

/// What a random run does.
#[derive(Debug, Clone)]
enum Op {
    Change(Box<Change>),
    Number(u32, u64),
    Reopen,
}

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1..=NUMBERS, 0..4)
}

fn any_stored() -> impl Strategy<Value = Stored> {
    (1u64..=2, 1..=NUMBERS, 0u64..3, any::<bool>(), 0u64..50).prop_map(
        |(epoch, number, holes, read, size)| {
            let fact = Fact { size, ..fact(epoch, number) };
            Stored {
                fact,
                from: number.saturating_sub(holes),
                flags: if read { seen() } else { Flags::default() },
            }
        },
    )
}

/// Outcomes; whether they fit a batch is left to chance.
fn any_outcomes() -> impl Strategy<Value = Outcomes> {
    let lists = (prop::collection::vec(any_stored(), 0..3), prop::collection::vec(0u8..5, 8));
    lists.prop_map(|(stored, kinds)| {
        let mut out = Outcomes { stored, ..Outcomes::default() };
        for (number, kind) in (1..=NUMBERS).zip(kinds) {
            if out.stored.iter().any(|s| s.fact.number == number) {
                continue;
            }
            match kind {
                0 if number % 2 == 0 => out.gone.push(number),
                1 if number % 3 == 0 => out.unsent.push(number),
                2 if number % 3 == 0 => out.skipped.push(skip(number)),
                3 if number % 3 == 0 => out.unknown.push((number, stamp("ann", FolderId(1), 1, number))),
                _ => {}
            }
        }
        out
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    let folder = || (1u32..=3).prop_map(FolderId);
    let epoch = || 1u64..=2;
    let intent =
        (folder(), epoch(), prop::collection::btree_set(1..=NUMBERS, 1..6)).prop_map(|(folder, epoch, n)| {
            Change::Intent {
                folder,
                epoch,
                anchor: format!("a{epoch}"),
                items: n.into_iter().map(item).collect(),
            }
        });
    let change = prop_oneof![
        1 => any::<u8>().prop_map(|n| Change::BindTarget { identity: n.to_string() }),
        1 => Just(Change::StartOver { identity: "anew".to_owned() }),
        3 => epoch().prop_map(|epoch| Change::Folder(folder_row(None, epoch))),
        2 => (folder(), epoch()).prop_map(|(id, epoch)| Change::Folder(folder_row(Some(id), epoch))),
        1 => folder().prop_map(Change::FolderMissing),
        8 => intent,
        // Given a batch, and cut to its open numbers, when it is applied.
        14 => any_outcomes().prop_map(|outcomes| Change::Outcome { batch: BatchId(0), outcomes }),
        3 => (folder(), prop::collection::vec((epoch(), 1..=NUMBERS), 0..4))
            .prop_map(|(folder, numbers)| Change::Ended { folder, numbers }),
        3 => ((folder(), epoch(), 1..=NUMBERS), folder(), any_stored())
            .prop_map(|(from, to, stored)| Change::Moved { from, to, stored }),
        2 => (folder(), numbers()).prop_map(|(folder, n)| Change::FlagsSynced {
            folder,
            flags: n.into_iter().map(|n| (n, if n % 2 == 0 { seen() } else { Flags::default() })).collect(),
        }),
        2 => (folder(), numbers())
            .prop_map(|(folder, n)| Change::Skipped { folder, skips: n.into_iter().map(skip).collect() }),
        1 => numbers().prop_map(|n| Change::Unwatch(n.into_iter().map(|n| stamp("ann", FolderId(1), 1, n)).collect())),
        1 => (folder(), numbers()).prop_map(|(folder, numbers)| Change::Unskip { folder, numbers }),
        1 => (folder(), 0u64..9, 0u64..9, 0u64..9).prop_map(|(folder, uidnext, modseq, messages)| Change::Position { folder, uidnext, modseq, messages }),
        1 => (folder(), "[a-c]{0,2}").prop_map(|(folder, mark)| Change::Marked { folder, mark }),
    ];
    prop_oneof![
        20 => change.prop_map(|c| Op::Change(Box::new(c))),
        1 => (1u32..=3, 0u64..9).prop_map(|(folder, count)| Op::Number(folder, count)),
        1 => Just(Op::Reopen),
    ]
}

/// Gives an outcome one of the open batches, and mostly only numbers that are open in it.
fn fit(model: &Model, change: Change, at: usize) -> Change {
    let Change::Outcome { mut outcomes, .. } = change else { return change };
    let Some((id, (_, epoch, open))) = model.open.iter().nth(at % model.open.len().max(1)) else {
        return Change::Outcome { batch: BatchId(99), outcomes };
    };
    if !at.is_multiple_of(5) {
        let mut seen = BTreeSet::new();
        outcomes.stored.retain(|s| open.contains(&s.fact.number) && seen.insert(s.fact.number));
        outcomes.stored.iter_mut().for_each(|s| s.fact.epoch = *epoch);
        outcomes.skipped.retain(|s| open.contains(&s.number));
        outcomes.gone.retain(|n| open.contains(n));
        outcomes.unsent.retain(|n| open.contains(n));
        outcomes.unknown.retain(|(n, _)| open.contains(n));
    }
    Change::Outcome { batch: BatchId(*id), outcomes }
}

async fn run(bed: Bed, ops: Vec<Op>) {
    let mut ledger = bed.open();
    let mut claim = ledger.claim(&mailbox("ann")).await.unwrap();
    let (mut model, mut next_batch) = (Model::default(), 1);
    let (mut taken, mut refused) = (0, 0);
    let begin = |_| Op::Change(Box::new(Change::Folder(folder_row(None, 1))));
    for (at, op) in (0..2).map(begin).chain(ops).enumerate() {
        match op {
            Op::Change(change) => {
                let change = fit(&model, *change, at);
                let told = model.apply(&change, &mut next_batch);
                let answer = ledger.apply(&claim, change.clone()).await;
                assert_eq!(answer.as_ref().ok(), told.as_ref(), "{at}: {change:?}: {answer:?}");
                if told.is_some() { taken += 1 } else { refused += 1 }
            }
            Op::Number(folder, count) => {
                let answer = ledger.number(&claim, FolderId(folder), count).await.ok();
                let told = model.folders.get_mut(&folder).map(|f| {
                    f.next_number += count;
                    f.next_number - count
                });
                assert_eq!(answer, told);
            }
            Op::Reopen => {
                drop(ledger);
                ledger = bed.open();
                claim = ledger.claim(&mailbox("ann")).await.unwrap();
            }
        }
        let state = ledger.load(&claim).await.unwrap();
        let mut facts = BTreeMap::new();
        for folder in &state.folders {
            facts.insert(folder.id.0, ledger.facts(&claim, folder.id).await.unwrap());
        }
        model.compare(&state, &facts);
    }
    let view = SqliteView::open(&bed.dir()).unwrap();
    let line = &view.mailboxes().unwrap()[0];
    let all = || model.folders.values().flat_map(|f| f.facts.values());
    assert_eq!((line.messages, line.bytes), (all().count() as u64, all().map(|f| f.size).sum()));
    assert_eq!(line.skipped, model.skips.len() as u64);
    assert_eq!(line.unknown, model.open.values().map(|(_, _, n)| n.len() as u64).sum::<u64>());
    TAKEN.fetch_add(taken, Ordering::SeqCst);
    REFUSED.fetch_add(refused, Ordering::SeqCst);
}

static TAKEN: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);

#[test]
fn random_changes_do_what_a_plain_model_says() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&prop::collection::vec(any_op(), 1..80), |ops| {
            on(true, |bed| run(bed, ops));
            Ok(())
        })
        .unwrap();
    let (taken, refused) = (TAKEN.load(Ordering::SeqCst), REFUSED.load(Ordering::SeqCst));
    println!("{taken} changes taken, {refused} refused");
    assert!(taken > 300 && refused > 100, "the dice must throw both kinds: {taken}, {refused}");
}
