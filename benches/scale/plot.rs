//! A small writer of plots: curves over logarithmic axes, a panel each, as SVG that is readable on light and on dark.

use std::fmt::Write;

use crate::told::Curve;

/// Of a panel's field, and around it.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 66.0;
const BELOW: f64 = 46.0;
const BETWEEN: f64 = 18.0;

/// Colours follow the reader's own preference; the ground is the plot's own. Without variables: not every reader knows them.
const STYLE: &str = ".ground{fill:#fff}text{fill:#1b1f24;font:12px sans-serif}.title{font-weight:bold}.grid{stroke:#d8dee4;fill:none}\
    .frame{stroke:#1b1f24;fill:none}.curve{stroke:#0b62c4;fill:none;stroke-width:2}.dot{fill:#0b62c4}\
    .fit{stroke:#b4540a;fill:none;stroke-dasharray:5 4}text.said{fill:#b4540a}\
    @media(prefers-color-scheme:dark){.ground{fill:#14171b}text{fill:#e6e9ed}.grid{stroke:#353b43}.frame{stroke:#e6e9ed}\
    .curve{stroke:#6cb2ff}.dot{fill:#6cb2ff}.fit{stroke:#ffb066}text.said{fill:#ffb066}}";

/// An axis from one power of ten to another.
struct Axis {
    from: f64,
    to: f64,
    length: f64,
    /// Its beginning stands for zero, which has no logarithm.
    zero: bool,
}

impl Axis {
    /// Around these values.
    fn of(values: &[f64], length: f64) -> Axis {
        let zero = values.contains(&0.0);
        let (least, most) = values
            .iter()
            .filter(|v| **v > 0.0)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(*v), most.max(*v)));
        if least > most {
            return Axis { from: 0.0, to: 1.0, length, zero };
        }
        let (from, mut to) = ((least.log10() + 1e-9).floor(), (most.log10() - 1e-9).ceil());
        if to <= from {
            to = from + 1.0;
        }
        Axis { from: if zero { from - 1.0 } else { from }, to, length, zero }
    }

    fn place(&self, value: f64) -> f64 {
        let log = if value > 0.0 { value.log10() } else { self.from };
        (log - self.from) / (self.to - self.from) * self.length
    }

    /// The powers of ten on it, and what stands there.
    fn marks(&self) -> impl Iterator<Item = (f64, String)> {
        let (from, to) = (self.from as i32, self.to as i32);
        let label = move |power: i32| {
            let value = 10f64.powi(power);
            (value, if self.zero && power == from { "0".to_owned() } else { short(value) })
        };
        (from..=to).map(label)
    }
}

/// All curves of a ladder, beside each other.
pub fn draw(title: &str, unit: &str, curves: &[Curve]) -> String {
    let width = (LEFT + WIDTH + BETWEEN) * curves.len() as f64;
    let height = TOP + HEIGHT + BELOW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style><rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\
         <text class=\"title\" x=\"12\" y=\"20\">{}</text>\n",
        escaped(title)
    );
    for (n, curve) in curves.iter().enumerate() {
        let left = (LEFT + WIDTH + BETWEEN) * n as f64 + LEFT;
        let _ = write!(out, "<g transform=\"translate({left} {TOP})\">");
        panel(&mut out, unit, curve);
        out += "</g>\n";
    }
    out + "</svg>\n"
}

fn panel(out: &mut String, unit: &str, curve: &Curve) {
    let across = Axis::of(&curve.points.iter().map(|p| p.0).collect::<Vec<_>>(), WIDTH);
    let up = Axis::of(&curve.points.iter().map(|p| p.1).collect::<Vec<_>>(), HEIGHT);
    let place = |(x, y): (f64, f64)| (across.place(x), HEIGHT - up.place(y));
    for (mark, label) in across.marks() {
        let x = across.place(mark);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} 0V{HEIGHT}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT + 16.0,
            label
        );
    }
    for (mark, label) in up.marks() {
        let y = HEIGHT - up.place(mark);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/><text x=\"-6\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            label
        );
    }
    let _ = write!(
        out,
        "<rect class=\"frame\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"title\" x=\"0\" y=\"-24\">{}, {}</text>",
        WIDTH / 2.0,
        HEIGHT + 34.0,
        escaped(unit),
        curve.name,
        curve.unit
    );
    if let Some(fit) = curve.fit {
        let ends: Vec<f64> = curve.points.iter().map(|p| p.0).filter(|x| *x > 0.0).collect();
        if let [first, .., last] = ends.as_slice() {
            let at = |x: f64| place((x, (fit.factor * x.powf(fit.exponent)).max(f64::MIN_POSITIVE)));
            let ((x1, y1), (x2, y2)) = (at(*first), at(*last));
            let within = |y: f64| y.clamp(0.0, HEIGHT);
            let _ = write!(
                out,
                "<path class=\"fit\" d=\"M{x1:.1} {:.1}L{x2:.1} {:.1}\"/>",
                within(y1),
                within(y2)
            );
        }
        let _ = write!(
            out,
            "<text class=\"said\" x=\"0\" y=\"-8\">grows as x^{:.2}, at the end as x^{:.2}: {}</text>",
            fit.exponent,
            fit.last,
            fit.word()
        );
    }
    let mut path = String::new();
    for (n, point) in curve.points.iter().enumerate() {
        let (x, y) = place(*point);
        let _ = write!(path, "{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' });
    }
    let _ = write!(out, "<path class=\"curve\" d=\"{path}\"/>");
    for point in &curve.points {
        let (x, y) = place(*point);
        let _ = write!(
            out,
            "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{} {}: {:.3} {}</title></circle>",
            point.0,
            escaped(unit),
            point.1,
            curve.unit
        );
    }
}

/// A power of ten in few letters.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", v / 1e9),
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
