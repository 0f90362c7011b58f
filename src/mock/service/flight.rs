//! What is under way for one client in one mailbox, and what it was told.

/// Requests at once.
#[derive(Debug, Default)]
pub(in crate::mock) struct Flight {
    now: u32,
    /// The most at once ever admitted.
    pub(in crate::mock) peak: u32,
}

impl Flight {
    /// Are there as many as there may be?
    pub(in crate::mock) fn is_full(&self, concurrent: u32) -> bool {
        self.now >= concurrent
    }

    pub(in crate::mock) fn enter(&mut self) {
        self.now += 1;
        self.peak = self.peak.max(self.now);
    }

    pub(in crate::mock) fn leave(&mut self) {
        self.now = self.now.saturating_sub(1);
    }
}

/// When it was told to wait, and until when.
#[derive(Debug, Default)]
pub(in crate::mock) struct Told(Option<(i64, i64)>);

impl Told {
    /// Notes that the client was told to wait until then.
    pub(in crate::mock) fn tell(&mut self, now: i64, wait_ms: i64) {
        self.0 = Some((now, now.saturating_add(wait_ms)));
    }

    /// Was it told to wait long enough ago to know, and does not?
    pub(in crate::mock) fn impatient(&self, now: i64) -> bool {
        self.0.is_some_and(|(told, until)| now > told + 1000 && now < until)
    }
}
