//! What an IMAP server tells of a mailbox before anything is written: for `mailwave check`.

use std::sync::Arc;

use super::{ImapMailbox, ImapTarget, answer};
use crate::env::Step;
use crate::imap::Quota;
use crate::limit::Gate;
use crate::model::Result;
use crate::target::{Probe, Room, Told};

/// STORAGE is counted in these (RFC 9208 §5.1), in bytes.
const UNIT: u64 = 1024;

/// Why the room is not told.
const NO_QUOTA: &str = "the server does not tell its quotas (QUOTA, RFC 9208); its operator knows them";

impl ImapTarget {
    /// Logs in, lists the folders, asks for the quota of the inbox.
    pub(super) async fn ask(&self, mailbox: &str, gate: &Arc<Gate>) -> Probe {
        self.host.env.step(Step::TargetFolder).await;
        let slot = gate.admit(&gate.lookup(), 0).await;
        let opened = self.open_line(mailbox, "", gate).await;
        slot.finish(answer(&opened));
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Probe::closed(error),
        };
        let known = opened.folders.known.lock().await;
        let folders = known.by_name.values().filter(|entry| entry.selectable).count() as u64;
        drop(known);
        let room = match opened.gated(quota(&opened)).await {
            Ok(Some(limits)) => Told::Yes(room(&limits)),
            Ok(None) => Told::No(NO_QUOTA),
            Err(error) => Told::Failed(error),
        };
        let probe = Probe {
            login: None,
            opened: Ok(()),
            server: None,
            folders: Told::Yes(folders),
            room,
            max_message_bytes: Some(opened.capabilities.max_message_bytes),
        };
        opened.line.end().await;
        probe
    }
}

async fn quota(opened: &ImapMailbox) -> Result<Option<Vec<Quota>>> {
    let live = opened.line.live().await?;
    let _alone = live.alone().await;
    live.session.quota(b"INBOX").await
}

/// The limit that leaves the least room; quotas on anything but octets say nothing of it.
fn room(limits: &[Quota]) -> Room {
    let of_storage = limits.iter().filter(|quota| quota.resource == "STORAGE");
    let tightest = of_storage.min_by_key(|quota| quota.limit.saturating_sub(quota.used));
    Room {
        limit: tightest.map(|quota| quota.limit.saturating_mul(UNIT)),
        used: tightest.map(|quota| quota.used.saturating_mul(UNIT)),
        shared: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_that_of_the_limit_with_the_least_left() {
        let of = |resource: &str, used, limit| Quota { resource: resource.to_owned(), used, limit };
        let all = [of("STORAGE", 1, 100), of("MESSAGE", 99, 100), of("STORAGE", 40, 50)];
        assert_eq!(room(&all), Room { limit: Some(50 * 1024), used: Some(40 * 1024), shared: false });
        assert_eq!(room(&all[1..2]), Room::default(), "no limit of octets");
        assert_eq!(room(&[of("STORAGE", 7, u64::MAX)]).free(), Some(u64::MAX - 7 * 1024));
    }
}
