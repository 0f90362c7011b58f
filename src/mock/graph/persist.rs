//! What of the mock is kept on disk, and how it comes back; see [`kept`].

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ids::Ids;
use super::mailbox::Mailbox;
use super::state::{Content, Item};
use super::truth::Counters;
use crate::mock::kept;

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    ids: &'a Ids,
    counters: &'a Counters,
    mailboxes: Vec<&'a Mailbox>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    ids: Ids,
    counters: Counters,
    mailboxes: Vec<Mailbox>,
}

pub(super) fn save(dir: &Path, core: &mut Core) -> Result<(), String> {
    kept::append(dir, contents(core))?;
    let written = Written {
        version: VERSION,
        ids: &core.ids,
        counters: &core.counters,
        mailboxes: core.mailboxes.values().collect(),
    };
    kept::write(dir, &written)
}

fn contents(core: &mut Core) -> impl Iterator<Item = &mut Content> {
    core.mailboxes.values_mut().flat_map(|m| m.items.values_mut()).flat_map(Item::contents_mut)
}

/// Reads a saved state into `core`; leaves `core` alone if there is none.
pub(super) fn load(dir: &Path, core: &mut Core) -> Result<(), String> {
    let Some(read) = kept::read::<Read>(dir)? else { return Ok(()) };
    kept::of_version(read.version, VERSION)?;
    core.ids = read.ids;
    core.counters = read.counters;
    core.mailboxes = read.mailboxes.into_iter().map(|m| (m.address.clone(), m)).collect();
    kept::fill(dir, contents(core))?;
    for mailbox in core.mailboxes.values_mut() {
        mailbox.reindex();
    }
    Ok(())
}
