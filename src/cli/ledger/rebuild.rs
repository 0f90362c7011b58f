//! `mailwave ledger rebuild`: a new ledger from what source and target hold.

use super::super::Failure;
use super::super::args::LedgerRebuildArgs;
use super::super::exit::Exit;
use super::super::talk::Talk;
use crate::env::Env;

pub(in crate::cli) async fn run(
    _args: &LedgerRebuildArgs,
    _env: &Env,
    _talk: &Talk,
) -> Result<Exit, Failure> {
    Ok(Exit::Failed)
}
