//! `mailwave ledger`: what looks after the ledger itself.

pub(super) mod check;
pub(super) mod rebuild;
