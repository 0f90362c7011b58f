//! Step points: the names of the effects a run makes, so that a trial can cut before each of them.

/// The kinds of effect. Each is passed just *before* the effect happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// A claim is about to be taken in the ledger.
    Claim,
    /// The source is about to be asked for its folders or a listing.
    SourceList,
    /// A batch is about to be fetched.
    SourceFetch,
    /// The ledger's writer is about to write facts to the segment log.
    FactsWrite,
    /// The ledger's writer is about to sync the segment log.
    FactsSync,
    /// The ledger's writer is about to commit a group.
    LedgerCommit,
    /// The ledger's writer committed and is about to answer the callers.
    LedgerAnswer,
    /// A target folder is about to be looked up or created.
    TargetFolder,
    /// A request (or file write) that creates a message is about to be sent.
    TargetStore,
    /// A part of a store of several requests (attachment, upload range) is about to be sent.
    TargetStorePart,
    /// The last request of a store of several requests (stamp: open → done) is about to be sent.
    TargetStoreDone,
    /// An answer of the target was received and is about to be judged.
    TargetAnswer,
    /// The target is about to be asked which stamps it holds.
    TargetFind,
    /// A flag change is about to be sent to the target.
    TargetFlags,
    /// A message is about to be moved at the target.
    TargetMove,
    /// A copy is about to be removed at the target.
    TargetRemove,
}

impl Step {
    /// Every kind, for trials that demand each to have been cut.
    pub const ALL: [Step; 16] = [
        Step::Claim,
        Step::SourceList,
        Step::SourceFetch,
        Step::FactsWrite,
        Step::FactsSync,
        Step::LedgerCommit,
        Step::LedgerAnswer,
        Step::TargetFolder,
        Step::TargetStore,
        Step::TargetStorePart,
        Step::TargetStoreDone,
        Step::TargetAnswer,
        Step::TargetFind,
        Step::TargetFlags,
        Step::TargetMove,
        Step::TargetRemove,
    ];
}

/// Counts steps and decides where a simulated world ends.
pub trait StepObserver: Send + Sync {
    /// Called before every effect. `true`: go on. `false`: the world is frozen, from now on and for ever; the
    /// caller must not make the effect.
    fn pass(&self, step: Step) -> bool;
}
