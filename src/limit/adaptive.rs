//! How many requests at once: today a fixed number.
//!
//! This is the place of adaptive control: a variant that grows by one while latency is calm and shrinks on refusal
//! or latency growth, fed by the admission machine with what it knows of every request (sent, answered, how).
//! Whoever adds it changes [`Concurrency::limit`] and the call in `admission::Admission::finish`; nobody else asks
//! how many may run at once.

/// Decides how many requests may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concurrency {
    /// As many as one likes (local targets).
    Unlimited,
    /// Always this many, at least 1.
    Fixed(u32),
}

impl Concurrency {
    /// From a setting where 0 means no limit.
    #[must_use]
    pub fn from_setting(n: u32) -> Concurrency {
        if n == 0 { Concurrency::Unlimited } else { Concurrency::Fixed(n) }
    }

    /// Requests that may be under way at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        match *self {
            Concurrency::Unlimited => usize::MAX,
            Concurrency::Fixed(n) => usize::try_from(n.max(1)).unwrap_or(usize::MAX),
        }
    }
}
