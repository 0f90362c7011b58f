//! Gmail's labels (X-GM-EXT-1): folders that are views of one store, where each message is to be migrated once.
//!
//! A message is in the folder of each of its labels, under another UID in each, and in All Mail, unless it is in Spam
//! or Trash. Every listing tells its id (X-GM-MSGID) and its other labels (X-GM-LABELS: all but the folder's own). Of
//! the folders that hold it the first one claims it, the others leave it out:
//!
//! | order | folder |
//! |---|---|
//! | 1 | Drafts |
//! | 2 | Inbox |
//! | 3 | Sent |
//! | 4 | labels of the user, by path |
//! | 5 | All Mail: what is nowhere else was archived |
//! | 6 | Starred and Important, only where All Mail is not shown or left out; else they are not listed at all |
//! | – | Spam and Trash hold what is in no other folder: all of it is theirs |
//!
//! Folders are listed in this order, and two witnesses decide. What earlier folders told in this pass (or are asked for
//! now) says who *holds* a message: a label may name a folder that does not show it. The labels say what is so at this
//! moment: an earlier folder may have lost the message since. Where they disagree the message stays with whoever holds
//! it, and the folder is told as one without a HIGHESTMODSEQ, so that the next pass lists all of it.
//!
//! What changed is asked for by CONDSTORE, since any change of a message's labels counts as one of the message.
//! Nothing depends on that alone: a copy is removed only once the server says that the message is in no folder
//! ([`Claims::anywhere`]).

use std::collections::{BTreeMap, BTreeSet};

use super::folders::wire_name;
use super::walk::{Entry, Walk, Window};
use crate::imap::{Command, Receiver, Session, UidSet, Untagged, WireError, utf7};
use crate::model::{Flags, Result, Scope, SpecialUse};
use crate::source::SourceFolder;
use crate::source::label::keyword;

/// What becomes of a message's labels beside the folder it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Labels {
    /// They become keywords of the one copy.
    #[default]
    Keywords,
    /// Each becomes a copy in its folder.
    Copies,
    /// Nothing.
    Ignore,
    /// Folders are read as those of any server, each message in all of its folders.
    Off,
}

/// What is asked of each message.
pub(super) const ITEMS: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-MSGID X-GM-LABELS)";

/// What is asked where only the holder matters.
const IDS: &str = "(UID X-GM-MSGID)";

/// Messages looked for by one SEARCH.
const AT_ONCE: usize = 24;

/// What a folder is to the claims, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Drafts,
    Inbox,
    Sent,
    Label,
    All,
    View,
    Junk,
    Trash,
}

impl Kind {
    fn of(folder: &SourceFolder, important: bool) -> Kind {
        match folder.special {
            _ if important => Kind::View,
            Some(SpecialUse::Drafts) => Kind::Drafts,
            Some(SpecialUse::Inbox) => Kind::Inbox,
            Some(SpecialUse::Sent) => Kind::Sent,
            Some(SpecialUse::Archive) | None => Kind::Label,
            Some(SpecialUse::All) => Kind::All,
            Some(SpecialUse::Flagged) => Kind::View,
            Some(SpecialUse::Junk) => Kind::Junk,
            Some(SpecialUse::Trash) => Kind::Trash,
        }
    }
}

/// A label of the server's own. It is written with one backslash or with two, in quotes or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Folder(Kind),
    Starred,
    Important,
}

fn system(label: &str) -> Option<System> {
    let name = label.strip_prefix('\\')?.trim_start_matches('\\').to_ascii_lowercase();
    Some(match name.as_str() {
        "inbox" => System::Folder(Kind::Inbox),
        "sent" => System::Folder(Kind::Sent),
        "draft" | "drafts" => System::Folder(Kind::Drafts),
        "all" | "allmail" => System::Folder(Kind::All),
        "spam" | "junk" => System::Folder(Kind::Junk),
        "trash" => System::Folder(Kind::Trash),
        "starred" | "flagged" => System::Starred,
        "important" => System::Important,
        _ => return None,
    })
}

/// A folder, as the claims know it.
#[derive(Debug)]
struct Place {
    handle: String,
    kind: Kind,
    /// It held nothing when the folders were listed.
    empty: bool,
    /// All that it holds was told.
    told: bool,
}

/// Who claims which message of one mailbox, in the course of one pass.
#[derive(Debug, Default)]
pub(super) struct Claims {
    policy: Labels,
    places: Vec<Place>,
    /// Places by their labels.
    by_label: BTreeMap<String, usize>,
    /// Ids told by the folders before `at`.
    held: Ids,
    /// The folder being listed, and the ids it told.
    at: usize,
    own: Vec<u64>,
}

impl Claims {
    pub fn new(policy: Labels) -> Claims {
        Claims { policy, ..Claims::default() }
    }

    /// Puts folders into the order of claims and begins anew. `important`: handles of the folders of important messages,
    /// which have no role of their own. `keeps_modseq`: changes of labels can be asked for.
    pub fn arrange(
        &mut self,
        folders: Vec<SourceFolder>,
        important: &BTreeSet<String>,
        keeps_modseq: bool,
    ) -> Vec<SourceFolder> {
        let kind = |f: &SourceFolder| Kind::of(f, important.contains(&f.handle));
        let mut folders: Vec<(Kind, SourceFolder)> = folders.into_iter().map(|f| (kind(&f), f)).collect();
        let shows = |wanted: Kind| folders.iter().any(|(kind, f)| *kind == wanted && f.selectable);
        let archive = folders.iter().any(|(_, f)| f.special == Some(SpecialUse::Archive));
        let all = shows(Kind::All);
        folders.retain(|(kind, _)| *kind != Kind::View || !all);
        folders.sort_by_key(|(kind, _)| *kind); // stable: labels stay in the order of their paths
        for (kind, folder) in &mut folders {
            if *kind == Kind::All && !archive {
                folder.special = Some(SpecialUse::Archive);
            }
            if !keeps_modseq {
                // Equal counters say nothing of labels then.
                folder.counters = None;
            }
        }
        let place = |(kind, f): &(Kind, SourceFolder)| Place {
            handle: f.handle.clone(),
            kind: *kind,
            empty: f.counters.is_some_and(|c| c.messages == 0),
            told: false,
        };
        self.places = folders.iter().filter(|(_, f)| f.selectable).map(place).collect();
        let label = |(at, place): (usize, &Place)| (utf7::decode(&wire_name(&place.handle)), at);
        self.by_label = self.places.iter().enumerate().map(label).collect();
        (self.held, self.at, self.own) = (Ids::default(), 0, Vec::new());
        folders.into_iter().map(|(_, folder)| folder).collect()
    }

    /// Begins to list a folder. `None`: it is none of the arranged ones.
    pub fn turn(&mut self, handle: &str) -> Option<Turn<'_>> {
        let at = self.places.iter().position(|place| place.handle == handle)?;
        if at < self.at {
            self.held = Ids::default();
            self.places.iter_mut().for_each(|place| place.told = false);
        } else if at > self.at {
            self.held.add(std::mem::take(&mut self.own));
        }
        self.own.clear();
        self.at = at;
        let place = self.places.get_mut(at)?;
        place.told = false;
        let shared = match (self.policy, place.kind) {
            (_, Kind::Junk | Kind::Trash) => false,
            (Labels::Copies, kind) => kind > Kind::Label,
            _ => true,
        };
        Some(Turn { claims: self, shared, contested: false })
    }

    /// Which of these ids any folder holds now. All Mail, Spam and Trash hold every message there is.
    pub async fn anywhere(&self, session: &Session, ids: &[u64]) -> Result<BTreeSet<u64>> {
        let all = self.places.iter().any(|place| place.kind == Kind::All);
        let wanted = |place: &&Place| !all || matches!(place.kind, Kind::All | Kind::Junk | Kind::Trash);
        let mut found = BTreeSet::new();
        for place in self.places.iter().filter(wanted) {
            if session.examine(&wire_name(&place.handle)).await?.exists == 0 {
                continue;
            }
            for some in ids.chunks(AT_ONCE) {
                let uids = search(session, some).await?;
                if !uids.is_empty() {
                    let mut window = Window::new(1, u32::MAX);
                    let done = session.uid_fetch(&uids, IDS, &mut window);
                    let done = done.await.map_err(WireError::into_error)?;
                    done.check(Scope::Folder, "listing a folder")?;
                    found.extend(window.entries.values().filter_map(|entry| entry.gmail_id));
                }
            }
        }
        Ok(found)
    }
}

/// UIDs of the messages with these ids.
async fn search(session: &Session, ids: &[u64]) -> Result<UidSet> {
    struct Told(UidSet);
    impl Receiver for Told {
        fn untagged(&mut self, response: Untagged) {
            if let Untagged::Search(found) = response {
                self.0 = found.all;
            }
        }
    }
    let mut command = Command::new("UID SEARCH");
    for (n, id) in ids.iter().enumerate() {
        let criterion = if n + 1 < ids.len() { "OR X-GM-MSGID" } else { "X-GM-MSGID" };
        command = command.fixed(criterion).number(*id);
    }
    let mut told = Told(UidSet::default());
    let done = session.run(command, &mut told).await.map_err(WireError::into_error)?;
    done.check(Scope::Folder, "searching a folder")?;
    Ok(told.0)
}

/// The listing of one folder.
pub(super) struct Turn<'a> {
    claims: &'a mut Claims,
    /// It claims only what no folder before it holds.
    shared: bool,
    /// Labels and holders disagreed.
    contested: bool,
}

impl Turn<'_> {
    /// Makes sure that all folders before this one have told what they hold; `true`: some were opened for that.
    pub async fn ask_earlier(&mut self, session: &Session, window: u32) -> Result<bool> {
        let all: Vec<usize> = if self.shared { (0..self.claims.at).collect() } else { Vec::new() };
        self.ask(session, window, all).await
    }

    async fn ask(
        &mut self,
        session: &Session,
        window: u32,
        places: impl IntoIterator<Item = usize>,
    ) -> Result<bool> {
        let mut asked = false;
        for at in places {
            let Some(place) = self.claims.places.get_mut(at).filter(|p| !p.told && !p.empty) else {
                continue;
            };
            let examined = session.examine(&wire_name(&place.handle)).await?;
            let mut ids = Vec::new();
            let mut walk = Walk::new(&examined, window, IDS);
            while let Some((from, to)) = walk.next_range() {
                let entries = walk.window(session, from, to).await?;
                walk.found(entries.len());
                ids.extend(entries.values().filter_map(|entry| entry.gmail_id));
            }
            place.told = true;
            self.claims.held.add(ids);
            asked = true;
        }
        Ok(asked)
    }

    /// Asks the folders that the labels of these messages name and that have not told yet whether they hold them.
    pub async fn ask_named<'e>(
        &mut self,
        session: &Session,
        window: u32,
        entries: impl IntoIterator<Item = &'e Entry>,
    ) -> Result<()> {
        let mut places = BTreeSet::new();
        if self.shared {
            for entry in entries {
                if entry.gmail_id.is_some_and(|id| !self.claims.held.has(id)) {
                    places.extend(self.earlier(entry));
                }
            }
        }
        self.ask(session, window, places).await.map(|_| ())
    }

    /// The message, if it is this folder's, with what its labels say in its flags. Whoever may hold it must have told.
    pub fn claim(&mut self, mut entry: Entry) -> Option<Entry> {
        if let Some(id) = entry.gmail_id {
            self.claims.own.push(id);
        }
        if self.shared {
            let held = entry.gmail_id.is_some_and(|id| self.claims.held.has(id));
            let named = self.earlier(&entry).next().is_some();
            self.contested |= held != named || entry.gmail_id.is_none() || entry.labels.is_none();
            if held {
                return None;
            }
        }
        let keywords = self.claims.policy == Labels::Keywords;
        for label in entry.labels.iter().flatten() {
            note(label, keywords, &mut entry.flags);
        }
        Some(entry)
    }

    /// Places before this one that the labels of a message name.
    fn earlier<'e>(&'e self, entry: &'e Entry) -> impl Iterator<Item = usize> + 'e {
        let of_kind = |kind: Kind| self.claims.places.iter().position(move |place| place.kind == kind);
        let place = move |label: &String| match self.claims.by_label.get(&utf7::decode(label.as_bytes())) {
            Some(at) => Some(*at),
            None => match system(label)? {
                System::Folder(kind) => of_kind(kind),
                System::Starred | System::Important => None,
            },
        };
        entry.labels.iter().flatten().filter_map(place).filter(|at| *at < self.claims.at)
    }

    /// All of the folder was listed.
    pub fn is_whole(&mut self) {
        if let Some(place) = self.claims.places.get_mut(self.claims.at) {
            place.told = true;
        }
    }

    /// Did labels and holders disagree about a message?
    pub fn is_contested(&self) -> bool {
        self.contested
    }
}

/// What a label says of a message beside where it lies.
fn note(label: &str, keywords: bool, flags: &mut Flags) {
    match system(label) {
        Some(System::Starred) => flags.flagged = true,
        Some(System::Important) if keywords => flags.add("$Important"), // RFC 8457
        Some(_) => {}
        None if keywords => keyword(&utf7::decode(label.as_bytes()), flags),
        None => {}
    }
}

/// A set of ids, 8 bytes each: sorted runs, merged as they come to be alike in length.
#[derive(Debug, Default)]
struct Ids(Vec<Vec<u64>>);

impl Ids {
    fn add(&mut self, mut ids: Vec<u64>) {
        while let Some(run) = self.0.pop_if(|run| run.len() <= 2 * ids.len()) {
            ids.extend(run);
        }
        if !ids.is_empty() {
            ids.sort_unstable();
            ids.dedup();
            ids.shrink_to_fit();
            self.0.push(ids);
        }
    }

    fn has(&self, id: u64) -> bool {
        self.0.iter().any(|run| run.binary_search(&id).is_ok())
    }
}

#[cfg(test)]
mod tests;
