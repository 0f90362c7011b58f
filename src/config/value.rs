//! Durations and sizes as an operator writes them.

use std::time::Duration;

/// `"500ms"`, `"10s"`, `"5m"`, `"2h"`, `"1d"`; `None` if it is not one of these. Only whole numbers.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

/// `"512B"`, `"150MB"` (10⁶), `"1GiB"` (2³⁰) …; `None` if it is not one of these. Only whole numbers.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A duration as [`duration`] reads it.
pub(super) fn show_duration(d: Duration) -> String {
    let (s, ms) = (d.as_secs(), d.subsec_millis());
    match s {
        _ if ms > 0 => format!("{}ms", d.as_millis()),
        _ if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        _ if s >= 3600 && s % 3600 == 0 => format!("{}h", s / 3600),
        _ if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        _ => format!("{s}s"),
    }
}

/// A size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 8] = [
        ("TiB", 1 << 40),
        ("TB", 1_000_000_000_000),
        ("GiB", 1 << 30),
        ("GB", 1_000_000_000),
        ("MiB", 1 << 20),
        ("MB", 1_000_000),
        ("KiB", 1 << 10),
        ("kB", 1_000),
    ];
    UNITS
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_and_show_the_same() {
        for text in ["500ms", "10s", "5m", "2h", "1d", "90s"] {
            assert_eq!(duration(text).map(show_duration).as_deref(), Some(text));
        }
        for text in ["7B", "150MB", "1GiB", "3kB", "4KiB", "150MiB"] {
            assert_eq!(size(text).map(show_size).as_deref(), Some(text));
        }
        assert_eq!(size("150MB"), Some(150_000_000));
        assert_eq!(size("150 MiB"), Some(150 << 20));
    }

    #[test]
    fn what_has_no_unit_or_no_number_is_refused() {
        for bad in
            ["", "10", "s", "-1s", "1.5h", "10 parsecs", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
        for bad in ["", "10", "MB", "1.5MB", "1mb", "18446744073709551615GB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
