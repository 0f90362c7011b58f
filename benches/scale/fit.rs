//! How a figure grows: the exponent of a power law through its points.

/// A line through points whose logarithms were taken: `y = factor · x^exponent`.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Fit {
    pub exponent: f64,
    pub factor: f64,
    /// The exponent between the last two points alone: what grows worse only in the end shows here.
    pub last: f64,
}

/// By least squares over the logarithms; `None` with fewer than two points above zero.
pub fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    let logs: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let [.., before, end] = logs.as_slice() else { return None };
    let many = logs.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / many;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let spread: f64 = logs.iter().map(|p| (p.0 - x).powi(2)).sum();
    let exponent = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
    let last = (end.1 - before.1) / (end.0 - before.0);
    Some(Fit { exponent, factor: (y - exponent * x).exp(), last })
}

impl Fit {
    /// In a word. A start that costs the same at every step makes the beginning of a curve flatter than its end, so the end
    /// counts as well.
    pub fn word(&self) -> &'static str {
        match self.exponent.max(self.last) {
            steep if steep > 1.1 => "WORSE than linear",
            steep if steep > 0.9 => "linear",
            steep if steep > 0.15 => "less than linear",
            steep if steep > -0.15 => "flat",
            _ => "falling",
        }
    }
}
