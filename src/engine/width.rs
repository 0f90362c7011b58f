//! How many mailboxes to have open: as many as keep what they share busy, and no more.
//!
//! Every open mailbox takes its part of the rates all share. With too few open the rate is not used; with too many each
//! goes slower than it could by itself, and the longest of them ends the wave. So: more while nobody waits for a shared
//! rate, none while those who do wait long. Nothing that is open is closed for it.

use std::time::Duration;

/// Mailboxes opened at once at first.
const FIRST: f64 = 64.0;
/// A wait for a shared rate above this is too long …
const CROWDED: Duration = Duration::from_secs(2);
/// … and below this there is room for more.
const ROOM: Duration = Duration::from_millis(500);

/// The machine. Asked once a second.
#[derive(Debug)]
pub(crate) struct Width {
    now: f64,
    most: f64,
}

impl Width {
    /// Never more than `most`.
    pub(crate) fn new(most: usize) -> Width {
        let most = most.max(1) as f64;
        Width { now: FIRST.min(most), most }
    }

    /// Begins with `first` open at once, not with 64.
    pub(crate) fn from(self, first: usize) -> Width {
        Width { now: (first.max(1) as f64).min(self.most), ..self }
    }

    /// How many may be open from now on, when `open` are, and whoever asks for a shared rate waits for `wait`.
    pub(crate) fn look(&mut self, open: usize, wait: Duration) -> usize {
        if wait > CROWDED {
            // Below those that are open: one that ends is not followed by another.
            self.now = self.now.min(open as f64 * 0.98);
        } else if wait < ROOM && open as f64 >= self.now.floor() {
            self.now += 4.0 + self.now * 0.02;
        }
        self.now = self.now.clamp(1.0, self.most);
        self.now as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_nobody_waits_stands_while_some_do_and_shrinks_with_those_that_end() {
        let mut width = Width::new(5_000);
        let mut now = width.look(0, Duration::ZERO);
        assert_eq!(now, 64, "what is not used does not grow");
        for _ in 0..300 {
            now = width.look(now, Duration::ZERO);
        }
        assert_eq!(now, 5_000);
        assert_eq!(width.look(3_000, Duration::from_secs(1)), 5_000, "neither crowded nor empty");
        assert_eq!(width.look(3_000, Duration::from_secs(3)), 2_940);
        assert_eq!(width.look(1, Duration::from_secs(3)), 1);
        assert_eq!(Width::new(10).look(10, Duration::ZERO), 10);
        assert_eq!(
            Width::new(5_000).from(5_000).look(0, Duration::ZERO),
            5_000,
            "all at once, if it is wanted"
        );
        assert_eq!(Width::new(10).from(64).look(0, Duration::ZERO), 10);
    }
}
