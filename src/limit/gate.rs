//! The gate: what one target mailbox may send, and when. STUB: signatures are fixed, behaviour comes.

use std::sync::Arc;
use std::time::Duration;

use crate::env::Env;

/// What something will cost at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Requests.
    pub requests: u32,
    /// Bytes on the wire that the service counts as upload (bodies of POST, PATCH, PUT).
    pub upload_bytes: u64,
}

/// How a request ended, as far as limits care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Answered, not throttled.
    Served,
    /// The service refused to go faster, and said for how long (if it did).
    Throttled(Option<Duration>),
    /// No answer: it may still be working on it. The slot stays taken for a while.
    Unknown,
}

/// Governs the requests of one app to one mailbox.
#[derive(Debug)]
pub struct Gate {
    _env: Env,
}

impl Gate {
    /// A gate that lets everything pass (targets that are local files).
    pub fn unlimited(env: &Env) -> Arc<Gate> {
        Arc::new(Gate { _env: env.clone() })
    }

    /// Waits until the windows have room for `cost` and reserves it. A cost larger than a whole window is
    /// admitted when the window is empty.
    pub async fn reserve(self: &Arc<Self>, cost: Cost) -> Ticket {
        Ticket { cost }
    }

    /// A ticket with nothing reserved: for look-ups, folders, flags. Its requests go by the reserved lane.
    pub fn lookup(self: &Arc<Self>) -> Ticket {
        Ticket { cost: Cost::default() }
    }

    /// Waits until one request with `upload_bytes` may be sent now; charged to the ticket first, to the windows if
    /// the ticket is spent.
    pub async fn admit(self: &Arc<Self>, _ticket: &Ticket, _upload_bytes: u64) -> Slot {
        Slot {}
    }
}

/// A reservation. Dropping it gives back what was not spent.
#[derive(Debug)]
pub struct Ticket {
    #[allow(dead_code)]
    cost: Cost,
}

/// The right to have one request under way. Must be [`Slot::finish`]ed; dropping it counts as [`Answer::Unknown`].
#[derive(Debug)]
pub struct Slot {}

impl Slot {
    /// Ends the request.
    pub fn finish(self, _answer: Answer) {}
}

/// The limits of a process: hands out one [`Gate`] per (target app, mailbox). STUB.
#[derive(Debug)]
pub struct Limits {
    env: Env,
}

impl Limits {
    /// No limits at all.
    pub fn unlimited(env: &Env) -> Arc<Limits> {
        Arc::new(Limits { env: env.clone() })
    }

    /// The gate of one mailbox of a named target endpoint; the same one for the same pair.
    pub fn gate(&self, _endpoint: &str, _mailbox: &str) -> Arc<Gate> {
        Gate::unlimited(&self.env)
    }

    /// Reserves memory for one message or batch of `bytes` before it is fetched; waits in line. Larger than the whole
    /// budget: goes when it is alone. See `budget`.
    pub async fn memory(self: &Arc<Self>, _bytes: u64) -> MemoryPermit {
        MemoryPermit {}
    }
}

/// A share of the byte budget; returned when dropped.
#[derive(Debug)]
pub struct MemoryPermit {}
