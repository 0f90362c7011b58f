//! The state of a mock on disk: `state.json` (everything but octets) and `content.bin` (octets, appended). The new
//! `state.json` takes the old one's place by rename after what it refers to was synced, so a kill leaves one whole state.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Octets, or what is left of them: their digest and length are always known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mock) struct Content {
    #[serde(with = "hexadecimal")]
    digest: blake3::Hash,
    pub(in crate::mock) length: u64,
    /// Where they lie in the content file, once saved.
    pub(in crate::mock) at: Option<u64>,
    /// Boxed: most of many are not kept.
    #[serde(skip)]
    octets: Option<Box<Bytes>>,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &blake3::Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<blake3::Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(text).map_err(serde::de::Error::custom)
    }
}

impl Default for Content {
    fn default() -> Content {
        Content { digest: blake3::hash(b""), length: 0, at: None, octets: None }
    }
}

impl Content {
    pub(in crate::mock) fn new(octets: Bytes) -> Content {
        Content {
            digest: blake3::hash(&octets),
            length: octets.len() as u64,
            at: None,
            octets: Some(Box::new(octets)),
        }
    }

    /// BLAKE3, hexadecimal.
    pub(in crate::mock) fn digest(&self) -> String {
        self.digest.to_hex().to_string()
    }

    /// None where they are not kept.
    pub(in crate::mock) fn octets(&self) -> Bytes {
        self.held().cloned().unwrap_or_default()
    }

    pub(in crate::mock) fn held(&self) -> Option<&Bytes> {
        self.octets.as_deref()
    }

    /// Gives it octets, or takes them away.
    pub(in crate::mock) fn hold(&mut self, octets: Option<Bytes>) {
        self.octets = octets.map(Box::new);
    }

    pub(in crate::mock) fn text(&self) -> String {
        String::from_utf8_lossy(self.held().map_or(&[], |octets| octets)).into_owned()
    }
}

/// A mailbox that can be kept.
pub(in crate::mock) trait Keepable: Serialize + DeserializeOwned {
    /// What it is kept by.
    fn address(&self) -> &str;
    /// Its octets, always in the same order.
    fn contents_mut(&mut self) -> impl Iterator<Item = &mut Content>;
    /// Makes anew what is not written.
    fn reindex(&mut self);
}

/// What of a mock is kept: ids that were never given, counters, mailboxes by address.
pub(in crate::mock) struct State<'a, I, C, M> {
    /// Of the form on disk.
    pub(in crate::mock) version: u32,
    pub(in crate::mock) ids: &'a mut I,
    pub(in crate::mock) counters: &'a mut C,
    pub(in crate::mock) mailboxes: &'a mut BTreeMap<String, M>,
}

#[derive(Serialize)]
struct Written<'a, I, C, M> {
    version: u32,
    ids: &'a I,
    counters: &'a C,
    mailboxes: Vec<&'a M>,
}

#[derive(Deserialize)]
struct Found<I, C, M> {
    version: u32,
    ids: I,
    counters: C,
    mailboxes: Vec<M>,
}

impl<I, C, M> State<'_, I, C, M>
where
    I: Serialize + DeserializeOwned,
    C: Serialize + DeserializeOwned,
    M: Keepable,
{
    /// Writes it to a directory, all or nothing.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub(in crate::mock) fn save(self, dir: &Path) -> Result<(), String> {
        let State { version, ids, counters, mailboxes } = self;
        append(dir, mailboxes.values_mut().flat_map(M::contents_mut))?;
        write(dir, &Written { version, ids, counters, mailboxes: mailboxes.values().collect() })
    }

    /// Reads what was saved; leaves everything alone if nothing was. The directory is made.
    ///
    /// # Errors
    /// It cannot be read, or is of another version.
    pub(in crate::mock) fn load(self, dir: &Path) -> Result<(), String> {
        let Some(found) = read::<Found<I, C, M>>(dir)? else { return Ok(()) };
        if found.version != self.version {
            let text = format!("it has version {}, this program knows {}", found.version, self.version);
            return Err(unreadable(&text));
        }
        *self.ids = found.ids;
        *self.counters = found.counters;
        *self.mailboxes = found.mailboxes.into_iter().map(|m| (m.address().to_owned(), m)).collect();
        fill(dir, self.mailboxes.values_mut().flat_map(M::contents_mut))?;
        self.mailboxes.values_mut().for_each(M::reindex);
        Ok(())
    }
}

/// Appends the contents that were never saved, and makes the directory.
fn append<'a>(dir: &Path, contents: impl Iterator<Item = &'a mut Content>) -> Result<(), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("the mock's state: {what}: {e}");
    fs::create_dir_all(dir).map_err(|e| failed("cannot make the directory", &e))?;
    appended(&dir.join("content.bin"), contents).map_err(|e| failed("cannot write the contents", &e))
}

fn appended<'a>(path: &Path, contents: impl Iterator<Item = &'a mut Content>) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut at = file.metadata()?.len();
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for content in contents {
        if let (None, Some(octets)) = (content.at, content.octets.as_deref()) {
            out.write_all(octets)?;
            content.at = Some(at);
            at += content.length;
        }
    }
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}

/// Writes the state, all or nothing, once its contents are there.
fn write<S: Serialize>(dir: &Path, state: &S) -> Result<(), String> {
    let failed = |what: &str, e: &dyn std::fmt::Display| format!("the mock's state: {what}: {e}");
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| failed("cannot write", &e))?;
    {
        let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        serde_json::to_writer(&mut out, state).map_err(|e| failed("cannot write", &e))?;
        out.flush().map_err(|e| failed("cannot write", &e))?;
    }
    file.as_file().sync_all().map_err(|e| failed("cannot sync", &e))?;
    file.persist(dir.join("state.json")).map_err(|e| failed("cannot rename", &e))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| failed("cannot sync the directory", &e))
}

fn unreadable(e: &dyn std::fmt::Display) -> String {
    format!("the mock's state cannot be read: {e}")
}

/// A saved state; `None` if there is none. The directory is made.
fn read<S: DeserializeOwned>(dir: &Path) -> Result<Option<S>, String> {
    fs::create_dir_all(dir).map_err(|e| unreadable(&e))?;
    match File::open(dir.join("state.json")) {
        Ok(file) => serde_json::from_reader(BufReader::new(file)).map(Some).map_err(|e| unreadable(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(&e)),
    }
}

/// Gives contents their octets back.
fn fill<'a>(dir: &Path, contents: impl Iterator<Item = &'a mut Content>) -> Result<(), String> {
    let octets = match fs::read(dir.join("content.bin")) {
        Ok(octets) => Bytes::from(octets),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Bytes::new(),
        Err(e) => return Err(unreadable(&e)),
    };
    for content in contents {
        let Some(at) = content.at else { continue };
        let from = usize::try_from(at).map_err(|e| unreadable(&e))?;
        let to = usize::try_from(at.saturating_add(content.length)).map_err(|e| unreadable(&e))?;
        if to > octets.len() || from > to {
            return Err(unreadable(&"content.bin is shorter than state.json says"));
        }
        content.hold(Some(octets.slice(from..to)));
    }
    Ok(())
}
