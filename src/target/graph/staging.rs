//! The folder that imported items lie in until they are stamped: hidden, ours, one in each mailbox.
//!
//! Nothing in it is a copy. What no store of this process is at work on is rubbish: imports whose answer was lost, or that
//! came late. Who else may write there? Within the process, other lanes, and another mailbox that is merged into the same
//! one: they hold `door` for reading from before an import until its item is moved on, and the sweep takes it for writing,
//! or is left to whoever comes out last. Another process: the ledger's claim lets one run write a mailbox; but `verify` and
//! `check` open mailboxes beside a run. So whoever only opens a mailbox removes what is older than any store takes, and
//! only whoever stores removes all of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, Weak};

use bytes::Bytes;
use http::Method;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};

use super::answer::id;
use super::folders::{STEP, object_with};
use super::session::{Call, Session, query, segment, unreadable};
use crate::env::Step;
use crate::model::{Error, Kind, Result, Scope};
use crate::target::dated::millis;

/// Its name, the same in every mailbox; it must never change.
const NAME: &str = "mailwave staging";
const WHAT: &str = "the staging folder of the target";
/// Longer than a store ever takes, by clocks that differ, in milliseconds.
const OLD: i64 = 3_600_000;
/// Sweeps after an unknown outcome: at its end, and at the two look-ups that follow it, for it may come late.
const SWEEPS: u32 = 3;
/// Items of one page.
const PAGE: usize = 200;

/// What the opened mailboxes of an endpoint share.
#[derive(Default)]
pub(super) struct Common {
    /// One large stream at a time.
    pub(super) large: Mutex<()>,
    /// The staging of each mailbox that is open, perhaps more than once: two mailboxes may be merged into one.
    stagings: std::sync::Mutex<Stagings>,
}

impl Common {
    /// The staging of a mailbox, the same for all who have it open.
    pub(super) fn staging(&self, mailbox: &str) -> Arc<Staging> {
        let mut stagings = self.stagings.lock().unwrap_or_else(PoisonError::into_inner);
        let Stagings { all, sweep_at } = &mut *stagings;
        if all.len() >= *sweep_at {
            all.retain(|_, staging| staging.strong_count() > 0);
            *sweep_at = all.len() * 2 + 64;
        }
        let mailbox = mailbox.to_lowercase();
        if let Some(staging) = all.get(&mailbox).and_then(Weak::upgrade) {
            return staging;
        }
        let staging = Arc::new(Staging::default());
        all.insert(mailbox, Arc::downgrade(&staging));
        staging
    }
}

/// Those that are there, and some that are gone: they are looked for each time the number has doubled.
#[derive(Default)]
struct Stagings {
    all: BTreeMap<String, Weak<Staging>>,
    sweep_at: usize,
}

/// The staging folder of one mailbox.
#[derive(Default)]
pub(super) struct Staging {
    door: RwLock<()>,
    place: Mutex<Looked>,
    /// Sweeps still to be made: an outcome was left unknown.
    due: AtomicU32,
    /// It was swept since this process first stored something.
    swept: AtomicBool,
}

#[derive(Default, Clone)]
enum Looked {
    #[default]
    NotYet,
    Absent,
    There(String),
}

impl Staging {
    /// From before an import until its item is moved on.
    pub(super) async fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.door.read().await
    }

    /// Something may have been left in it.
    pub(super) fn soil(&self) {
        self.due.store(SWEEPS, Ordering::Relaxed);
    }

    /// May something have been left in it?
    pub(super) fn is_dirty(&self) -> bool {
        self.due.load(Ordering::Relaxed) > 0
    }

    /// Its id, if it is there.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(super) async fn look(&self, session: &Session) -> Result<Option<String>> {
        let mut place = self.place.lock().await;
        if let Looked::NotYet = *place {
            *place = ask(session).await?;
        }
        Ok(match &*place {
            Looked::There(id) => Some(id.clone()),
            _ => None,
        })
    }

    /// Its id; made if missing, once.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) async fn make(&self, session: &Session) -> Result<String> {
        let mut place = self.place.lock().await;
        let mut tries = 0;
        loop {
            if let Looked::NotYet = *place {
                *place = ask(session).await?;
            }
            if let Looked::There(id) = &*place {
                return Ok(id.clone());
            }
            tries += 1;
            let body = object_with("displayName", NAME, "isHidden");
            let call = session.call(Method::POST, "/mailFolders", body, STEP, WHAT);
            let made = session.send(&session.lookup(), &call).await.and_then(|r| r.expect(&[201], WHAT));
            // It may be there now, whatever was answered: look again.
            *place = Looked::NotYet;
            let error = match made.map(|reply| reply.json().as_ref().and_then(id).map(str::to_owned)) {
                Ok(Some(id)) => {
                    *place = Looked::There(id);
                    continue;
                }
                Ok(None) => unreadable(WHAT),
                Err(fault) => fault.into_error(),
            };
            if error.kind == Kind::Conflict {
                if let Looked::There(id) = ask(session).await? {
                    *place = Looked::There(id);
                    continue;
                }
                let what = "the staging folder cannot be made: a folder of its name is there";
                return Err(Error::new(Kind::Conflict, Scope::Mailbox, what)
                    .remedy(format!("rename the folder \"{NAME}\" in the target mailbox")));
            }
            if tries == 4 || !session.wait_before_retry(&error, tries).await {
                return Err(error.scoped(Scope::Mailbox));
            }
        }
    }

    /// It was not where we thought.
    pub(super) async fn forget(&self) {
        *self.place.lock().await = Looked::NotYet;
    }

    /// At the first store: what an earlier run left is removed.
    pub(super) async fn sweep_once(&self, session: &Session, store: &str) {
        if !self.swept.load(Ordering::Relaxed) {
            self.sweep(session, store).await;
        }
    }

    /// Removes all that lies in it, unless somebody is at work there: then whoever comes out last does.
    pub(super) async fn sweep(&self, session: &Session, store: &str) {
        let Ok(_alone) = self.door.try_write() else { return };
        match self.remove_older(session, store, i64::MAX).await {
            Ok(()) => {
                self.swept.store(true, Ordering::Relaxed);
                // Nobody soils it meanwhile: whoever could is outside the door.
                self.due.store(self.due.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
            }
            // Nothing in it is a copy: it can wait.
            Err(e) => tracing::debug!("the staging folder is not swept now: {e}"),
        }
    }

    /// Removes what is older than any store takes: also while another process may be at work.
    pub(super) async fn sweep_old(&self, session: &Session, store: &str) {
        let Ok(_alone) = self.door.try_write() else { return };
        if let Err(e) = self.remove_older(session, store, session.env.wall().saturating_sub(OLD)).await {
            tracing::debug!("the staging folder is not swept now: {e}");
        }
    }

    /// Removes what was made before `made`, in milliseconds since 1970.
    async fn remove_older(&self, session: &Session, store: &str, made: i64) -> Result<()> {
        let what = "sweeping the staging folder";
        let Some(staging) = self.look(session).await? else { return Ok(()) };
        let items = format!("{store}/folders/{}/items", segment(&staging));
        let list = session.list_url(format!("{items}?$top={PAGE}"), Step::TargetFind, what).await;
        let list = match list {
            Err(fault) if fault.error().kind == Kind::NotFound => {
                self.forget().await;
                return Ok(());
            }
            list => list.map_err(super::answer::Fault::into_error)?,
        };
        for item in &list {
            let created = item["createdDateTime"].as_str().and_then(millis);
            let Some(id) = id(item) else { return Err(unreadable(what)) };
            // One that does not tell its age is old only for whoever removes all.
            if created.unwrap_or(i64::MAX - 1) >= made {
                continue;
            }
            let url = format!("{items}/{}", segment(id));
            let call = Call::to(Method::DELETE, url, Bytes::new(), Step::TargetRemove, what);
            let removed = session.insist(&session.lookup(), &call, &[200, 204, 404]).await;
            removed.map_err(super::answer::Fault::into_error)?;
        }
        Ok(())
    }
}

/// Looks for it. A folder of its name that is not hidden is somebody else's.
async fn ask(session: &Session) -> Result<Looked> {
    let filter = query(&format!("displayName eq '{NAME}'"));
    let path = format!(
        "/mailFolders?$filter={filter}&$top=100&$select=id,displayName,isHidden&includeHiddenFolders=true"
    );
    let list = session.list(&path, STEP, WHAT).await.map_err(|fault| match fault.into_error() {
        e if e.scope < Scope::Mailbox => e.scoped(Scope::Mailbox),
        e => e,
    })?;
    let ours = list.iter().find(|f| f["displayName"] == NAME && f["isHidden"] == true);
    Ok(ours.and_then(id).map_or(Looked::Absent, |id| Looked::There(id.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_has_one_staging_however_it_is_written() {
        let common = Common::default();
        let first = common.staging("Ann@example.org");
        assert!(Arc::ptr_eq(&first, &common.staging("ann@EXAMPLE.org")));
        assert!(!Arc::ptr_eq(&first, &common.staging("bob@example.org")));
    }
}
