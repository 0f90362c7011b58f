//! The selected folder as a client knows it, and how it is told what changed.

use super::fetch::flag_list;
use super::maildir;
use super::session::{Session, Stream};
use super::set::compact;
use super::store::{Folder, Store};
use super::wire::End;

/// The selected folder as this client knows it: sequence numbers are places in `uids`.
pub(super) struct View {
    pub name: String,
    pub id: u32,
    pub validity: u32,
    pub uids: Vec<u32>,
    pub read_only: bool,
    pub recent_from: u32,
    /// What changed up to here, the client was told.
    pub modseq: u64,
    /// Messages are gone that the client could not be told of yet.
    pub expunge_due: bool,
    /// Flag changes the client must not or need not be told.
    pub quiet: Vec<u32>,
}

impl<S: Stream> Session<'_, S> {
    pub(super) fn rescan_selected(&self) {
        if let Some((user, view)) = self.user.as_ref().zip(self.view.as_ref()) {
            maildir::rescan_folder(&mut self.mock.store(), user, &view.name);
        }
    }

    /// Tells what changed in the selected folder since the client was told last.
    pub(super) async fn report_changes(&mut self, expunges: bool) -> Result<(), End> {
        if self.tell_changes(expunges) {
            return Ok(());
        }
        self.conn.out.untagged("BYE The folder was deleted or changed under us");
        self.conn.flush().await?;
        Err(End::Orderly)
    }

    /// False where the folder is gone or became another.
    fn tell_changes(&mut self, expunges: bool) -> bool {
        let (Some(user), Some(view)) = (&self.user, &mut self.view) else { return true };
        let mut store = self.mock.store();
        let Some(folder) = selected(&mut store, user, view) else { return false };
        let out = &mut self.conn.out;
        if folder.highest_modseq == view.modseq && !(view.expunge_due && expunges) {
            view.quiet.clear();
            return true;
        }
        let gone: Vec<u32> =
            view.uids.iter().copied().filter(|uid| !folder.messages.contains_key(uid)).collect();
        view.expunge_due = !gone.is_empty() && !expunges;
        if expunges && !gone.is_empty() {
            if self.qresync {
                out.untagged(&format!("VANISHED {}", compact(&gone)));
            } else {
                for (already, uid) in gone.iter().enumerate() {
                    let place = view.uids.partition_point(|u| u < uid);
                    out.untagged(&format!("{} EXPUNGE", place + 1 - already));
                }
            }
            view.uids.retain(|uid| folder.messages.contains_key(uid));
        }
        for (&uid, message) in &folder.messages {
            let told = message.modseq <= view.modseq || view.quiet.contains(&uid);
            if let (false, Ok(place)) = (told, view.uids.binary_search(&uid)) {
                let flags = flag_list(message, uid >= view.recent_from);
                let modseq =
                    if self.condstore { format!(" MODSEQ ({})", message.modseq) } else { String::new() };
                out.untagged(&format!("{} FETCH (UID {uid} FLAGS ({flags}){modseq})", place + 1));
            }
        }
        let newest = view.uids.last().copied().unwrap_or(0);
        let before = view.uids.len();
        view.uids.extend(folder.messages.range(newest.saturating_add(1)..).map(|(&uid, _)| uid));
        if view.uids.len() > before {
            out.untagged(&format!("{} EXISTS", view.uids.len()));
            let recent = view.uids.len() - view.uids.partition_point(|&uid| uid < view.recent_from);
            out.untagged(&format!("{recent} RECENT"));
        }
        view.modseq = folder.highest_modseq;
        view.quiet.clear();
        true
    }
}

/// The folder a session has selected, or `None` where it is gone or became another. It may have been renamed
/// meanwhile: the id tells.
pub(super) fn selected<'s>(store: &'s mut Store, user: &str, view: &View) -> Option<&'s mut Folder> {
    let folders = &mut store.users.get_mut(user)?.folders;
    let same = |f: &Folder| f.id == view.id && f.uid_validity == view.validity;
    let name = if folders.get(&view.name).is_some_and(same) {
        view.name.clone()
    } else {
        folders.iter().find(|(_, f)| same(f))?.0.clone()
    };
    folders.get_mut(&name)
}
