//! What can go wrong on the wire. Texts are fixed: nothing a server says is ever quoted.

use std::io;
use std::time::Duration;

use crate::model::{Error, Kind, Scope};

/// A failure of the connection itself. Except for [`WireError::Unsendable`] the connection is broken afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// End of file in the middle of the conversation.
    #[error("the server closed the connection")]
    Closed,
    /// The server said BYE; with the wait it suggested, if it did.
    #[error("the server ended the session (BYE)")]
    Bye(Option<Duration>),
    /// The transport failed.
    #[error("the connection broke ({0})")]
    Io(io::ErrorKind),
    /// Nothing moved for longer than the idle timeout.
    #[error("the server stopped answering")]
    TimedOut,
    /// The server sent more than we hold.
    #[error("the server's answer is larger than the limit for {0}")]
    Limit(&'static str),
    /// The octets cannot be trusted any more: we no longer know where a response begins.
    #[error("the server broke the protocol: {0}")]
    Framing(&'static str),
    /// A message's literal is larger than we will even read past, in bytes.
    #[error("a message of {0} bytes is larger than the limit")]
    BodyTooLarge(u64),
    /// The message to be sent could not be read back from the spool.
    #[error("a message could not be read back from the spool directory ({0})")]
    Spool(io::ErrorKind),
    /// Something IMAP cannot carry at all (a name with a NUL, a flag that is no atom).
    #[error("a name, password or flag cannot be sent: IMAP has no way to write it")]
    Unsendable,
    /// The connection broke earlier, or a call on it was abandoned half way.
    #[error("the connection is no longer usable")]
    Broken,
}

impl WireError {
    /// As an error of the mailbox the session belonged to. A fresh session may do better, so all but an impossible
    /// string are temporary.
    pub fn into_error(self) -> Error {
        let what = self.to_string();
        let remedy = self.remedy();
        match self {
            WireError::Unsendable => Error::new(Kind::Config, Scope::Mailbox, what),
            WireError::Limit(_) | WireError::Framing(_) => {
                Error::temporary(Kind::Protocol, Scope::Mailbox, what)
            }
            WireError::Spool(_) => Error::temporary(Kind::Io, Scope::Run, what),
            WireError::BodyTooLarge(_) => Error::new(Kind::TooLarge, Scope::Message, what),
            WireError::Bye(Some(wait)) => Error::throttled(Scope::Mailbox, what, Some(wait)),
            WireError::Closed
            | WireError::Bye(None)
            | WireError::Io(_)
            | WireError::TimedOut
            | WireError::Broken => Error::temporary(Kind::Unreachable, Scope::Mailbox, what),
        }
        .remedy(remedy)
    }

    /// What the operator can do.
    const fn remedy(self) -> &'static str {
        match self {
            WireError::Closed | WireError::Bye(None) | WireError::Io(_) | WireError::Broken => {
                "run again; if it stays, look at the server's log and at the network in between"
            }
            WireError::Bye(Some(_)) => {
                "wait as long as the server asked for, then run again; lower `max_connections` if it stays"
            }
            WireError::TimedOut => "run again; raise `idle_timeout` if the server needs longer to answer",
            WireError::Limit(_) => {
                "the server answers far more than is usual: let its operator look at this mailbox, or leave the folder out"
            }
            WireError::Framing(_) => {
                "run again; if it stays, check `port` and `tls`, and name the server's kind with `preset`"
            }
            WireError::BodyTooLarge(_) => {
                "raise `max_message` if the target takes it, or hand the message over as a file"
            }
            WireError::Spool(_) => "check the disk of the spool directory",
            WireError::Unsendable => "take NUL and control characters out of the name, password or flag",
        }
    }
}

impl From<io::Error> for WireError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => WireError::Closed,
            kind => WireError::Io(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_what_happened_and_what_to_do() {
        let all = [
            WireError::Closed,
            WireError::Bye(None),
            WireError::Bye(Some(Duration::from_secs(3))),
            WireError::Io(io::ErrorKind::ConnectionReset),
            WireError::TimedOut,
            WireError::Limit("one line"),
            WireError::Framing("it answers a command nobody sent"),
            WireError::BodyTooLarge(9),
            WireError::Spool(io::ErrorKind::StorageFull),
            WireError::Unsendable,
            WireError::Broken,
        ];
        for wire in all {
            let error = wire.into_error();
            assert!(!error.what.is_empty() && !error.remedy.is_empty(), "{error}");
            let fit_to_show = |text: &str| !text.contains('\n') && !text.ends_with('.');
            assert!(fit_to_show(&error.what) && fit_to_show(&error.remedy), "{error}");
        }
        let told = WireError::TimedOut.into_error().to_string();
        assert_eq!(
            told,
            "the server stopped answering — run again; raise `idle_timeout` if the server needs longer to answer"
        );
    }
}
