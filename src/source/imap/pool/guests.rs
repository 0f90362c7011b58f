//! Places of this pool for another process, and those of another process for this pool.

use std::pin::pin;
use std::sync::Arc;

use super::super::places::Given;
use super::{Lease, Pool};
use crate::limit::{LentPlace, PlaceLender};

/// Who lends the places of an endpoint, beside the limits here.
pub(in super::super) struct LentBy {
    pub lender: Arc<dyn PlaceLender>,
    pub endpoint: String,
}

/// A guest that waits, until it has its place.
struct Asks<'a> {
    pool: &'a Pool,
    guest: u64,
}

impl Drop for Asks<'_> {
    fn drop(&mut self) {
        let now = self.pool.env.now();
        self.pool.places().guest_gone(self.guest, now);
        self.pool.freed.notify_waiters();
    }
}

impl Pool {
    /// A place for a connection of another process, which may log in now.
    pub async fn lend(self: &Arc<Self>) -> Lease {
        let asks = Asks { pool: self, guest: self.owner() };
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            let now = self.env.now();
            let given = self.places().guest(asks.guest, now);
            let Some(Given { place, evicted }) = given else {
                freed.await;
                continue;
            };
            let lease = Lease::new(self, asks.guest, place, now);
            if let Some(evicted) = evicted {
                evicted.logout().await;
            }
            let at = self.places().next_login(self.env.now(), self.settings.server.login_interval);
            self.env.sleep_until(at).await;
            return lease;
        }
    }

    /// Another process lends a place, if there is one.
    pub(super) async fn borrow(&self) -> Option<LentPlace> {
        let LentBy { lender, endpoint } = self.lent_by.as_ref()?;
        lender.place(endpoint).await
    }
}
