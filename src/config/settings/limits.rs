//! What may leave, when.

use std::time::Duration;

/// What one app may send to one mailbox. Defaults: Microsoft Graph's documented limits of the Outlook service
/// ("Microsoft Graph service-specific throttling limits", Outlook service limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests in a window …
    pub requests: u32,
    /// … of this length.
    pub requests_per: Duration,
    /// Requests under way at once (1–64).
    pub at_once: u32,
    /// Bytes uploaded (bodies of POST, PATCH, PUT) in a window …
    pub upload: u64,
    /// … of this length.
    pub upload_per: Duration,
    /// Requests a second of the app over all its mailboxes, if a smooth rate is wanted.
    pub rate: Option<u32>,
    /// Requests of one app at once over all its mailboxes (0: no limit); fewer while it answers slowly or refuses.
    pub in_flight: u32,
    /// The windows count as spent when the process starts.
    pub start_spent: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        LimitSettings {
            requests: 10_000,
            requests_per: Duration::from_secs(600),
            at_once: 4,
            upload: 150_000_000,
            upload_per: Duration::from_secs(300),
            rate: None,
            in_flight: 4_000,
            start_spent: false,
        }
    }
}
