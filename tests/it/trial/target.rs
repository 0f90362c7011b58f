//! A target seen through glasses: small batches, and, for the test of the test, defects put in on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use mailwave::limit::{Cost, Gate, Ticket};
use mailwave::model::{Flags, Outcome, Result, StampPrefix};
use mailwave::target::{
    Arrival, Copy, CopyIds, CopyRef, FolderWanted, OnRecord, StoreItem, Target, TargetCapabilities,
    TargetFolderId, TargetMailbox,
};

/// A defect put in on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// None.
    None,
    /// Intents are acknowledged before they are durable.
    IntentNotSynced,
    /// A look-up after an unknown outcome finds nothing, whatever is there.
    LookUpBlind,
    /// A store of several requests that was cut counts as a copy.
    OpenTakenForDone,
    /// Intents carry no anchor.
    NoAnchor,
    /// Copies are not seen where they are.
    CopiesUnseen,
}

/// Wraps a target.
pub struct Glasses {
    pub inner: Arc<dyn Target>,
    pub defect: Defect,
}

#[async_trait]
impl Target for Glasses {
    async fn open(&self, mailbox: &str, place: &str, gate: Arc<Gate>) -> Result<Arc<dyn TargetMailbox>> {
        Ok(self.before(self.inner.open(mailbox, place, gate).await?))
    }

    async fn reopen(
        &self,
        mailbox: &str,
        place: &str,
        gate: Arc<Gate>,
        known: &OnRecord,
    ) -> Result<Arc<dyn TargetMailbox>> {
        Ok(self.before(self.inner.reopen(mailbox, place, gate, known).await?))
    }
}

impl Glasses {
    fn before(&self, inner: Arc<dyn TargetMailbox>) -> Arc<dyn TargetMailbox> {
        let mut capabilities = inner.capabilities().clone();
        capabilities.batch_messages = 3;
        capabilities.lanes = 4;
        Arc::new(Seen { inner, capabilities, defect: self.defect })
    }
}

struct Seen {
    inner: Arc<dyn TargetMailbox>,
    capabilities: TargetCapabilities,
    defect: Defect,
}

impl Seen {
    /// Copies as they are seen through the glasses.
    fn seen(&self, mut copies: Vec<Copy>) -> Vec<Copy> {
        match self.defect {
            Defect::LookUpBlind => copies.clear(),
            Defect::OpenTakenForDone => copies.iter_mut().for_each(|c| c.complete = true),
            _ => {}
        }
        copies
    }
}

#[async_trait]
impl TargetMailbox for Seen {
    fn capabilities(&self) -> &TargetCapabilities {
        &self.capabilities
    }

    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn cost(&self, sizes: &[u64]) -> Cost {
        self.inner.cost(sizes)
    }

    async fn folder(&self, wanted: &FolderWanted) -> Result<TargetFolderId> {
        self.inner.folder(wanted).await
    }

    async fn rename_folder(&self, folder: &TargetFolderId, to: &FolderWanted) -> Result<TargetFolderId> {
        self.inner.rename_folder(folder, to).await
    }

    async fn store(&self, folder: &TargetFolderId, items: Vec<StoreItem>, ticket: Ticket) -> Vec<Outcome> {
        self.inner.store(folder, items, ticket).await
    }

    async fn find(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        Ok(self.seen(self.inner.find(prefix).await?))
    }

    async fn census(&self, prefix: &StampPrefix) -> Result<Vec<Copy>> {
        Ok(self.seen(self.inner.census(prefix).await?))
    }

    async fn anchor(&self, folder: &TargetFolderId) -> Result<String> {
        let anchor = self.inner.anchor(folder).await?;
        Ok(if self.defect == Defect::NoAnchor { String::new() } else { anchor })
    }

    async fn stored_since(
        &self,
        folder: &TargetFolderId,
        anchor: &str,
        known: &CopyIds,
    ) -> Result<Vec<Arrival>> {
        let arrivals = self.inner.stored_since(folder, anchor, known).await?;
        Ok(if self.defect == Defect::LookUpBlind { Vec::new() } else { arrivals })
    }

    async fn look(&self, copies: &[CopyRef]) -> Result<Vec<Option<Flags>>> {
        let flags = self.inner.look(copies).await?;
        Ok(if self.defect == Defect::CopiesUnseen { vec![None; copies.len()] } else { flags })
    }

    async fn marks(&self) -> Result<BTreeMap<TargetFolderId, String>> {
        self.inner.marks().await
    }

    async fn set_flags(&self, changes: &[(CopyRef, Flags)]) -> Vec<Result<()>> {
        self.inner.set_flags(changes).await
    }

    async fn relocate(&self, ids: &[CopyRef], to: &TargetFolderId) -> Vec<Result<String>> {
        self.inner.relocate(ids, to).await
    }

    async fn remove(&self, ids: &[CopyRef]) -> Vec<Result<()>> {
        self.inner.remove(ids).await
    }
}
