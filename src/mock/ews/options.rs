//! What the server is like: everything that differs between installations, or that nobody outside knows for sure.

use serde::{Deserialize, Serialize};

/// The Exchange server the mock plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EwsOptions {
    /// Decides every id, token and latency drawn.
    pub seed: u64,
    /// Who may log in with a password; empty: any name with the password `secret`, and it may impersonate.
    pub accounts: Vec<Account>,
    /// Who gets tokens for a secret; empty: any client id with the secret `secret`. Apps may impersonate.
    pub apps: Vec<App>,
    /// What the challenge of a 401 offers, in this order.
    pub offers: Vec<Scheme>,
    /// Lifetime of a token, in seconds.
    pub token_seconds: u64,
    /// A mailbox is reached by impersonation only, not as its own account.
    pub impersonation_required: bool,
    /// A request that impersonates must bear `X-AnchorMailbox` with the same address; else it is refused with 400.
    /// (The service answers it, slowly and sometimes wrongly.)
    pub anchor_required: bool,
    /// Any address is a mailbox, made at first sight.
    pub auto_provision: bool,
    /// Mailboxes that exist from the start.
    pub mailboxes: Vec<String>,
    /// Mailboxes that may not be impersonated: `ErrorImpersonateUserDenied`.
    pub forbidden: Vec<String>,
    /// The tenant does not take EWS from this client.
    pub blocked: Option<Blocked>,
    /// Throttling.
    pub limits: Limits,
    /// How a busy server says so.
    pub busy: Busy,
    /// Sizes and counts.
    pub sizes: Sizes,
    /// How long a request takes.
    pub latency: Latency,
    /// Time passes so many times faster: every duration here and every wait told is divided by it. At least 1.
    pub time_scale: u32,
    /// A new item is found by a restriction only after so many milliseconds.
    pub filter_delay_ms: i64,
    /// `IsEqualTo` and `Contains` with `Exact` compare values of extended properties without regard to case.
    pub filter_ignores_case: bool,
    /// `UpdateItem` changes the dates of delivery and submission (0x0E06, 0x0039); else it says so and does not.
    pub dates_by_update: bool,
    /// The root folder shows the mailbox's quota (0x666A; not documented for EWS).
    pub tells_quota: bool,
    /// Keep the octets of messages; else only digests and lengths are kept and reads of them are empty.
    pub keep_content: bool,
    /// A request whose caller vanished while it was under way is acted on all the same, when its time has come: its
    /// octets had been sent.
    pub commit_abandoned: bool,
    /// Save the state after so many requests; 0: only when asked and at a graceful stop.
    pub save_every: u64,
}

impl Default for EwsOptions {
    fn default() -> Self {
        EwsOptions {
            seed: 1,
            accounts: Vec::new(),
            apps: Vec::new(),
            offers: vec![Scheme::Negotiate, Scheme::Ntlm, Scheme::Basic, Scheme::Bearer],
            token_seconds: 3599,
            impersonation_required: true,
            anchor_required: true,
            auto_provision: true,
            mailboxes: Vec::new(),
            forbidden: Vec::new(),
            blocked: None,
            limits: Limits::default(),
            busy: Busy::Fault,
            sizes: Sizes::default(),
            latency: Latency::default(),
            time_scale: 1,
            filter_delay_ms: 0,
            filter_ignores_case: false,
            dates_by_update: false,
            tells_quota: false,
            keep_content: true,
            commit_abandoned: true,
            save_every: 0,
        }
    }
}

impl EwsOptions {
    /// A duration in milliseconds as it passes here.
    pub(super) fn scaled(&self, ms: u64) -> u64 {
        ms.div_ceil(u64::from(self.time_scale.max(1)))
    }
}

/// Who logs in with a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// `DOMAIN\name` or an address; compared without regard to case.
    pub name: String,
    /// Its password.
    pub password: String,
    /// Holds the role ApplicationImpersonation.
    pub impersonates: bool,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Account")
    }
}

/// An app registration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Its client id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

/// A way to log in that a challenge names. Negotiate and NTLM are named, as servers do, but refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// A name and a password in every request.
    Basic,
    /// A token.
    Bearer,
    /// NTLM.
    Ntlm,
    /// SPNEGO.
    Negotiate,
}

/// How a tenant refuses EWS as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocked {
    /// 403 without a SOAP body: the protocol is switched off.
    Forbidden,
    /// A SOAP fault `ErrorAccessDenied`: this app is not on the list of those allowed.
    AccessDenied,
}

/// The envelopes in which a server says that it is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Busy {
    /// 500 with a SOAP fault `ErrorServerBusy`.
    Fault,
    /// 200 with `ErrorServerBusy` as the answer for every item.
    Message,
    /// 200 with `ErrorInternalServerError` for every item, and `ErrorServerBusy` inside of it.
    Wrapped,
    /// 503 without a SOAP body (the web server's queue).
    Unavailable,
}

/// Throttling, per login and mailbox.
/// Source: Exchange documentation, `ews-throttling-in-exchange`, `Set-ThrottlingPolicy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests at once.
    pub concurrent: u32,
    /// Milliseconds of work that may be done ahead (`EwsMaxBurst`); 0: no budget is kept.
    pub burst_ms: u64,
    /// Milliseconds of work that an hour gives (`EwsRechargeRate`).
    pub recharge_ms: u64,
    /// Milliseconds of debt at which requests are refused (`EwsCutoffBalance`).
    pub cutoff_ms: u64,
    /// What a request and each item in it cost of the budget, besides their latency, in milliseconds.
    pub item_cost_ms: u64,
    /// Seconds after which the items of a request that were not begun are given up.
    pub batch_seconds: u64,
    /// Items a search gives at most (`EwsFindCountLimit`).
    pub find: usize,
    /// Changes a synchronisation gives at most.
    pub sync: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            concurrent: 27,
            burst_ms: 0,
            recharge_ms: 900_000,
            cutoff_ms: 3_000_000,
            item_cost_ms: 0,
            batch_seconds: 60,
            find: 1000,
            sync: 512,
        }
    }
}

/// Sizes in octets, counts in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// A request's body; beyond it 413.
    pub request: usize,
    /// A message, decoded; beyond it `ErrorMessageSizeExceeded`.
    pub message: u64,
    /// A mailbox; beyond it `ErrorQuotaExceeded`.
    pub mailbox: u64,
    /// Messages in a folder; beyond it `ErrorQuotaExceeded` inside of `ErrorInternalServerError`.
    pub folder_messages: usize,
    /// Folders directly in a folder.
    pub subfolders: usize,
    /// Levels of folders.
    pub folder_depth: usize,
    /// Characters of a folder's name.
    pub folder_name: usize,
    /// An uploaded item's stream, in base64; beyond it `ErrorMessageSizeExceeded`.
    pub upload: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            request: 64 << 20,
            message: 150 << 20,
            mailbox: 100 << 30,
            folder_messages: 1_000_000,
            subfolders: 10_000,
            folder_depth: 300,
            folder_name: 255,
            upload: 64 << 20,
        }
    }
}

/// How long an admitted request takes, in milliseconds. All zero: no wait at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Every request.
    pub base_ms: u64,
    /// Up to so much more, at random.
    pub jitter_ms: u64,
    /// Each item in it.
    pub per_item_ms: u64,
    /// For each mebibyte of an item.
    pub per_mib_ms: u64,
}
