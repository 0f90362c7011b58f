//! What faults make of requests: answers that were never earned, and writes that are taken back.

use super::core::Core;
use super::date;
use super::head::Head;
use super::reply::{Kept, Refusal, Reply};

impl Core {
    /// Takes back what a reply says was made.
    pub(super) fn undo(&mut self, reply: &Reply) {
        if let Some((mailbox, number)) = &reply.created
            && let Some(mailbox) = self.mailboxes.get_mut(mailbox)
        {
            mailbox.purge(*number);
        }
        match &reply.kept {
            Some(Kept::Range { session, before }) => {
                if let Some(upload) = self.uploads.get_mut(session) {
                    upload.forget(*before);
                }
            }
            Some(Kept::Attachment { mailbox, message, id }) => {
                if let Some(mailbox) = self.mailboxes.get_mut(mailbox) {
                    let modified = mailbox.items.get(message).map_or(0, |i| i.modified);
                    mailbox.update(*message, modified, |item| item.attachments.retain(|a| !a.id.is(id)));
                }
            }
            None => {}
        }
    }

    /// The answer a fault gives.
    pub(super) fn fault_reply(&mut self, status: u16, retry_after: Option<u64>, now: i64) -> Reply {
        let mut refusal = fault_refusal(status);
        refusal.retry_after = retry_after.map(|s| self.options.scaled_wait(s));
        let reply = refusal.reply(&date::write(now), &self.request_id());
        self.count(reply)
    }

    /// The answer that a fault gives word for word.
    pub(super) fn fault_answer(
        &mut self,
        status: u16,
        code: Option<&str>,
        wait: Option<&str>,
        now: i64,
    ) -> Reply {
        let mut refusal = fault_refusal(status);
        if let Some(code) = code {
            code.clone_into(&mut refusal.code);
        }
        refusal.retry_text = wait.map(str::to_owned);
        let reply = refusal.reply(&date::write(now), &self.request_id());
        self.count(reply)
    }

    /// Makes the token of a request worthless, and says so.
    pub(super) fn end_token(&mut self, head: &Head, now: i64) -> Reply {
        if let Some(bearer) = &head.bearer {
            self.tokens.end(bearer);
        }
        let refusal = Refusal::new(
            401,
            "InvalidAuthenticationToken",
            "Lifetime validation failed, the token is expired.",
        );
        self.refuse(&refusal, now)
    }

    /// Ends an upload session, and says that there is none.
    pub(super) fn end_upload(&mut self, session: &str, now: i64) -> Reply {
        self.uploads.remove(session);
        self.refuse(&Refusal::not_found(), now)
    }

    /// Answers a range put to an upload session as one that did not arrive whole.
    pub(super) fn lose_chunk(&mut self, session: &str, now: i64) -> Reply {
        let Some(upload) = self.uploads.get(session) else {
            return self.refuse(&Refusal::not_found(), now);
        };
        let reply = Reply::json(200, &upload.state());
        self.count(reply)
    }
}

fn fault_refusal(status: u16) -> Refusal {
    let (code, message) = match status {
        410 => ("SyncStateNotFound", "The sync state generation is not found."),
        429 => ("ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
        503 => ("ErrorServerBusy", "The server cannot service this request right now. Try again later."),
        504 => ("UnknownError", ""),
        507 => ("ErrorQuotaExceeded", "The mailbox has exceeded its quota."),
        509 => {
            ("BandwidthLimitExceeded", "The app has been throttled for exceeding the maximum bandwidth cap.")
        }
        _ => ("ErrorInternalServerError", "An internal server error occurred. The operation failed."),
    };
    Refusal::new(status, code, message)
}
