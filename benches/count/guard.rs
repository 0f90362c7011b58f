//! Counts against the committed baseline.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::{ALL, Case};
use crate::valgrind;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/count/baseline.tsv");
/// Percent by which a count may rise or fall unless its line says otherwise. Hash tables are seeded anew in each process, and a
/// compiler may put code elsewhere: that is far below it.
const TOLERANCE: f64 = 3.0;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Only cases whose names hold this.
    only: Option<String>,
    /// Writes what was counted into the baseline. A case's tolerance is kept.
    #[arg(long)]
    save: bool,
    /// Writes a profile of each case to this directory (`callgrind_annotate` reads it).
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// Valgrinds at once; 0: as many as there are processors.
    #[arg(long, default_value_t = 0)]
    at_once: usize,
}

/// A line of the baseline.
#[derive(Debug, Clone, Copy)]
struct Line {
    instructions: f64,
    /// Percent.
    tolerance: f64,
}

pub fn run(options: &Options) -> ExitCode {
    if let Err(why) = valgrind::is_here() {
        println!("skipped: instructions are not counted: {why}");
        return ExitCode::SUCCESS;
    }
    let mut baseline = read(&std::fs::read_to_string(BASELINE).unwrap_or_default());
    let only = options.only.as_deref().unwrap_or_default();
    let cases: Vec<&Case> = ALL.iter().filter(|case| case.name.contains(only)).collect();
    let counted = count(&cases, options);
    let (mut failed, mut fell) = (Vec::new(), Vec::new());
    println!("{:<18} {:>14} {:>14} {:>8}", "", "baseline", "now", "");
    for case in &cases {
        let now = match &counted[case.name] {
            Ok(now) => *now,
            Err(why) => {
                failed.push(format!("{}: {why}", case.name));
                continue;
            }
        };
        let Some(line) = baseline.get(case.name).copied() else {
            println!("{:<18} {:>14} {now:>14.0} {:>8}  {}", case.name, "-", "new", case.of);
            if !options.save {
                failed.push(format!("{}: it has no baseline yet", case.name));
            }
            baseline.insert(case.name.to_owned(), Line { instructions: now, tolerance: TOLERANCE });
            continue;
        };
        let change = (now / line.instructions - 1.0) * 100.0;
        println!("{:<18} {:>14.0} {now:>14.0} {change:>+7.2}%  {}", case.name, line.instructions, case.of);
        if change > line.tolerance {
            failed.push(format!(
                "{} ({}): {:.0} instructions, {now:.0} now: {change:+.2} %, allowed are {} %",
                case.name, case.of, line.instructions, line.tolerance
            ));
        } else if change < -line.tolerance {
            fell.push(case.name);
        }
        baseline.insert(case.name.to_owned(), Line { instructions: now, ..line });
    }
    if options.save {
        baseline.retain(|name, _| ALL.iter().any(|case| case.name == name));
        std::fs::write(BASELINE, written(&baseline)).unwrap();
        println!("saved: {BASELINE}");
        failed.retain(|why| why.contains("ended with"));
    }
    if !fell.is_empty() && !options.save {
        println!(
            "cheaper than the baseline by more than they vary: {}; save it (--save), so that they stay so",
            fell.join(", ")
        );
    }
    failed.iter().for_each(|why| println!("failed: {why}"));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!(
        "where it goes: scripts/bench-instructions CASE --profiles DIR, then callgrind_annotate DIR/CASE; \
         if it is worth it: scripts/bench-instructions --save, and commit benches/count/baseline.tsv with the reason"
    );
    ExitCode::FAILURE
}

/// Instructions of doing each case once.
fn count(cases: &[&Case], options: &Options) -> BTreeMap<&'static str, Result<f64, String>> {
    let at_once = match options.at_once {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    if let Some(dir) = &options.profiles {
        std::fs::create_dir_all(dir).unwrap();
    }
    let (next, all) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|threads| {
        for _ in 0..at_once {
            threads.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let counted = one(case, options);
                    all.lock().unwrap().insert(case.name, counted);
                }
            });
        }
    });
    all.into_inner().unwrap()
}

fn one(case: &Case, options: &Options) -> Result<f64, String> {
    let count = |times: u32, out| {
        valgrind::count(&["case".to_owned(), case.name.to_owned(), times.to_string()], None, out)
    };
    let (few, many) = case.times;
    let before = count(few, None)?;
    let after = count(many, options.profiles.as_ref().map(|dir| dir.join(case.name)))?;
    Ok(after.saturating_sub(before) as f64 / f64::from(many - few))
}

fn read(text: &str) -> BTreeMap<String, Line> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = |line: &str| {
        let mut cells = line.split('\t');
        let name = cells.next()?.to_owned();
        let instructions = cells.next()?.parse().ok()?;
        let tolerance = cells.next().and_then(|t| t.parse().ok()).unwrap_or(TOLERANCE);
        Some((name, Line { instructions, tolerance }))
    };
    lines.filter_map(line).collect()
}

fn written(baseline: &BTreeMap<String, Line>) -> String {
    let mut text = String::from(
        "# Instructions of each case and by how many percent they may change (scripts/bench-instructions --save).\n",
    );
    // In the order of the cases.
    for case in ALL {
        if let Some(line) = baseline.get(case.name) {
            let _ = writeln!(text, "{}\t{:.0}\t{}", case.name, line.instructions, line.tolerance);
        }
    }
    text
}
