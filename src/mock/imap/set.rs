//! Sequence sets (RFC 3501 §9 `sequence-set`).

/// Ranges as typed; `None` is `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceSet(Vec<(Option<u32>, Option<u32>)>);

/// More ranges than any honest client sends in one line.
const MOST_RANGES: usize = 100_000;

impl SequenceSet {
    /// Reads a set, or says `None`: empty members, zero, leading zeros and numbers above 2³²−1 are errors.
    pub fn parse(text: &[u8]) -> Option<SequenceSet> {
        let mut ranges = Vec::new();
        for member in text.split(|&b| b == b',') {
            let mut ends = member.split(|&b| b == b':');
            let first = number(ends.next()?)?;
            let last = ends.next().map_or(Some(first), number)?;
            if ends.next().is_some() || ranges.len() >= MOST_RANGES {
                return None;
            }
            ranges.push((first, last));
        }
        Some(SequenceSet(ranges))
    }

    /// Indexes into `uids` (ascending) of those in the set, each once, ascending. `*` is the last one.
    pub fn of_uids(&self, uids: &[u32]) -> Vec<usize> {
        let Some(&top) = uids.last() else { return Vec::new() };
        let found = self.bounds(top).into_iter().map(|(low, high)| {
            (uids.partition_point(|&uid| uid < low), uids.partition_point(|&uid| uid <= high))
        });
        flatten(found)
    }

    /// Indexes of those in the set among `count` messages, or `None` where a number names no message
    /// (RFC 3501 §9: that is an error for sequence numbers, and none for UIDs).
    pub fn of_numbers(&self, count: usize) -> Option<Vec<usize>> {
        let top = u32::try_from(count).ok().filter(|&n| n > 0)?;
        let bounds = self.bounds(top);
        if bounds.iter().any(|&(_, high)| high > top) {
            return None;
        }
        Some(flatten(bounds.into_iter().map(|(low, high)| (low as usize - 1, high as usize))))
    }

    /// Does the set, with `*` standing for `top`, hold this number?
    pub fn holds(&self, number: u32, top: u32) -> bool {
        self.bounds(top).iter().any(|&(low, high)| (low..=high).contains(&number))
    }

    fn bounds(&self, top: u32) -> Vec<(u32, u32)> {
        let ends = self.0.iter().map(|&(a, b)| (a.unwrap_or(top), b.unwrap_or(top)));
        ends.map(|(a, b)| (a.min(b), a.max(b))).collect()
    }
}

fn flatten(spans: impl Iterator<Item = (usize, usize)>) -> Vec<usize> {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    let mut indexes = Vec::new();
    let mut next = 0;
    for (from, to) in spans {
        indexes.extend(from.max(next)..to);
        next = next.max(to);
    }
    indexes
}

fn number(text: &[u8]) -> Option<Option<u32>> {
    match text {
        b"*" => Some(None),
        [b'1'..=b'9', ..] if text.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(text).ok()?.parse().ok().map(Some)
        }
        _ => None,
    }
}

/// Writes ascending numbers as a compact set, such as `1:3,7`.
pub fn compact(numbers: &[u32]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut i = 0;
    while i < numbers.len() {
        let first = numbers[i];
        let mut last = first;
        while numbers.get(i + 1).is_some_and(|&next| Some(next) == last.checked_add(1)) {
            i += 1;
            last = numbers[i];
        }
        i += 1;
        let comma = if text.is_empty() { "" } else { "," };
        let _ = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}:{last}")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_finds_each_message_once_and_star_is_the_last() {
        let uids = [3, 5, 9, 12];
        let of = |text: &str| SequenceSet::parse(text.as_bytes()).unwrap().of_uids(&uids);
        assert_eq!(of("5:9,4:5,9"), [1, 2]);
        assert_eq!(of("*"), [3]);
        assert_eq!(of("100:*"), [3], "RFC 3501: n:* always holds the last message");
        assert_eq!(of("*:9"), [2, 3]);
        assert_eq!(of("1:4294967295"), [0, 1, 2, 3]);
        assert!(SequenceSet::parse(b"1:*").unwrap().of_uids(&[]).is_empty());
        assert_eq!(SequenceSet::parse(b"2:3").unwrap().of_numbers(2), None);
    }

    #[test]
    fn a_malformed_set_is_refused() {
        for text in ["", "0", "01", "1,", "1:2:3", "4294967296", "a", "1 2", ":1"] {
            assert_eq!(SequenceSet::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_runs() {
        assert_eq!(compact(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
        assert_eq!(compact(&[u32::MAX]), "4294967295");
    }
}
