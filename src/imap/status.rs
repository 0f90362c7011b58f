//! Statuses and response codes (RFC 3501 §7.1, RFC 5530), and what can be used of their human text.

use std::time::Duration;

use super::capabilities::Capabilities;
use super::scan::{Scan, Scanner, Unreadable, lossless};
use super::uids::written_out;
use crate::model::{Error, Kind, Scope};

/// A status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused, or failed.
    No,
    /// Not understood.
    Bad,
    /// The session ends.
    Bye,
    /// A greeting: logged in already.
    PreAuth,
}

/// A response code (RFC 3501 §7.1, RFC 5530).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Code {
    /// None was sent.
    #[default]
    None,
    /// `CAPABILITY`
    Capability(Capabilities),
    /// `UIDVALIDITY`
    UidValidity(u32),
    /// `UIDNEXT`
    UidNext(u32),
    /// `HIGHESTMODSEQ`
    HighestModSeq(u64),
    /// `NOMODSEQ` (RFC 7162): the folder keeps no modification sequences.
    NoModSeq,
    /// `PERMANENTFLAGS`: flags that can be changed for good; `\\*` means that new keywords can be made.
    PermanentFlags(Vec<String>),
    /// `MAILBOXID` (RFC 8474)
    MailboxId(String),
    /// `APPENDUID` (RFC 4315)
    AppendUid(AppendUid),
    /// `COPYUID` (RFC 4315)
    CopyUid(CopyUid),
    /// Any other, by its name in upper case: letters, digits, `-`, `_` and `.` only, at most 32.
    Named(String),
}

impl Code {
    /// Is it the one of this name?
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Code::Named(n) if n == name)
    }
}

/// Where appended messages went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendUid {
    /// UIDVALIDITY of the folder.
    pub uid_validity: u32,
    /// Their UIDs, in the order appended.
    pub uids: Vec<u32>,
}

/// Where copied or moved messages went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyUid {
    /// UIDVALIDITY of the folder they went to.
    pub uid_validity: u32,
    /// Each message's old and new UID.
    pub pairs: Vec<(u32, u32)>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// OK, NO or BAD.
    pub status: Status,
    /// Its code.
    pub code: Code,
    /// The wait the server suggested, if it did.
    pub backoff: Option<Duration>,
}

impl Done {
    /// Was it OK?
    pub fn ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// `Ok` if it was OK, else the refusal as an error of `scope`. `what` says what was asked for.
    ///
    /// # Errors
    /// The server said NO or BAD.
    pub fn check(&self, scope: Scope, what: &str) -> Result<(), Error> {
        if self.ok() { Ok(()) } else { Err(self.refusal(scope, what)) }
    }

    /// Exchange's `User is authenticated but not connected`: it believes who we are and opens no mailbox for us.
    pub fn not_connected(&self) -> bool {
        self.code.is(NOT_CONNECTED)
    }

    /// A NO or BAD as an error. The server's own words are left out: they are foreign text and may name people.
    pub fn refusal(&self, scope: Scope, what: &str) -> Error {
        let word = if self.status == Status::No { "NO" } else { "BAD" };
        let text = match &self.code {
            Code::Named(name) => format!("{what}: the server said {word} [{name}]"),
            _ => format!("{what}: the server said {word}"),
        };
        if let Some(wait) = self.backoff {
            return Error::throttled(scope, text, Some(wait)).remedy(LATER);
        }
        if self.not_connected() {
            return Error::new(
                Kind::Denied,
                Scope::Mailbox,
                format!("{what}: the login was accepted, but opens no mailbox (authenticated but not connected)"),
            )
            .remedy("check that this mailbox exists, that IMAP is on for it, and that the account has full access to it");
        }
        let name = match &self.code {
            Code::Named(name) => name.as_str(),
            _ => "",
        };
        match name {
            "THROTTLED" | "LIMIT" | "OVERQUOTA-TEMP" => Error::throttled(scope, text, None).remedy(LATER),
            "UNAVAILABLE" | "INUSE" | "SERVERBUG" | "EXPUNGEISSUED" => {
                Error::temporary(Kind::Unreachable, scope, text)
                    .remedy("run again; if it stays, the server's log tells why")
            }
            "OVERQUOTA" => Error::new(Kind::Quota, scope, text)
                .remedy("give the mailbox more space, or migrate less of it"),
            "TOOBIG" => Error::new(Kind::TooLarge, scope, text)
                .remedy("raise the server's limit, or leave behind what is too large"),
            "ALREADYEXISTS" => Error::new(Kind::Conflict, scope, text)
                .remedy("another one has that place at the server: rename or remove it, then run again"),
            "CANNOT" | "HASCHILDREN" => Error::new(Kind::Refused, scope, text)
                .remedy("the server never does this: its settings and its log tell why"),
            "NONEXISTENT" | "TRYCREATE" => Error::new(Kind::NotFound, scope, text)
                .remedy("run again: what is there then is taken; what should be there and is not, the server's log explains"),
            "NOPERM" | "AUTHORIZATIONFAILED" => Error::new(Kind::Denied, scope, text)
                .remedy("give the account used for the migration the right to it"),
            "CONTACTADMIN" => Error::temporary(Kind::Protocol, scope, text)
                .remedy("the server sends you to its operator: have it repaired, then run again"),
            // Servers say a bare NO for anything from a missing folder to a full disk: it may pass.
            _ if self.status == Status::No => Error::temporary(Kind::Protocol, scope, text)
                .remedy("run again; if it is refused each time, the server's log tells why"),
            _ => Error::temporary(Kind::Protocol, scope, text).remedy(
                "the server does not understand what it was asked: run again, and name its kind with `preset` if it stays",
            ),
        }
    }
}

/// What to do about a server that is asked too much.
const LATER: &str = "run again later; lower `max_connections` if it stays";

pub(super) fn status_of(word: &[u8]) -> Option<Status> {
    [
        (&b"OK"[..], Status::Ok),
        (b"NO", Status::No),
        (b"BAD", Status::Bad),
        (b"BYE", Status::Bye),
        (b"PREAUTH", Status::PreAuth),
    ]
    .into_iter()
    .find_map(|(name, status)| word.eq_ignore_ascii_case(name).then_some(status))
}

/// The code and what can be used of the text.
pub(super) fn done(status: Status, mut scan: Scanner<'_>) -> Done {
    scan.blanks();
    let text = scan.rest();
    let code = if scan.eat(b'[') {
        code(&mut scan).unwrap_or_default()
    } else if status != Status::Ok && memchr::memmem::find(text, b"authenticated but not connected").is_some()
    {
        Code::Named(NOT_CONNECTED.to_owned())
    } else {
        Code::None
    };
    let (code, backoff) = super::backoff::judge(status, code, text);
    Done { status, code, backoff }
}

/// What stands for a code where Exchange has a sentence only. No code of a server has a blank in it.
const NOT_CONNECTED: &str = "not connected";

fn code(scan: &mut Scanner<'_>) -> Scan<Code> {
    let inner = scan.rest();
    let end = inner.iter().position(|b| matches!(b, b' ' | b']')).ok_or(Unreadable)?;
    let name: String =
        lossless(&inner[..end]).to_ascii_uppercase().chars().take(32).filter(|c| name_char(*c)).collect();
    let inner = inner.get(end..).unwrap_or_default();
    let mut rest = Scanner::over(inner);
    rest.blanks();
    Ok(match name.as_str() {
        "CAPABILITY" => {
            let end = memchr::memchr(b']', inner).ok_or(Unreadable)?;
            Code::Capability(Capabilities::read(&mut Scanner::over(&inner[..end]))?)
        }
        "UIDVALIDITY" => Code::UidValidity(rest.small()?),
        "UIDNEXT" => Code::UidNext(rest.small()?),
        "HIGHESTMODSEQ" => Code::HighestModSeq(rest.number()?),
        "NOMODSEQ" => Code::NoModSeq,
        "PERMANENTFLAGS" => Code::PermanentFlags(rest.words()?),
        "MAILBOXID" => Code::MailboxId(rest.object_id()?.ok_or(Unreadable)?),
        "APPENDUID" => {
            let [uid_validity, uids] = uid_words(inner)?;
            Code::AppendUid(AppendUid { uid_validity: one(uid_validity)?, uids: written_out(uids)? })
        }
        "COPYUID" => {
            let [uid_validity, from, to] = uid_words(inner)?;
            let (from, to) = (written_out(from)?, written_out(to)?);
            if from.len() != to.len() {
                return Err(Unreadable);
            }
            let pairs = from.into_iter().zip(to).collect();
            Code::CopyUid(CopyUid { uid_validity: one(uid_validity)?, pairs })
        }
        _ => Code::Named(name),
    })
}

/// The words up to the closing bracket, if they are that many.
fn uid_words<const N: usize>(inner: &[u8]) -> Scan<[&[u8]; N]> {
    let end = memchr::memchr(b']', inner).ok_or(Unreadable)?;
    let words: Vec<&[u8]> = inner[..end].split(|b| *b == b' ').filter(|w| !w.is_empty()).collect();
    words.try_into().map_err(|_| Unreadable)
}

fn one(digits: &[u8]) -> Scan<u32> {
    Scanner::over(digits).small()
}

fn name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: Status, code: &str) -> Error {
        let code = if code.is_empty() { Code::None } else { Code::Named(code.to_owned()) };
        Done { status, code, backoff: None }.refusal(Scope::Folder, "opening a folder")
    }

    #[test]
    fn every_refusal_says_what_was_refused_and_what_to_do() {
        let codes = [
            "",
            "THROTTLED",
            "LIMIT",
            "UNAVAILABLE",
            "INUSE",
            "SERVERBUG",
            "EXPUNGEISSUED",
            "OVERQUOTA",
            "TOOBIG",
            "ALREADYEXISTS",
            "CANNOT",
            "HASCHILDREN",
            "NONEXISTENT",
            "TRYCREATE",
            "NOPERM",
            "CONTACTADMIN",
            "ODD",
            NOT_CONNECTED,
        ];
        for code in codes {
            for status in [Status::No, Status::Bad] {
                let error = refused(status, code);
                assert!(error.what.starts_with("opening a folder: "), "{error}");
                assert!(!error.remedy.is_empty(), "{code}: {error}");
            }
        }
        assert_eq!(
            refused(Status::No, "NONEXISTENT").to_string(),
            "opening a folder: the server said NO [NONEXISTENT] — run again: what is there then is taken; what should \
             be there and is not, the server's log explains"
        );
        assert_eq!(
            refused(Status::No, "").to_string(),
            "opening a folder: the server said NO — run again; if it is refused each time, the server's log tells why"
        );
        assert!(refused(Status::Bad, "").remedy.contains("`preset`"));
        let wait = Some(Duration::from_secs(7));
        let told =
            Done { status: Status::No, code: Code::None, backoff: wait }.refusal(Scope::Mailbox, "listing");
        assert_eq!((told.retry_after, told.remedy.as_str()), (wait, LATER));
    }
}
