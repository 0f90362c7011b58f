//! `mailwave run`: one pass of every mailbox, wave by wave in its windows, then the summary and the report.

mod summary;
mod watching;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use self::summary::Summary;
use self::watching::Watching;
use super::args::RunArgs;
use super::budgets::Budgets;
use super::check::machine;
use super::exit::Exit;
use super::live::{self, Live};
use super::talk::Talk;
use super::{Failure, control, forecast, mocks, settings_and_plan, stop, waves, wire};
use crate::config::Settings;
use crate::engine::{self, Bell, Conduct, RunState, Stop, Waits, Wave, WaveResult, Wish};
use crate::env::Env;
use crate::guard::Shown;
use crate::observe::Progress;
use crate::report::{About, Report, count, write};

/// Time between two looks at the progress.
const TICK: Duration = Duration::from_millis(250);
/// Time between two samples of what binds.
const SAMPLE: Duration = Duration::from_secs(1);
/// Time between two times at which what the run says of itself is written beside the ledger.
const SAVE: Duration = Duration::from_secs(15);

pub(super) async fn run(args: &RunArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let (lines, told) = (plan.lines(), plan.sizes());
    let until =
        args.until.as_deref().map(|text| waves::until(text, &settings.waves, env.wall())).transpose()?;
    let all = waves::of_run(args, &settings, plan, until)?;
    let mailboxes: Vec<_> = all.iter().flat_map(|wave| wave.mailboxes.iter().cloned()).collect();
    let wishes = wire::Wishes {
        start_over: args.start_over,
        allow_removals: args.allow_removals,
        final_pass: args.final_pass,
    };
    machine::enough_files(&settings, mailboxes.len())?;
    let parts = wire::parts(env, &settings, &mailboxes, wishes)?;
    let budgets = Budgets::of(&settings.run);
    talk.say(&format!(
        "octets of messages: in memory up to {}, in the spool up to {}",
        budgets.memory, budgets.spool
    ));

    let view = wire::view(&settings)?;
    let mut all = waves::resume(args, all, view.as_ref())?;
    tell_resumed(talk, &all);
    forecast::know(&mut all, &told, view.as_ref())?;
    drop(view);
    forecast::tell(&all, &parts.limits, &lines, env.wall(), talk);

    let stop = Stop::default();
    stop::listen(env, &stop, talk)?;
    let began = env.now();
    let number = all.iter().map(|wave| wave.mailboxes.len() as u64).sum();
    let names = all.iter().map(|wave| wave.name.clone()).collect();
    let live = Live::new(env, parts.limits.clone(), names, settings.run.open_mailboxes);
    let watching = Arc::new(Watching {
        progress: Progress::new(number),
        live,
        env: env.clone(),
        talk: talk.clone(),
        waves: settings.waves.clone(),
        sources: parts.sources.clone(),
    });
    let (desk, bell) = engine::desk();
    let socket = control::serve(env, &settings.ledger, bell.clone(), watching.clone());
    if let Err(e) = &socket {
        talk.say(&format!("warning: {e}"));
    }
    let waits = match (args.wait, args.no_wait) {
        (true, _) => Waits::Always,
        (_, true) => Waits::Never,
        _ => Waits::First,
    };
    let conduct = Conduct { waits, desk: Some(desk) };
    talk.begin_progress(began);
    let ticker = env.spawn({
        let (env, talk, watching) = (env.clone(), talk.clone(), watching.clone());
        async move {
            let mut sample_at = began;
            loop {
                if env.now() >= sample_at {
                    watching.live.sample(&watching.progress);
                    sample_at = env.now() + SAMPLE;
                }
                talk.tick(&watching.progress, env.now());
                env.sleep(TICK).await;
            }
        }
    });
    let saver = env.spawn(save(env.clone(), settings.ledger.clone(), bell, watching.clone()));
    let run = engine::run_waves(parts, all, conduct, watching.clone(), stop.clone());
    let result = run.instrument(tracing::info_span!("run")).await;
    drop(socket);
    ticker.abort();
    watching.live.sample(&watching.progress);
    // The desk is closed, so the saver ends by itself with what it heard last.
    let last = saver.await.unwrap_or_default();
    if let Err(e) =
        live::save(&settings.ledger, env.wall(), true, &watching.live.tell(&last, &watching.progress))
    {
        tracing::warn!("what the run said of itself is not kept ({e})");
    }
    talk.end_progress();
    mocks::save()?;

    let about =
        About { source_name: settings.source_name.to_string(), lines: lines.clone(), now: env.wall() };
    let reported = wire::view(&settings).and_then(|view| {
        let report = Report::build(view.as_ref(), &about)?.with_losses(view.as_ref(), &wire::losses())?;
        write(&report, &settings.report)?;
        Ok(report)
    });
    let summary = Summary::new(&result, reported.as_ref().ok(), env.now().saturating_sub(began));
    if let Err(e) = &reported {
        talk.say(&format!("error: {e}"));
    }
    if args.json {
        let mut json = summary.json(&result, &settings, &lines, reported.is_ok());
        watching.live.add_spent(&mut json, None);
        talk.data(&json.to_string());
        if summary.exit == Exit::Stopped {
            tell_left(talk, &settings, &result);
            talk.say("stopped as asked: run the same command to go on");
        }
    } else {
        talk.data(&summary.table(&result, &lines));
        tell_left(talk, &settings, &result);
        if let Some(words) = watching.live.bound_by() {
            talk.say(&format!("Bound by: {words}"));
        }
        summary.say(talk, &settings, &args.config, reported.is_ok());
    }
    // Without its report a run is not done, whatever it moved.
    Ok(if reported.is_err() && summary.exit == Exit::Done { Exit::Investigate } else { summary.exit })
}

/// Writes what the run says of itself beside its ledger, again and again, until it hears nothing more; gives what it heard
/// last.
async fn save(env: Env, ledger: PathBuf, bell: Bell, watching: Arc<Watching>) -> RunState {
    let mut last = RunState::default();
    while let Ok(state) = bell.ring(Wish::Tell).await {
        last = state;
        // It is for whoever asks when the run is gone: nothing depends on it.
        let _ = live::save(&ledger, env.wall(), false, &watching.live.tell(&last, &watching.progress));
        tokio::select! {
            biased;
            () = bell.closed() => {}
            () = env.sleep(SAVE) => {}
        }
    }
    last
}

/// Which passes are gone on with.
fn tell_resumed(talk: &Talk, waves: &[Wave]) {
    for wave in waves {
        let Some(pass) = wave.pass.filter(|pass| pass.before > 0) else { continue };
        talk.say(&format!(
            "wave \"{}\" goes on with its pass {}: {} mailboxes are at its end and are not walked again",
            Shown(&wave.name),
            pass.number,
            count(pass.before)
        ));
    }
}

/// What is left, and from when on it can be done.
fn tell_left(talk: &Talk, settings: &Settings, result: &WaveResult) {
    for (name, opens) in &result.left {
        let Some(opens) = opens else { continue };
        let opens = waves::show(&settings.waves, *opens);
        talk.say(&format!("{}: something is left; the next window opens at {opens}", of_wave(name)));
    }
    let parked = result.mailboxes.iter().filter_map(|m| m.parked_until);
    if let Some(first) = parked.clone().min() {
        let first = waves::show(&settings.waves, first);
        let number = count(parked.count() as u64);
        talk.say(&format!("{number} mailboxes are parked; the first can go on at {first}"));
    }
}

fn of_wave(name: &str) -> String {
    if name.is_empty() { "the run".to_owned() } else { format!("wave \"{}\"", Shown(name)) }
}
