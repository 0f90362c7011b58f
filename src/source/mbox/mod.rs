//! mbox as a source: one file, or a tree of files, per mailbox; read, never written.
//!
//! A message is named by its content: the BLAKE3 of its delivered octets and, among identical ones of its folder, its
//! ordinal. So a file that is compacted, sorted or gets new mail names every old message as before, twins stay two, and
//! flags change nothing. The declared transform is in `deliver`: the fields in which mail programs keep flags are taken
//! out of the header block, quoted From_ lines are unquoted, bare LF becomes CRLF. Where messages begin is in `split`.
//!
//! Every listing reads the file once from end to end; what is kept in memory is under 100 bytes a message.

mod deliver;
mod header;
mod index;
mod labels;
mod split;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::env::{Env, Step};
use crate::guard::files::{Place, confined, say};
use crate::model::{Bodies, Error, FolderPath, Kind, Listed, Result, Scope, SourceId};
use crate::source::shelved::{self, Row};
use crate::source::{
    Fetched, Listing, Since, Source, SourceCapabilities, SourceFolder, SourceMailbox, Wanted,
};
pub use crate::transform::names::Coding;

use self::deliver::Failure;
use self::index::{Content, Index};

/// An index of a file up to this size is forgotten when the mailbox is parked: it is quickly made again.
const CHEAP_FILE: u64 = 256 << 20;
/// The handle of a folder made from labels begins with this; no file's handle does.
const LABELS: &str = "//labels/";

/// How `From ` at the beginning of a line inside a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quoting {
    /// Message by message: where a `Content-Length` lands on the next From_ line or the end of the file, it is used and
    /// nothing is unquoted (as mboxcl2); else as mboxrd.
    #[default]
    Auto,
    /// `From ` was written `>From `, which cannot be undone for certain: `>From ` is read as `From `.
    Mboxo,
    /// `From `, `>From `, `>>From ` … got one more `>`; exact.
    Mboxrd,
    /// `Content-Length` and mboxo's quoting.
    Mboxcl,
    /// `Content-Length` and no quoting.
    Mboxcl2,
    /// No `Content-Length`, no quoting.
    None,
}

impl Quoting {
    fn trusts_length(self) -> bool {
        matches!(self, Quoting::Auto | Quoting::Mboxcl | Quoting::Mboxcl2)
    }
}

/// What becomes of `X-Gmail-Labels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Labels {
    /// In a file whose first message has Gmail's marks: folders, flags and keywords. Several such files in one mailbox
    /// are read as one: a message exported under several labels counts once.
    #[default]
    Folders,
    /// Nothing: the fields stay in the messages.
    Ignore,
}

/// Settings of an mbox source.
#[derive(Debug, Clone, Default)]
pub struct MboxSettings {
    /// Where mailboxes lie, as [`Place::parse`] reads it: a file or a directory per mailbox.
    pub root: String,
    /// How From_ lines are quoted.
    pub quoting: Quoting,
    /// Gmail's labels.
    pub labels: Labels,
    /// How folder names are written.
    pub names: Coding,
}

/// A directory of mboxes.
#[derive(Debug)]
pub struct MboxSource {
    env: Env,
    settings: Arc<MboxSettings>,
    place: Place,
}

impl MboxSource {
    /// A source with these settings.
    ///
    /// # Errors
    /// `Kind::Config`: the root template cannot be used.
    pub fn new(env: Env, settings: MboxSettings) -> Result<MboxSource> {
        let place = Place::parse(&settings.root)?;
        Ok(MboxSource { env, settings: Arc::new(settings), place })
    }
}

#[async_trait]
impl Source for MboxSource {
    async fn open(&self, mailbox: &str) -> Result<Box<dyn SourceMailbox>> {
        let path = self.place.resolve(mailbox)?;
        let root = self
            .env
            .blocking(|| confined(self.place.base(), &path))
            .map_err(|e| self.place.unreachable(&e))?
            .ok_or_else(|| {
                Error::new(Kind::Denied, Scope::Mailbox, "the mailbox is a link out of the source's root")
                    .remedy("name its directory as a root, or put the mailbox where the root says")
            })?;
        let found = self.env.blocking(|| tree::found(&root, &self.settings))?;
        if found.is_empty() {
            // An empty listing of the wrong place would look like success.
            return Err(Error::new(
                Kind::NotFound,
                Scope::Mailbox,
                "the mailbox's directory holds no mbox file",
            )
            .remedy("check the endpoint's root; an mbox begins with a From_ line"));
        }
        Ok(Box::new(Shared(Mutex::new(MboxMailbox {
            env: self.env.clone(),
            settings: Arc::clone(&self.settings),
            root,
            indexes: BTreeMap::new(),
            view: None,
        }))))
    }
}

/// One open mailbox. Its calls take turns.
struct Shared(Mutex<MboxMailbox>);

/// What an open mailbox holds.
struct MboxMailbox {
    env: Env,
    settings: Arc<MboxSettings>,
    root: PathBuf,
    /// Indexes by file handle: of every labelled file, and of the file listed last.
    indexes: BTreeMap<String, Index>,
    /// The folder listed last.
    view: Option<View>,
}

/// The messages of one folder by name.
struct View {
    handle: String,
    /// Files, in order.
    files: Vec<String>,
    /// Content, ordinal among equal ones, file, entry. In the order of the files.
    rows: Vec<(Content, u32, u32, u32)>,
    /// Indexes into `rows`, sorted by content and ordinal.
    by_name: Vec<u32>,
}

impl View {
    fn find(&self, name: &str) -> Option<(u32, u32)> {
        let (content, ordinal) = name.split_once('-')?;
        let wanted = (unhex(content)?, ordinal.parse::<u32>().ok()?);
        let row = |i: &u32| self.rows[*i as usize];
        let at = self
            .by_name
            .binary_search_by(|i| {
                let (content, ordinal, ..) = row(i);
                (content, ordinal).cmp(&wanted)
            })
            .ok()?;
        let (.., file, entry) = row(&self.by_name[at]);
        Some((file, entry))
    }
}

fn hex(content: &Content) -> String {
    content.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Content> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

impl MboxMailbox {
    /// An up-to-date index of a file.
    async fn index(&mut self, handle: &str) -> Result<&Index> {
        let path = tree::path(&self.root, handle)?;
        let current =
            self.indexes.get(handle).is_some_and(|index| self.env.blocking(|| index.is_current(&path)));
        if !current {
            // Only labelled files are needed together; another file's index makes room.
            self.indexes.retain(|_, index| index.labelled);
            let index = Index::build(&self.env, &path, &self.settings).await?;
            self.indexes.insert(handle.to_owned(), index);
        }
        self.indexes.get(handle).ok_or_else(|| Error::new(Kind::Internal, Scope::Folder, "an index was lost"))
    }

    /// The mboxes, and which of them are labelled.
    fn files(&self) -> Result<Vec<(tree::Found, bool)>> {
        self.env.blocking(|| {
            tree::found(&self.root, &self.settings)?
                .into_iter()
                .map(|found| {
                    let labelled = found.mail
                        && tree::path(&self.root, &found.handle)
                            .and_then(|path| index::labelled(&path, &self.settings))
                            .unwrap_or(false); // the listing of the file will say what is wrong with it
                    Ok((found, labelled))
                })
                .collect()
        })
    }

    /// Makes the view of a folder.
    async fn look(&mut self, handle: &str) -> Result<View> {
        let names: Option<Vec<String>> =
            handle.strip_prefix(LABELS).map(|names| names.split('\u{1f}').map(str::to_owned).collect());
        let files: Vec<String> = match &names {
            Some(_) => self.files()?.into_iter().filter(|(_, l)| *l).map(|(found, _)| found.handle).collect(),
            None => vec![handle.to_owned()],
        };
        let mut rows = Vec::new();
        let mut seen: HashMap<Content, u32> = HashMap::new();
        for (file, handle) in files.iter().enumerate() {
            let file = u32::try_from(file).unwrap_or(u32::MAX);
            let index = self.index(handle).await?;
            let folder = match &names {
                None => 0,
                Some(names) => match index.folders.iter().position(|f| f == names) {
                    Some(folder) => u32::try_from(folder).unwrap_or(u32::MAX),
                    None => continue,
                },
            };
            let mut here: HashMap<Content, u32> = HashMap::new();
            for (entry, row) in index.entries.iter().enumerate().filter(|(_, e)| e.folder == folder) {
                let ordinal = here.entry(row.content).or_insert(0);
                *ordinal += 1;
                // The n-th equal message of a second export is the n-th of the first.
                if *ordinal > seen.get(&row.content).copied().unwrap_or(0) {
                    rows.push((row.content, *ordinal, file, u32::try_from(entry).unwrap_or(u32::MAX)));
                }
            }
            for (content, n) in here {
                let most = seen.entry(content).or_insert(0);
                *most = n.max(*most);
            }
        }
        let mut by_name: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_unstable_by_key(|i| {
            let (content, ordinal, ..) = rows[*i as usize];
            (content, ordinal)
        });
        Ok(View { handle: handle.to_owned(), files, rows, by_name })
    }

    /// Reads one message of the view.
    fn read(&self, view: &View, id: &SourceId, bodies: &Bodies) -> Result<Fetched> {
        let SourceId::Name(name) = id else { return Ok(Fetched::Gone) };
        let Some((file, entry)) = view.find(name) else { return Ok(Fetched::Gone) };
        let handle = view.files.get(file as usize).map_or("", String::as_str);
        let index = self.indexes.get(handle).ok_or_else(index::changed)?;
        let Some(entry) = index.entries.get(entry as usize) else { return Ok(Fetched::Gone) };
        let file = index.reopen(&tree::path(&self.root, handle)?)?;
        let writer = bodies.begin(entry.size).map_err(|e| spool(&e))?;
        let body = match index.deliver(&file, entry, writer) {
            Ok(writer) => writer.finish().map_err(|e| spool(&e))?,
            Err(Failure::Write(e)) if e.kind() == io::ErrorKind::FileTooLarge => {
                return Ok(Fetched::Failed(Error::new(
                    Kind::TooLarge,
                    Scope::Message,
                    "the message is larger than the largest one allowed",
                )));
            }
            Err(Failure::Write(e)) => return Err(spool(&e)),
            Err(Failure::Read(e)) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(index::changed()),
            Err(Failure::Read(e)) => {
                let what = format!("the message cannot be read from its mbox ({})", say(&e));
                return Ok(Fetched::Failed(
                    Error::temporary(Kind::Io, Scope::Message, what).remedy("check the disk"),
                ));
            }
        };
        if body.digest().as_bytes()[..16] != entry.content {
            return Err(index::changed());
        }
        Ok(Fetched::Message { body, flags: Some(index.flags(entry)), received: Index::received(entry) })
    }
}

fn spool(e: &io::Error) -> Error {
    Error::temporary(Kind::Io, Scope::Run, format!("the spool cannot be written ({})", say(e)))
        .remedy("free space in the spool directory, or name another one")
}

#[async_trait]
impl SourceMailbox for Shared {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { names: true, ..SourceCapabilities::PLAIN }
    }

    async fn folders(&self) -> Result<Vec<SourceFolder>> {
        let this = &mut *self.0.lock().await;
        this.env.step(Step::SourceList).await;
        let mut rows: Vec<Row> = Vec::new();
        let row = |handle, names, selectable| Some(Row { handle, path: FolderPath::new(names)?, selectable });
        let mut labels: Vec<Vec<String>> = Vec::new();
        for (found, labelled) in this.files()? {
            if labelled {
                labels.extend(this.index(&found.handle).await?.folders.iter().cloned());
            } else {
                rows.extend(row(found.handle, found.names, found.mail));
            }
        }
        labels.sort();
        labels.dedup();
        rows.extend(
            labels
                .into_iter()
                .filter_map(|names| row(format!("{LABELS}{}", names.join("\u{1f}")), names, true)),
        );
        Ok(shelved::folders(rows))
    }

    async fn list(
        &self,
        folder: &SourceFolder,
        _since: Option<&Since<'_>>,
        sink: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<Listing> {
        let this = &mut *self.0.lock().await;
        this.env.step(Step::SourceList).await;
        this.view = None;
        let view = this.look(&folder.handle).await?;
        for (content, ordinal, file, entry) in &view.rows {
            let index = view.files.get(*file as usize).and_then(|handle| this.indexes.get(handle));
            let Some((index, entry)) = index.and_then(|i| Some((i, i.entries.get(*entry as usize)?))) else {
                return Err(index::changed());
            };
            sink(Listed {
                id: SourceId::Name(format!("{}-{ordinal}", hex(content))),
                size: Some(entry.size),
                received: Index::received(entry),
                flags: index.flags(entry),
                object: 0,
            });
        }
        this.view = Some(view);
        Ok(Listing::default())
    }

    async fn fetch(
        &self,
        folder: &SourceFolder,
        epoch: u64,
        wanted: &[Wanted],
        bodies: &Bodies,
    ) -> Result<Vec<Fetched>> {
        let this = &mut *self.0.lock().await;
        this.env.step(Step::SourceFetch).await;
        if epoch != 0 {
            return Err(Error::temporary(
                Kind::Conflict,
                Scope::Folder,
                "the folder has no numbers of its own",
            ));
        }
        let view = match this.view.take() {
            Some(view) if view.handle == folder.handle => view,
            _ => this.look(&folder.handle).await?,
        };
        let mut out = Vec::with_capacity(wanted.len());
        for one in wanted {
            out.push(this.env.blocking(|| this.read(&view, &one.id, bodies))?);
            tokio::task::yield_now().await;
        }
        this.view = Some(view);
        Ok(out)
    }

    async fn release(&self) {
        let this = &mut *self.0.lock().await;
        this.indexes.retain(|_, index| index.file_size() > CHEAP_FILE);
        this.view = None;
    }
}
