//! A ladder's figures: a table, JSON, and the curves.

use serde_json::{Value, json};

use crate::fit::{Fit, fit};
use crate::ladder::Ladder;
use crate::run::Point;

/// One figure over the steps.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Curve {
    pub name: &'static str,
    pub unit: &'static str,
    pub points: Vec<(f64, f64)>,
    pub fit: Option<Fit>,
}

const MIB: f64 = (1u64 << 20) as f64;

pub fn head(ladder: Ladder) {
    println!(
        "{:>16} {:>10} {:>10} {:>10} {:>10} {:>12} {:>9} {:>9} {:>9}",
        ladder.unit(),
        "CPU s",
        "RSS MiB",
        "time s",
        "µs/msg",
        "µs/mailbox",
        "source s",
        "target s",
        "others s"
    );
}

pub fn line(point: &Point) {
    println!(
        "{:>16} {:>10.2} {:>10.1} {:>10.1} {:>10.0} {:>12.0} {:>9.1} {:>9.1} {:>9.1}",
        point.at,
        point.cpu,
        point.rss as f64 / MIB,
        point.seconds,
        point.cpu * 1e6 / point.messages as f64,
        point.cpu * 1e6 / point.mailboxes as f64,
        point.source_cpu,
        point.target_cpu,
        point.others
    );
}

pub fn curves(points: &[Point]) -> Vec<Curve> {
    let curve = |name, unit, of: &dyn Fn(&Point) -> f64| {
        let points: Vec<(f64, f64)> = points.iter().map(|p| (p.at as f64, of(p))).collect();
        Curve { name, unit, fit: fit(&points), points }
    };
    vec![
        curve("CPU", "s", &|p| p.cpu),
        curve("memory", "MiB", &|p| p.rss as f64 / MIB),
        curve("time", "s", &|p| p.seconds),
    ]
}

pub fn tail(curves: &[Curve]) {
    for Curve { name, fit, .. } in curves {
        if let Some(fit) = fit {
            println!(
                "{name:<7} exponent {:+.2}, between the last two steps {:+.2}: {}",
                fit.exponent,
                fit.last,
                fit.word()
            );
        }
    }
}

pub fn json(ladder: Ladder, points: &[Point], curves: &[Curve]) -> Value {
    let fits = curves.iter().map(|curve| {
        let word = curve.fit.map(|fit| fit.word());
        json!({ "figure": curve.name, "unit": curve.unit, "fit": curve.fit, "word": word })
    });
    json!({ "ladder": ladder.name(), "what": ladder.words(), "steps": points, "curves": fits.collect::<Vec<_>>() })
}
