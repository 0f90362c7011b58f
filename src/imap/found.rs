//! What a search found: SEARCH, and ESEARCH (RFC 4731).

use super::scan::{Scan, Scanner};
use super::uids::{UidSet, ranges};

/// What a search found; `None` and empty where it told nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The UIDs.
    pub all: UidSet,
    /// How many (ESEARCH, RFC 4731).
    pub count: Option<u32>,
    /// The lowest.
    pub min: Option<u32>,
    /// The highest.
    pub max: Option<u32>,
}

/// `uid uid …`, and with CONDSTORE `(MODSEQ n)` behind them.
pub(super) fn search(mut scan: Scanner<'_>) -> Scan<Found> {
    let mut uids = Vec::new();
    loop {
        scan.blanks();
        if scan.at_end() {
            return Ok(Found { all: uids.into_iter().collect(), ..Found::default() });
        }
        if scan.rest().starts_with(b"(") {
            scan.skip_value()?;
        } else {
            uids.push(scan.small()?);
        }
    }
}

/// `(TAG "m1") UID ALL 1:3 COUNT 3 …` (RFC 4731)
pub(super) fn esearch(mut scan: Scanner<'_>) -> Scan<Found> {
    let mut found = Found::default();
    loop {
        scan.blanks();
        if scan.at_end() {
            return Ok(found);
        }
        if scan.rest().starts_with(b"(") {
            scan.skip_value()?;
            continue;
        }
        let item = scan.word()?.to_ascii_uppercase();
        scan.blanks();
        match item.as_slice() {
            b"UID" => {}
            b"ALL" => found.all = UidSet::of_ranges(ranges(scan.word()?)?),
            b"COUNT" => found.count = Some(scan.small()?),
            b"MIN" => found.min = Some(scan.small()?),
            b"MAX" => found.max = Some(scan.small()?),
            _ => scan.skip_value()?,
        }
    }
}
