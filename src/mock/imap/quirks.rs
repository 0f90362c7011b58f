//! What real servers do beside the standards: everything here is off unless a test turns it on.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::date::InternalDate;
use super::fetch::header_end;

/// The oddities of a server.
#[derive(Debug, Clone, Default)]
pub struct Quirks {
    /// FETCH gives 0x80 for each NUL (Dovecot); BINARY gives it as it is.
    pub nul_becomes_0x80: bool,
    /// A future date given to APPEND becomes now (Dovecot).
    pub future_dates_become_now: bool,
    /// The date given to APPEND counts for nothing.
    pub ignores_dates: bool,
    /// Each 8-bit octet in a header becomes `X` at APPEND (Cyrus with `munge8bit`).
    pub munges_8bit_headers: bool,
    /// Messages with 8-bit octets in their header are refused (Cyrus with `reject8bit`).
    pub refuses_8bit_headers: bool,
    /// A line of more octets than this is refused (Exchange).
    pub longest_body_line: Option<usize>,
    /// APPEND gives each message a Message-Id of the server's own (relays, Exchange).
    pub rewrites_message_ids: bool,
    /// Flags that APPEND forgets; STORE keeps them (Exchange and `\Flagged`).
    pub forgets_at_append: Vec<String>,
    /// The flags of PERMANENTFLAGS, `\*` among them or not, instead of the usual ones.
    pub permanent_flags: Option<Vec<String>>,
    /// APPEND and STORE with any other flag are refused instead of the flag left out.
    pub refuses_other_flags: bool,
    /// Octets one user may have: then `[OVERQUOTA]`.
    pub quota: Option<u64>,
    /// Octets of the largest message, announced as APPENDLIMIT (RFC 7889).
    pub append_limit: Option<u64>,
    /// The same folder by folder; then APPENDLIMIT is announced without a number, and other folders have no limit.
    pub append_limits: BTreeMap<String, u64>,
    /// Offers LITERAL+ and answers BAD to who uses it.
    pub lies_about_literals: bool,
    /// ENABLE is done, and its answer names nothing (iCloud).
    pub enables_silently: bool,
    /// Characters that no new folder may have in its name.
    pub forbidden_in_names: String,
    /// A folder with messages cannot have folders below it.
    pub no_inferiors: bool,
    /// Names that differ in case only are the same folder to CREATE.
    pub caseless_names: bool,
    /// SCRAM-SHA-256 is offered, and no user has a verifier for it.
    pub no_verifiers: bool,
    /// Rounds that SCRAM-SHA-256 asks for; 4,096 if it is 0.
    pub scram_rounds: u32,
    /// SCRAM-SHA-256 accepts any proof and gives a wrong one itself: someone else's server.
    pub impostor: bool,
}

impl Quirks {
    /// Does STATUS tell APPENDLIMIT?
    pub(super) fn limits_appends(&self) -> bool {
        self.append_limit.is_some() || !self.append_limits.is_empty()
    }

    /// Octets of the largest message this folder takes.
    pub(super) fn append_limit(&self, folder: &str) -> Option<u64> {
        self.append_limits.get(folder).copied().or(self.append_limit)
    }

    /// Why a message is not taken, if it is not. `utf8`: it came as UTF8 data (RFC 6855 §4).
    pub(super) fn refuse(&self, octets: &[u8], utf8: bool) -> Option<&'static str> {
        let header = octets.get(..header_end(octets)).unwrap_or_default();
        if utf8 && std::str::from_utf8(header).is_err() {
            return Some("Message header is not UTF-8");
        }
        if self.refuses_8bit_headers && !utf8 && !header.is_ascii() {
            return Some("Message contains invalid header");
        }
        let too_long = |longest| octets.split(|b| *b == b'\n').any(|line| line.len() > longest);
        if self.longest_body_line.is_some_and(too_long) {
            return Some("[CANNOT] Command Argument Error. 11");
        }
        None
    }

    /// A message as it is kept. `utf8`: it came as UTF8 data.
    pub(super) fn alter(&self, octets: Bytes, utf8: bool, number: u64) -> Bytes {
        let end = header_end(&octets);
        let mut kept = octets.to_vec();
        if self.munges_8bit_headers && !utf8 {
            kept.iter_mut().take(end).filter(|b| !b.is_ascii()).for_each(|b| *b = b'X');
        }
        if self.rewrites_message_ids {
            let mut at = 0;
            for line in octets.get(..end).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
                if line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case(b"message-id:")) {
                    let own = format!("Message-ID: <{number}@mock.invalid>\r\n");
                    kept.splice(at..at + line.len(), own.bytes());
                    break;
                }
                at += line.len();
            }
        }
        if kept == octets { octets } else { Bytes::from(kept) }
    }

    /// A date as it is kept.
    pub(super) fn date(&self, given: Option<InternalDate>, now: InternalDate) -> InternalDate {
        match given {
            Some(_) if self.ignores_dates => now,
            Some(date) if self.future_dates_become_now && date.seconds > now.seconds => now,
            Some(date) => date,
            None => now,
        }
    }

    /// Can this flag be kept for good?
    pub(super) fn keeps(&self, flag: &str) -> bool {
        self.permanent_flags.as_ref().is_none_or(|flags| {
            flags.iter().any(|f| f.eq_ignore_ascii_case(flag) || (f == "\\*" && !flag.starts_with('\\')))
        })
    }
}
