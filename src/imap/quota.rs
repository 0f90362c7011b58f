//! QUOTA (RFC 9208): how much a mailbox may hold, and holds.

use super::answer::Each;
use super::folders::unreadable;
use super::scan::{Scan, Scanner, Text, Unreadable};
use super::{Command, Session, Status, Untagged, WireError};
use crate::model::{Result, Scope};

/// Resources of one quota root that are kept; servers know two or three.
const MOST: usize = 32;

/// One limit of a quota root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// What is counted, in upper case: `STORAGE` in units of 1,024 bytes, `MESSAGE` in pieces.
    pub resource: String,
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

impl Session {
    /// Every limit that holds for a folder (GETQUOTAROOT). `None`: the server does not offer to tell, or will not; no
    /// limits: there is none.
    ///
    /// # Errors
    /// The connection failed, or the server sent what cannot be read.
    pub async fn quota(&self, folder: &[u8]) -> Result<Option<Vec<Quota>>> {
        let offer = self.capabilities();
        if !offer.has("QUOTA") && offer.value("QUOTA").is_none() {
            return Ok(None);
        }
        let mut found = Ok(Vec::new());
        let mut each = Each(|response| match response {
            Untagged::Quota(limits) => {
                if let Ok(found) = &mut found {
                    found.extend(limits);
                }
            }
            Untagged::Unreadable("QUOTA") => found = Err(unreadable("its quota")),
            _ => {}
        });
        let command = Command::new("GETQUOTAROOT").string(&self.wire_name(folder));
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        if done.status != Status::Ok {
            return Ok(None);
        }
        found.map(Some).map_err(|e| e.scoped(Scope::Mailbox))
    }
}

/// `root (resource used limit …)`
pub(super) fn read(mut scan: Scanner<'_>) -> Scan<Vec<Quota>> {
    if matches!(scan.string()?, Text::Streamed | Text::Passed) {
        return Err(Unreadable);
    }
    scan.blanks();
    let words = scan.words()?;
    if words.len() % 3 != 0 || words.len() > MOST * 3 {
        return Err(Unreadable);
    }
    let number = |text: &String| text.parse::<u64>().map_err(|_| Unreadable);
    words
        .chunks_exact(3)
        .map(|of| {
            Ok(Quota { resource: of[0].to_ascii_uppercase(), used: number(&of[1])?, limit: number(&of[2])? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::{expect, on_a_runtime, send, session, session_with};
    use super::*;

    fn storage(used: u64, limit: u64) -> Quota {
        Quota { resource: "STORAGE".to_owned(), used, limit }
    }

    #[test]
    fn the_limits_of_every_root_are_told() {
        on_a_runtime(async {
            let script = vec![
                expect("GETQUOTAROOT"),
                send("* QUOTAROOT INBOX \"User quota\" \"All of it\"\r\n"),
                send("* QUOTA \"User quota\" (STORAGE 10 512 MESSAGE 20 100)\r\n"),
                send("* QUOTA \"All of it\" (storage 7 400)\r\n$ OK done\r\n"),
            ];
            let (session, _server) = session_with("IMAP4rev1 QUOTA QUOTA=RES-STORAGE", script);
            let told = session.quota(b"INBOX").await.expect("told").expect("offered");
            let messages = Quota { resource: "MESSAGE".to_owned(), used: 20, limit: 100 };
            assert_eq!(told, [storage(10, 512), messages, storage(7, 400)]);
        });
    }

    #[test]
    fn a_server_without_quota_is_not_asked_and_a_refusal_tells_nothing() {
        on_a_runtime(async {
            let (plain, _server) = session(Vec::new());
            assert_eq!(plain.quota(b"INBOX").await, Ok(None));
            let script = vec![expect("GETQUOTAROOT"), send("$ NO not yours\r\n")];
            let (session, _server) = session_with("IMAP4rev1 QUOTA", script);
            assert_eq!(session.quota(b"INBOX").await, Ok(None));
        });
    }

    #[test]
    fn no_limit_is_told_as_none_and_nonsense_as_an_error() {
        on_a_runtime(async {
            let script = vec![
                expect("GETQUOTAROOT"),
                send("* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" ()\r\n$ OK done\r\n"),
                expect("GETQUOTAROOT"),
                send("* QUOTA \"\" (STORAGE 5)\r\n$ OK done\r\n"),
                expect("GETQUOTAROOT"),
                send("* QUOTA \"\" (STORAGE 5 99999999999999999999999)\r\n$ OK done\r\n"),
            ];
            let (session, _server) = session_with("IMAP4rev1 QUOTA", script);
            assert_eq!(session.quota(b"INBOX").await, Ok(Some(Vec::new())));
            for _ in 0..2 {
                let error = session.quota(b"INBOX").await.expect_err("not readable");
                assert_eq!(error.scope, Scope::Mailbox);
            }
        });
    }
}
