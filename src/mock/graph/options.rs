//! What a tenant is like: everything that differs between tenants, or that nobody outside knows for sure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The tenant the mock plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraphOptions {
    /// Decides every id, token and latency drawn.
    pub seed: u64,
    /// `scheme://host[:port]` written into `@odata.nextLink` and upload URLs; `None`: as the request was addressed.
    pub base_url: Option<String>,
    /// `scheme://host[:port]` of upload sessions (the service uses another host); `None`: as `base_url`.
    pub upload_base_url: Option<String>,
    /// Tenant ids whose token endpoint answers; empty: any.
    pub tenants: Vec<String>,
    /// The directory (`tid`) tokens are for; `None`: the tenant asked for, if it is an id, else they do not say.
    pub tenant_id: Option<String>,
    /// The resource apps' tokens must be for (`https://graph.microsoft.us`, say: each cloud has its own); others are given
    /// and refused when they are used. `None`: any.
    pub audience: Option<String>,
    /// App registrations; empty: any client id with the secret `secret`.
    pub apps: Vec<App>,
    /// Lifetime of a token, in seconds.
    pub token_seconds: u64,
    /// Any address is a mailbox, made at first sight.
    pub auto_provision: bool,
    /// Mailboxes that exist from the start.
    pub mailboxes: Vec<String>,
    /// Mailboxes outside the app's scope: 403.
    pub forbidden: Vec<String>,
    /// How a mailbox that does not exist is refused.
    pub unknown_mailbox: UnknownMailbox,
    /// The language of the well-known folders' display names.
    pub language: Language,
    /// Throttling.
    pub limits: Limits,
    /// Sizes and counts.
    pub sizes: Sizes,
    /// How long a request takes.
    pub latency: Latency,
    /// A new item is found by `$filter` only after so many milliseconds.
    pub filter_delay_ms: i64,
    /// `$filter` compares extended property values without regard to case (not documented either way).
    pub filter_ignores_case: bool,
    /// The app holds `Mail-Advanced.ReadWrite.All`.
    pub mail_advanced: bool,
    /// Application permissions that tokens name; `None`: `Mail.ReadWrite`, and what `mail_advanced` says.
    pub roles: Option<Vec<String>>,
    /// Subject, body, recipients and message id of a non-draft need `mail_advanced` (the service, from 2026-12-31);
    /// without this switch a change to them is ignored.
    pub guard_sensitive: bool,
    /// MIME may be posted to a folder (reported to fail for years; then only `/messages` takes it).
    pub mime_to_folder: bool,
    /// The beta `importMime` exists.
    pub import_mime: bool,
    /// `importMime` takes the received date from the `Date` field, else it is the time of the call (not documented).
    pub import_mime_keeps_date: bool,
    /// `importMime` makes a message that is read (not documented).
    pub import_mime_read: bool,
    /// Unknown `x-` header fields of MIME become named properties (reported to fail where a mailbox has no such property
    /// yet).
    pub mime_keeps_headers: bool,
    /// A PATCH of the received and sent dates (0x0E06, 0x0039) takes effect (sources conflict; most say no).
    pub patch_dates: bool,
    /// `$select` with `$expand` of extended properties omits `internetMessageId` (reported by a live migrator).
    pub select_expand_drops: bool,
    /// The app holds the roles of the import and export of items (`MailboxItem.ImportExport.All` and those around it).
    pub import_export: bool,
    /// Items can be imported and exported at all: in the global cloud alone.
    pub global_cloud: bool,
    /// An import session is answered with 201, not 200 (the documentation says both).
    pub import_session_created: bool,
    /// An import answers with the immutable id of its item, not with the classic one (not documented).
    pub import_answers_immutable: bool,
    /// How the address of an import session that is over, or is none, is refused (not documented): 401, 403, 404 or 410.
    pub import_expired_status: u16,
    /// Exports are cut, and say so at their end.
    pub cut_exports: bool,
    /// Keep bodies and attachments; else only their digests and lengths are kept and reads of them are empty.
    pub keep_content: bool,
    /// A request whose caller vanished while it was under way is acted on all the same, when its time has come: its
    /// octets had been sent.
    pub commit_abandoned: bool,
    /// Save the state after so many requests; 0: only when asked and at a graceful stop.
    pub save_every: u64,
    /// A range that an upload session holds already is taken once more and ignored, else it is 416 (not documented).
    pub upload_takes_again: bool,
    /// The state a delta token stands for is kept for so many seconds; 0: for ever.
    pub delta_seconds: u64,
    /// How a delta token whose state is gone is refused.
    pub delta_expired: DeltaExpired,
    /// A delta says of a message that was moved or can be recovered that it was `changed`, else `deleted` (documented
    /// both ways).
    pub delta_says_changed: bool,
    /// Time passes so many times faster (1 and up): limits' windows, latencies, lives of tokens and upload sessions,
    /// delays, and the waits told, which are rounded up to seconds.
    pub time_scale: u32,
}

impl Default for GraphOptions {
    fn default() -> Self {
        GraphOptions {
            seed: 1,
            base_url: None,
            upload_base_url: None,
            tenants: Vec::new(),
            tenant_id: None,
            audience: None,
            apps: Vec::new(),
            token_seconds: 3599,
            auto_provision: true,
            mailboxes: Vec::new(),
            forbidden: Vec::new(),
            unknown_mailbox: UnknownMailbox::ErrorInvalidUser,
            language: Language::English,
            limits: Limits::default(),
            sizes: Sizes::default(),
            latency: Latency::default(),
            filter_delay_ms: 0,
            filter_ignores_case: false,
            mail_advanced: false,
            roles: None,
            guard_sensitive: false,
            mime_to_folder: true,
            import_mime: false,
            import_mime_keeps_date: false,
            import_mime_read: true,
            mime_keeps_headers: true,
            patch_dates: false,
            select_expand_drops: false,
            import_export: false,
            global_cloud: true,
            import_session_created: false,
            import_answers_immutable: false,
            import_expired_status: 401,
            cut_exports: false,
            keep_content: true,
            commit_abandoned: true,
            save_every: 0,
            upload_takes_again: false,
            delta_seconds: 0,
            delta_expired: DeltaExpired::SyncStateNotFound,
            delta_says_changed: false,
            time_scale: 1,
        }
    }
}

impl GraphOptions {
    fn scale(&self) -> u64 {
        u64::from(self.time_scale.max(1))
    }

    /// How many milliseconds so many seconds last here; at least one.
    pub(super) fn scaled_seconds(&self, seconds: u64) -> i64 {
        let ms = seconds.saturating_mul(1000).div_ceil(self.scale());
        i64::try_from(ms).unwrap_or(i64::MAX / 4)
    }

    /// A wait of so many seconds as it is told: whole seconds, rounded up.
    pub(super) fn scaled_wait(&self, seconds: u64) -> u64 {
        seconds.div_ceil(self.scale())
    }

    /// How long so many milliseconds last here.
    pub(super) fn scaled(&self, ms: u64) -> Duration {
        Duration::from_micros(ms.saturating_mul(1000).div_ceil(self.scale()))
    }

    /// As [`GraphOptions::scaled`], in milliseconds, rounded up.
    pub(super) fn scaled_ms(&self, ms: u64) -> i64 {
        i64::try_from(ms.div_ceil(self.scale())).unwrap_or(i64::MAX / 4)
    }
}

/// The refusal of a delta token whose state is gone: 410 both times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaExpired {
    /// `SyncStateNotFound`.
    SyncStateNotFound,
    /// `resyncRequired`, with a `Location` to begin anew at.
    ResyncRequired,
}

/// An app registration.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct App {
    /// Its client id.
    pub client_id: String,
    /// Its secret; empty: it has none.
    pub client_secret: String,
    /// The certificate registered with it, as PEM.
    pub certificate: Option<String>,
    /// The issuer it trusts instead.
    pub federated: Option<Federated>,
}

/// An issuer whose tokens prove that their bearer is an app (workload identity federation).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Federated {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `sub` of the app's.
    pub subject: String,
    /// A certificate of the key it signs with, as PEM.
    pub certificate: String,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

/// The refusal of a mailbox that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnknownMailbox {
    /// 404 `ErrorInvalidUser`: no such user.
    ErrorInvalidUser,
    /// 404 `MailboxNotEnabledForRESTAPI`: the mailbox is still on premises, inactive or soft-deleted.
    MailboxNotEnabledForRestApi,
}

/// The language of the folders every mailbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// `Sent Items`
    English,
    /// `Gesendete Elemente`
    German,
    /// `Éléments envoyés`
    French,
}

/// What a refusal says about waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryAfter {
    /// The seconds until the window allows one more request, rounded up.
    Exact,
    /// No `Retry-After` at all.
    Absent,
    /// Always so many seconds.
    Seconds(u64),
    /// As [`RetryAfter::Exact`], but as an HTTP date (RFC 9110 §10.2.3).
    Date,
}

/// How the windows of [`Limits`] go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Windows {
    /// What happened within the last so many seconds counts.
    Sliding,
    /// What happened since the last full multiple of so many seconds of the wall clock (since 1970) counts.
    Fixed,
}

/// Throttling, per app and mailbox unless said. Refused requests count too. Which kind of window the service has is not
/// documented.
/// Source: Microsoft Graph documentation, `throttling-limits`, Outlook service limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How all the windows go.
    pub windows: Windows,
    /// Requests in `window_seconds`.
    pub requests: u64,
    /// The window of `requests`, in seconds.
    pub window_seconds: u64,
    /// Requests at once.
    pub concurrent: u32,
    /// Octets of POST, PATCH and PUT bodies in `upload_window_seconds`.
    pub upload_bytes: u64,
    /// The window of `upload_bytes`, in seconds.
    pub upload_window_seconds: u64,
    /// Requests of one app over all mailboxes in ten seconds.
    pub app_requests: u64,
    /// What refusals of a spent window say.
    pub retry_after: RetryAfter,
    /// What refusals of one request too many at once say.
    pub concurrency_retry_after: RetryAfter,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            windows: Windows::Sliding,
            requests: 10_000,
            window_seconds: 600,
            concurrent: 4,
            upload_bytes: 150_000_000,
            upload_window_seconds: 300,
            app_requests: 130_000,
            retry_after: RetryAfter::Exact,
            concurrency_retry_after: RetryAfter::Seconds(1),
        }
    }
}

/// Sizes in octets, counts in pieces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// A request's body.
    pub request: usize,
    /// The body of a request that imports an item (not documented).
    pub import_request: usize,
    /// Lifetime of an import session, in seconds (not documented).
    pub import_seconds: u64,
    /// An attachment added in one request, decoded.
    pub attachment_post: usize,
    /// The smallest attachment for which an upload session is given.
    pub upload_min: u64,
    /// The largest.
    pub upload_max: u64,
    /// A message with all its parts (a tenant's plan says 36 MB until raised; 150 MB at most).
    pub message: u64,
    /// A mailbox; beyond it 507 `ErrorQuotaExceeded`.
    pub mailbox: u64,
    /// Messages in a folder.
    pub folder_messages: usize,
    /// Folders directly in a folder.
    pub subfolders: usize,
    /// Levels of folders.
    pub folder_depth: usize,
    /// Characters of a folder's name.
    pub folder_name: usize,
    /// Attachments of a message.
    pub attachments: usize,
    /// What the service adds to an attachment's reported `size`: it is not the decoded length.
    pub attachment_overhead: u64,
    /// Lifetime of an upload session, in seconds.
    pub upload_seconds: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            request: 4 << 20,
            import_request: 200 << 20,
            import_seconds: 3600,
            attachment_post: 3 << 20,
            upload_min: 3_000_000,
            upload_max: 150 << 20,
            message: 150 << 20,
            mailbox: 100 << 30,
            folder_messages: 1_000_000,
            subfolders: 10_000,
            folder_depth: 300,
            folder_name: 255,
            attachments: 250,
            attachment_overhead: 121,
            upload_seconds: 24 * 3600,
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
    /// For each mebibyte of the request's body.
    pub per_mib_ms: u64,
}
