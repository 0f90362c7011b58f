//! Every source with every target, cut in every pass.
//!
//! Quick: of every kind of step a few cuts, spread over the passes, and rows of five cuts. Nightly: every step. Weekly:
//! every step, for further seeds.

use std::collections::BTreeMap;

use mailwave::env::Step;

use super::content::Scale;
use super::peer::To;
use super::play::{Play, Trial, every_cut, five_in_a_row, some_cuts};
use super::source::From;
use super::target::Defect;
use crate::support::tier::{Tier, seed, seeds};

pub const SEED: u64 = 20_261_122;

/// Cuts of each kind of step in the quick tier.
const EACH: usize = 3;

fn ends_alike(from: From, to: To, scale: Scale) {
    let (tier, first) = (Tier::now(), seed(|| SEED));
    for seed in seeds(first) {
        let trial = Trial { play: Play { from, to }, scale, seed, defect: Defect::None };
        let mut dice = fastrand::Rng::with_seed(seed);
        let undisturbed = trial.undisturbed();
        if from == From::Memory {
            let peak = undisturbed.peak.expect("these targets count");
            assert!(peak >= 4, "only {peak} stores were in flight at once");
        }
        let (mut cuts, rows) = match tier {
            Tier::Quick => (some_cuts(&undisturbed, EACH, &mut dice), 4),
            Tier::Nightly | Tier::Weekly => (every_cut(&undisturbed), 60),
        };
        let single = cuts.len();
        cuts.extend((0..rows).map(|_| five_in_a_row(&undisturbed, &mut dice)));
        let mut by_kind: BTreeMap<Step, u64> = BTreeMap::new();
        for step in trial.all_end_alike(&cuts, &undisturbed) {
            *by_kind.entry(step).or_default() += 1;
        }
        let steps: Vec<usize> = undisturbed.order.iter().map(Vec::len).collect();
        println!(
            "{from:?} → {to:?}, seed {seed}: {steps:?} steps, {single} cuts and {rows} rows of five: {by_kind:?}"
        );
        for step in Step::ALL.into_iter().filter(|step| to.passes(*step)) {
            let there = undisturbed.order.iter().flatten().filter(|s| **s == step).count();
            let cut = by_kind.get(&step).copied().unwrap_or(0);
            assert!(there >= 3 && cut >= 3, "{step:?} was passed {there} times and cut {cut} times");
        }
    }
}

fn pair(from: From, to: To) {
    ends_alike(from, to, Scale { mailboxes: 2, each: 18 });
}

fn in_memory(to: To) {
    ends_alike(From::Memory, to, Scale { mailboxes: 3, each: 21 });
}

#[test]
fn cut_before_any_effect_and_resumed_a_migration_ends_as_if_undisturbed() {
    in_memory(To::Graph);
}

#[test]
fn without_stamps_too_a_migration_ends_as_if_undisturbed() {
    in_memory(To::Numbered);
}

#[test]
fn where_a_server_changes_messages_a_migration_ends_as_if_undisturbed() {
    in_memory(To::Altering);
}

#[test]
fn from_imap_to_graph_any_cut_ends_as_if_undisturbed() {
    pair(From::Imap, To::Graph);
}

#[test]
fn from_imap_to_graph_by_mime_any_cut_ends_as_if_undisturbed() {
    pair(From::Imap, To::ImportMime);
}

#[test]
fn from_imap_to_ews_any_cut_ends_as_if_undisturbed() {
    pair(From::Imap, To::Ews);
}

#[test]
fn from_imap_to_imap_any_cut_ends_as_if_undisturbed() {
    pair(From::Imap, To::Imap);
}

#[test]
fn from_imap_to_maildir_any_cut_ends_as_if_undisturbed() {
    pair(From::Imap, To::Maildir);
}

#[test]
fn from_maildir_to_graph_any_cut_ends_as_if_undisturbed() {
    pair(From::Maildir, To::Graph);
}

#[test]
fn from_maildir_to_graph_by_mime_any_cut_ends_as_if_undisturbed() {
    pair(From::Maildir, To::ImportMime);
}

#[test]
fn from_maildir_to_ews_any_cut_ends_as_if_undisturbed() {
    pair(From::Maildir, To::Ews);
}

#[test]
fn from_maildir_to_imap_any_cut_ends_as_if_undisturbed() {
    pair(From::Maildir, To::Imap);
}

#[test]
fn from_maildir_to_maildir_any_cut_ends_as_if_undisturbed() {
    pair(From::Maildir, To::Maildir);
}

#[test]
fn from_mbox_to_graph_any_cut_ends_as_if_undisturbed() {
    pair(From::Mbox, To::Graph);
}

#[test]
fn from_mbox_to_graph_by_mime_any_cut_ends_as_if_undisturbed() {
    pair(From::Mbox, To::ImportMime);
}

#[test]
fn from_mbox_to_ews_any_cut_ends_as_if_undisturbed() {
    pair(From::Mbox, To::Ews);
}

#[test]
fn from_mbox_to_imap_any_cut_ends_as_if_undisturbed() {
    pair(From::Mbox, To::Imap);
}

#[test]
fn from_mbox_to_maildir_any_cut_ends_as_if_undisturbed() {
    pair(From::Mbox, To::Maildir);
}
