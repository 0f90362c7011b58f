//! Plain tables and plain numbers.

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of fixed-width columns, one line a row, no line ends with a blank. Cells hold no control characters (the
/// caller passed foreign text through `guard`).
pub fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = header.iter().map(|(name, _)| width(name)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (((_, align), w), cell) in header.iter().zip(&widths).zip(cells) {
            let pad = " ".repeat(w.saturating_sub(width(cell)));
            match align {
                Align::Left => out.push_str(&format!("{cell}{pad}  ")),
                Align::Right => out.push_str(&format!("{pad}{cell}  ")),
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    };
    let mut text = line(&mut header.iter().map(|(name, _)| *name));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `1234567` → `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1234567` → `1.2 MB` (units of 1000).
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.95 || unit == "TB" {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{n} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "1".to_owned()], vec!["größer".to_owned(), "1,000".to_owned()]];
        assert_eq!(
            table(&[("name", Align::Left), ("n", Align::Right)], &rows),
            "name        n\na           1\ngrößer  1,000\n"
        );
    }

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [bytes(0), bytes(999), bytes(1500), bytes(999_999), bytes(2_100_000_000)],
            ["0 B", "999 B", "1.5 kB", "1.0 MB", "2.1 GB"]
        );
    }
}
