//! Messages that were refused, or whose command was cut: who is at fault, and what is tried next.

use super::Batch;
use crate::imap::{Code, Done, Status, WireError};
use crate::model::{Error, Kind, Outcome, Scope};
use crate::target::imap::ImapMailbox;
use crate::target::imap::append::{Draft, FREE_LITERALS};
use crate::target::imap::session::{Live, gone};
use crate::target::imap::shelf::Shelf;

/// Messages refused one after the other, without a reason, before it is the folder that is at fault.
const IN_A_ROW: usize = 8;
/// A message that was refused so often without a reason is.
const STRIKES: u32 = 3;
/// Messages whose strikes are remembered.
const REMEMBERED: usize = 10_000;

impl ImapMailbox {
    /// Several messages at once were refused. All or none of them is the rule; a server that stored some of them before
    /// it said NO would get them twice. So it is asked whether anything came: then they must be looked for.
    pub(super) async fn part_or_nothing(&self, live: &Live, folder: &str, shelf: &Shelf, batch: &mut Batch) {
        let doubted = std::mem::take(&mut batch.doubted);
        let known = shelf.numbers();
        let told = {
            let _alone = live.alone().await;
            live.session.status(folder.as_bytes()).await
        };
        let error = match told {
            Err(error) => error,
            Ok(told) if known.next > 0 && told.uid_next.is_some_and(|next| next > known.next) => {
                Error::temporary(
                    Kind::Protocol,
                    Scope::Folder,
                    "the server refused several messages, and something came into the folder",
                )
                .remedy("run again: they are looked for before they are stored again")
            }
            Ok(_) => {
                doubted.into_iter().rev().for_each(|draft| batch.queue.push_front(draft));
                return;
            }
        };
        for draft in doubted {
            batch.settle(draft.at, Outcome::Unknown(error.clone()));
        }
        batch.stop.get_or_insert(error);
    }

    pub(super) async fn refused(
        &self,
        live: &Live,
        folder: &str,
        batch: &mut Batch,
        group: Vec<Draft>,
        done: &Done,
    ) {
        let what = "storing messages";
        let named = |names: &[&str]| matches!(&done.code, Code::Named(n) if names.contains(&n.as_str()));
        let coded = matches!(&done.code, Code::Named(_)) || done.backoff.is_some();
        let mut missing = named(&["TRYCREATE", "NONEXISTENT"]);
        if !coded && !batch.asked {
            batch.asked = true;
            missing = live.is_gone(folder).await.unwrap_or(false);
        }
        if missing {
            self.folders.forget(folder).await;
            self.shelves.forget(|name| name == folder);
            return batch.not_sent(group, &gone());
        }
        if named(&["OVERQUOTA"]) {
            let error =
                Error::temporary(Kind::Quota, Scope::Mailbox, "the target mailbox is full (OVERQUOTA)")
                    .remedy("give the mailbox more space, or migrate less of it; then run again");
            return batch.not_sent(group, &error);
        }
        let keywords = group.iter().any(Draft::with_keywords);
        if throttles(done) && !(named(&["LIMIT"]) && keywords)
            || named(&["UNAVAILABLE", "INUSE", "SERVERBUG", "CONTACTADMIN", "NOPERM", "AUTHORIZATIONFAILED"])
            || done.not_connected()
        {
            return batch.not_sent(group, &done.refusal(Scope::Folder, what));
        }
        let offer = live.session.capabilities();
        if done.status == Status::Bad
            && !coded
            && FREE_LITERALS.iter().any(|name| offer.has(name))
            && !self.line.host.manners.takes_free_literals()
            && !group.iter().any(|draft| draft.asks_first)
        {
            // Perhaps it offers literals that it does not take.
            let asked = group.into_iter().map(|draft| Draft { asks_first: true, ..draft });
            asked.rev().for_each(|draft| batch.queue.push_front(draft));
            return;
        }
        if group.len() > 1 {
            // One of them is at fault, or several at once are.
            batch.bad |= done.status == Status::Bad;
            batch.singly = true;
            return batch.doubted.extend(group);
        }
        let Some(mut draft) = group.into_iter().next() else { return };
        if named(&["TOOBIG"]) {
            let what = format!("a message of {} bytes is larger than the target takes", draft.body.len());
            let error = Error::new(Kind::TooLarge, Scope::Message, what)
                .remedy("raise the server's limit, or approve the skip");
            return batch.settle(draft.at, Outcome::Refused(error));
        }
        if named(&["UNKNOWN-CTE", "BADBURL"]) && !draft.plain {
            draft.plain = true;
        } else if draft.oddities.utf8
            && !draft.utf8
            && !draft.again
            && live.session.has_enabled("UTF8=ACCEPT")
        {
            // Some take UTF-8 in a header in this form only (RFC 6855 §4).
            draft.utf8 = true;
        } else if draft.mend() {
            // Some servers take no bare LF at all.
        } else if draft.with_keywords() {
            draft.bare = true;
        } else if !draft.again {
            draft.again = true;
            // Later standards do without that form (RFC 9755).
            draft.utf8 = false;
        } else {
            batch.refused += 1;
            let error = done.refusal(Scope::Message, what);
            return self.strike(batch, draft, error);
        }
        batch.queue.push_front(draft);
    }

    /// A message was refused twice without a reason. Servers say a bare NO for anything from a bad message to a full
    /// disk: it is the message if others are stored, or if it happens again and again.
    fn strike(&self, batch: &mut Batch, draft: Draft, error: Error) {
        let strikes = {
            let mut strikes = self.strikes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if strikes.len() > REMEMBERED {
                strikes.clear();
            }
            let strikes = strikes.entry(draft.body.digest()).or_default();
            *strikes += 1;
            *strikes
        };
        if batch.refused >= IN_A_ROW && batch.stored.is_empty() && strikes < STRIKES {
            return batch.not_sent(vec![draft], &error.scoped(Scope::Folder));
        }
        if !batch.stored.is_empty() || strikes >= STRIKES {
            let error = Error::new(
                Kind::Refused,
                Scope::Message,
                "the target server refuses a message and does not say why",
            )
            .remedy("look at the message at the source; approve the skip if it can stay behind");
            return batch.settle(draft.at, Outcome::Refused(error));
        }
        batch.settle(draft.at, Outcome::NotSent(error));
    }

    pub(super) fn cut(&self, batch: &mut Batch, group: Vec<Draft>, error: WireError, begun: bool) {
        if begun && matches!(error, WireError::Framing(_)) {
            // It answered what it never was sent as a command: it may take the octets of a literal for some.
            self.line.host.manners.learn_no_free_literals();
        }
        let error = error.into_error();
        if !begun {
            return batch.not_sent(group, &error);
        }
        for draft in group {
            batch.settle(draft.at, Outcome::Unknown(error.clone()));
        }
        batch.stop.get_or_insert(error);
    }
}

pub(super) fn throttles(done: &Done) -> bool {
    done.backoff.is_some() || ["THROTTLED", "LIMIT", "OVERQUOTA-TEMP"].iter().any(|name| done.code.is(name))
}
