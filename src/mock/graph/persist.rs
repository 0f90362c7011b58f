//! The state on disk: `state.json` (everything but octets) and `content.bin` (octets, appended). The new `state.json`
//! takes the old one's place by rename after what it refers to was synced, so a kill leaves one whole state.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::ids::Ids;
use super::mailbox::Mailbox;
use super::state::{Content, Item};
use super::truth::Counters;

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
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("the mock's state: {what}: {e}");
    fs::create_dir_all(dir).map_err(|e| failed("cannot make the directory", &e))?;
    append(&dir.join("content.bin"), core).map_err(|e| failed("cannot write the contents", &e))?;
    let written = Written {
        version: VERSION,
        ids: &core.ids,
        counters: &core.counters,
        mailboxes: core.mailboxes.values().collect(),
    };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| failed("cannot write", &e))?;
    {
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        serde_json::to_writer(&mut out, &written).map_err(|e| failed("cannot write", &e))?;
        out.flush().map_err(|e| failed("cannot write", &e))?;
    }
    file.as_file().sync_all().map_err(|e| failed("cannot sync", &e))?;
    file.persist(dir.join("state.json")).map_err(|e| failed("cannot rename", &e))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("cannot sync the directory", &e))
}

/// Appends the contents that were never saved.
fn append(path: &Path, core: &mut Core) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut at = file.metadata()?.len();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for content in contents(core) {
        if let (None, Some(octets)) = (content.at, &content.octets) {
            out.write_all(octets)?;
            content.at = Some(at);
            at += content.length;
        }
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

fn contents(core: &mut Core) -> impl Iterator<Item = &mut Content> {
    core.mailboxes.values_mut().flat_map(|m| m.items.values_mut()).flat_map(Item::contents_mut)
}

/// Reads a saved state into `core`; leaves `core` alone if there is none.
pub(super) fn load(dir: &Path, core: &mut Core) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("the mock's state cannot be read: {e}");
    fs::create_dir_all(dir).map_err(|e| failed(&e))?;
    let file = match File::open(dir.join("state.json")) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(&e)),
    };
    let read: Read = serde_json::from_reader(BufReader::new(file)).map_err(|e| failed(&e))?;
    if read.version != VERSION {
        return Err(failed(&format!("it has version {}, this program knows {VERSION}", read.version)));
    }
    let octets = match fs::read(dir.join("content.bin")) {
        Ok(octets) => Bytes::from(octets),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Bytes::new(),
        Err(e) => return Err(failed(&e)),
    };
    core.ids = read.ids;
    core.counters = read.counters;
    core.mailboxes = read.mailboxes.into_iter().map(|m| (m.address.clone(), m)).collect();
    for content in contents(core) {
        let Some(at) = content.at else { continue };
        let from = usize::try_from(at).map_err(|e| failed(&e))?;
        let to = usize::try_from(at.saturating_add(content.length)).map_err(|e| failed(&e))?;
        if to > octets.len() || from > to {
            return Err(failed(&"content.bin is shorter than state.json says"));
        }
        content.octets = Some(octets.slice(from..to));
    }
    for mailbox in core.mailboxes.values_mut() {
        mailbox.reindex();
    }
    Ok(())
}
