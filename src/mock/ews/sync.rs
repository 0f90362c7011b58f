//! What changed since a client last asked, and ids in other formats.
//!
//! A state names two changes of the mailbox: what the client knew when it began to ask (`base`) and how far it was told
//! since (`told`). So an item that came after `base` is new to it, however often it was changed while it was asking.

use super::act::{Act, Done};
use super::call::FolderRef;
use super::mailbox::{Folder, Gone};
use super::render;
use super::reply::Fail;
use super::shape::Shape;
use super::state::Item;

/// What a client was told.
#[derive(Debug, Clone, Copy)]
struct State {
    base: u64,
    told: u64,
}

impl State {
    /// Reads a state given for `what`.
    fn read(text: &str, what: &str) -> Result<State, Fail> {
        if text.is_empty() {
            return Ok(State { base: 0, told: 0 });
        }
        let wrong = || {
            Fail::new(
                "ErrorInvalidSyncStateData",
                "Synchronization state data is corrupt or otherwise invalid.",
            )
        };
        let octets = encodify::base64::STANDARD.decode(text).map_err(|_| wrong())?;
        let text = String::from_utf8(octets).map_err(|_| wrong())?;
        let mut parts = text.split('|');
        let mut next = || parts.next().ok_or_else(wrong);
        let (version, of, base, told) = (next()?, next()?, next()?, next()?);
        match (version, of == what, base.parse(), told.parse()) {
            ("mw1", true, Ok(base), Ok(told)) => Ok(State { base, told }),
            _ => Err(wrong()),
        }
    }

    fn write(self, what: &str) -> String {
        super::items::encode(&format!("mw1|{what}|{}|{}", self.base, self.told))
    }
}

impl Act<'_> {
    pub(super) fn sync_items(
        &mut self,
        shape: &Shape,
        folder: &FolderRef,
        state: &str,
        ignore: &[String],
        most: usize,
    ) -> Done {
        let folder = self.held_folder(folder)?;
        let what = format!("items {} {}", self.mailbox.guid, folder.number);
        let state = State::read(state, &what)?;
        let mut changes: Vec<(u64, String)> = Vec::new();
        let held = folder.items.iter().filter_map(|n| self.mailbox.items.get(n));
        for item in held.filter(|i| i.change > state.told && !ignore.contains(&i.id)) {
            changes.push((item.change, self.item_change(item, shape, state)));
        }
        let gone = |g: &&Gone| {
            g.folder == folder.number
                && g.at > state.told
                && g.entered <= state.told
                && !ignore.contains(&g.id)
        };
        for gone in self.mailbox.gone.iter().filter(gone) {
            let change = format!("<t:Delete><t:ItemId Id=\"{}\" ChangeKey=\"AAAA\"/></t:Delete>", gone.id);
            changes.push((gone.at, change));
        }
        Ok(self.told_changes(changes, state, &what, most, "IncludesLastItemInRange"))
    }

    fn item_change(&self, item: &Item, shape: &Shape, state: State) -> String {
        let told = || render::item(item, shape, self.mailbox, true);
        if item.entered > state.base {
            format!("<t:Create>{}</t:Create>", told())
        } else if item.other_change <= state.base {
            let id = render::item_id(item);
            format!("<t:ReadFlagChange>{id}<t:IsRead>{}</t:IsRead></t:ReadFlagChange>", item.read)
        } else {
            format!("<t:Update>{}</t:Update>", told())
        }
    }

    /// The changes in their order, and the state after them.
    fn told_changes(
        &self,
        mut changes: Vec<(u64, String)>,
        state: State,
        what: &str,
        most: usize,
        last: &str,
    ) -> String {
        changes.sort_by_key(|(at, _)| *at);
        let all = changes.len() <= most;
        changes.truncate(most);
        let next = if all {
            let now = self.mailbox.last_change();
            State { base: now, told: now }
        } else {
            State { base: state.base, told: changes.last().map_or(state.told, |(at, _)| *at) }
        };
        let list: String = changes.into_iter().map(|(_, xml)| xml).collect();
        format!(
            "<m:SyncState>{}</m:SyncState><m:{last}>{all}</m:{last}><m:Changes>{list}</m:Changes>",
            next.write(what)
        )
    }

    pub(super) fn sync_hierarchy(&mut self, shape: &Shape, folder: &FolderRef, state: &str) -> Done {
        let top = self.folder(folder)?;
        let what = format!("folders {} {top}", self.mailbox.guid);
        let state = State::read(state, &what)?;
        let mut changes: Vec<(u64, String)> = Vec::new();
        for number in self.mailbox.below(top) {
            let Some(folder) = self.mailbox.folders.get(&number) else { continue };
            if folder.change > state.told {
                changes.push((folder.change, self.folder_change(folder, shape, state)));
            }
        }
        for gone in &self.mailbox.gone {
            if gone.folder == 0 && gone.at > state.told && gone.entered <= state.told {
                changes.push((gone.at, format!("<t:Delete><t:FolderId Id=\"{}\"/></t:Delete>", gone.id)));
            }
        }
        Ok(self.told_changes(changes, state, &what, usize::MAX, "IncludesLastFolderInRange"))
    }

    fn folder_change(&self, folder: &Folder, shape: &Shape, state: State) -> String {
        let kind = if folder.made > state.base { "Create" } else { "Update" };
        format!("<t:{kind}>{}</t:{kind}>", render::folder(folder, shape, self.mailbox))
    }

    /// An id in another format: the entry id is the octets of the service's own.
    pub(super) fn convert(&mut self, to: &str, (format, id, mailbox): &(String, String, String)) -> Done {
        let wrong = || Fail::new("ErrorInvalidIdMalformed", "Id is malformed.");
        let octets = match format.as_str() {
            "EwsId" | "EwsLegacyId" | "EntryId" => {
                encodify::base64::STANDARD.decode(id).map_err(|_| wrong())?
            }
            "HexEntryId" => unhex(id).ok_or_else(wrong)?,
            _ => {
                return Err(Fail::new(
                    "ErrorUnsupportedTypeForConversion",
                    "The mock does not convert this format.",
                ));
            }
        };
        let own = encodify::base64::STANDARD.encode(&octets);
        if !super::ids::well_formed(&own) {
            return Err(wrong());
        }
        let text = match to {
            "EwsId" | "EwsLegacyId" | "EntryId" => own,
            "HexEntryId" => octets.iter().map(|b| format!("{b:02X}")).collect(),
            _ => {
                return Err(Fail::new(
                    "ErrorUnsupportedTypeForConversion",
                    "The mock does not convert to this format.",
                ));
            }
        };
        Ok(format!(
            "<m:AlternateId xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"t:AlternateIdType\" \
             Format=\"{to}\" Id=\"{text}\" Mailbox=\"{}\"/>",
            super::xml::escaped(mailbox)
        ))
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
