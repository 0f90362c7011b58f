//! How many octets of messages may lie in memory and in the spool at once: as the operator set it, else by what this
//! machine has.

use std::fmt;

use super::room;
use crate::config::RunSettings;
use crate::report::bytes as size;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Octets take a quarter of the memory there is. Beside them there are the open mailboxes with their sessions, the ledger's
/// caches, what the allocator holds back, and whatever else runs here; half of it must do for all of these.
const MEMORY_SHARE: u64 = 4;
/// Never more than this: at 0.6 GB/s, a night of 22,000 mailboxes, it is what travels in three seconds.
const MOST_MEMORY: u64 = 2 * GIB;
/// Never less: many small messages move in it, and one large one at a time.
const LEAST_MEMORY: u64 = 32 * MIB;
/// Where nothing can be told.
const MEMORY: u64 = 512 * MIB;

/// The spool takes half of the disk that is free: the ledger and others write to it too.
const SPOOL_SHARE: u64 = 2;
/// Never more: room for fifty of the largest messages there may be.
const MOST_SPOOL: u64 = 8 * GIB;
/// Never less: the largest message must fit.
const LEAST_SPOOL: u64 = 256 * MIB;

/// An amount of bytes, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget {
    pub bytes: u64,
    reckoned: String,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", size(self.bytes), self.reckoned)
    }
}

/// The budgets of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budgets {
    pub memory: Budget,
    pub spool: Budget,
}

impl Budgets {
    /// Looks at this machine where nothing was set.
    pub(super) fn of(run: &RunSettings) -> Budgets {
        let memory = if run.memory.is_none() { room::memory() } else { None };
        let disk = if run.spool_size.is_none() { room::free(&run.spool) } else { None };
        Budgets::from(run, memory, disk)
    }

    /// `memory`, `disk`: what there is, in bytes.
    fn from(run: &RunSettings, memory: Option<u64>, disk: Option<u64>) -> Budgets {
        let least = LEAST_SPOOL.max(run.max_message);
        Budgets {
            memory: budget(
                "run.memory",
                run.memory,
                memory,
                (MEMORY_SHARE, LEAST_MEMORY..=MOST_MEMORY),
                MEMORY,
            ),
            spool: budget(
                "run.spool_size",
                run.spool_size,
                disk,
                (SPOOL_SHARE, least..=MOST_SPOOL.max(least)),
                MOST_SPOOL,
            ),
        }
    }
}

fn budget(
    key: &str,
    set: Option<u64>,
    there: Option<u64>,
    (part, range): (u64, std::ops::RangeInclusive<u64>),
    unknown: u64,
) -> Budget {
    let (bytes, reckoned) = match (set, there) {
        (Some(bytes), _) => (bytes, format!("`{key}`")),
        (None, None) => (unknown, format!("what there is cannot be told here; set `{key}`")),
        (None, Some(there)) => {
            let share = there / part;
            let bytes = share.clamp(*range.start(), *range.end());
            let what = if part == 2 { "half" } else { "a quarter" };
            let bound = match bytes.cmp(&share) {
                std::cmp::Ordering::Less => format!(", at most {}", size(*range.end())),
                std::cmp::Ordering::Greater => format!(", at least {}", size(*range.start())),
                std::cmp::Ordering::Equal => String::new(),
            };
            (bytes, format!("{what} of the {} there are{bound}; `{key}`", size(there)))
        }
    };
    Budget { bytes, reckoned }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(memory: Option<u64>, spool_size: Option<u64>) -> RunSettings {
        let beside = std::path::Path::new("x");
        RunSettings { memory, spool_size, ..RunSettings::beside(beside) }
    }

    #[test]
    fn what_is_not_set_follows_the_machine_within_bounds_and_tells_its_arithmetic() {
        let of = |memory, disk| {
            let both = Budgets::from(&run(None, None), memory, disk);
            (both.memory.bytes, both.spool.bytes)
        };
        assert_eq!(of(Some(256 * MIB), Some(3 * GIB)), (64 * MIB, 3 * GIB / 2), "a small container");
        assert_eq!(of(Some(16 * MIB), Some(0)), (LEAST_MEMORY, LEAST_SPOOL));
        assert_eq!(of(Some(512 * GIB), Some(1 << 50)), (MOST_MEMORY, MOST_SPOOL));
        assert_eq!(of(None, None), (MEMORY, MOST_SPOOL));
        let told = Budgets::from(&run(None, Some(GIB)), Some(512 * GIB), None);
        assert!(told.memory.to_string().contains("a quarter of the"), "{}", told.memory);
        assert!(told.memory.to_string().contains("at most"), "{}", told.memory);
        assert_eq!(told.spool.reckoned, "`run.spool_size`");
    }

    #[test]
    fn what_is_set_is_obeyed_and_the_largest_message_fits_into_the_spool_that_is_not() {
        let set = Budgets::from(&run(Some(7 * GIB), Some(9 * GIB)), Some(MIB), Some(MIB));
        assert_eq!((set.memory.bytes, set.spool.bytes), (7 * GIB, 9 * GIB));
        let large = RunSettings { max_message: GIB, ..run(None, None) };
        assert_eq!(Budgets::from(&large, None, Some(MIB)).spool.bytes, GIB);
    }
}
