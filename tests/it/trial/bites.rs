//! The test of the test: with a defect put in, at least one cut must turn red.

use super::content::Scale;
use super::pairs::SEED;
use super::peer::To;
use super::play::{Cut, Play, Trial, every_cut};
use super::source::From;
use super::target::Defect;

fn bites(to: To, defect: Defect) {
    let play = Play { from: From::Memory, to };
    let scale = Scale { mailboxes: 3, each: 21 };
    let sound = Trial { play, scale, seed: SEED, defect: Defect::None };
    let undisturbed = sound.tell(&Cut::default()).expect("an undisturbed run is right");
    let spoilt = Trial { defect, ..sound };
    if let Err(what) = spoilt.tell(&Cut::default()) {
        println!("noticed without a cut: {what}");
        return;
    }
    let (_, failures) = spoilt.tell_all(&every_cut(&undisturbed), &undisturbed.held, true);
    assert!(!failures.is_empty(), "the trial did not notice {defect:?}");
    println!("noticed: {}", failures[0]);
}

#[test]
fn the_trial_turns_red_when_intents_are_not_synced() {
    bites(To::Graph, Defect::IntentNotSynced);
    bites(To::Numbered, Defect::IntentNotSynced);
}

#[test]
fn the_trial_turns_red_when_the_look_up_is_blind() {
    bites(To::Graph, Defect::LookUpBlind);
    bites(To::Numbered, Defect::LookUpBlind);
}

#[test]
fn the_trial_turns_red_when_an_open_store_is_taken_for_done() {
    bites(To::Graph, Defect::OpenTakenForDone);
}

#[test]
fn the_trial_turns_red_when_intents_have_no_anchor() {
    bites(To::Numbered, Defect::NoAnchor);
}

#[test]
fn the_trial_turns_red_when_copies_are_not_seen_where_they_are() {
    bites(To::Numbered, Defect::CopiesUnseen);
}
