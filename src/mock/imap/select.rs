//! SELECT and EXAMINE (with QRESYNC), CLOSE.

use std::collections::BTreeSet;

use super::command::Qresync;
use super::fetch::flag_list;
use super::maildir;
use super::session::{Reply, Session, Stream};
use super::set::compact;
use super::view::{View, selected};

impl<S: Stream> Session<'_, S> {
    pub(super) fn select(
        &mut self,
        wire: &[u8],
        read_only: bool,
        condstore: bool,
        qresync: Option<Qresync>,
    ) -> Reply {
        // RFC 3501 §6.3.1: whatever comes of it, the folder that was selected is so no longer.
        self.view = None;
        if qresync.is_some() && !self.qresync {
            return Reply::bad("ENABLE QRESYNC comes first");
        }
        self.condstore |= condstore;
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let options = &self.mock.options;
        let user = self.user.clone().unwrap_or_default();
        let mut store = self.mock.store();
        maildir::rescan_folder(&mut store, &user, &name);
        let Some(folder) = store.folder_mut(&user, &name) else {
            return Reply::no("[NONEXISTENT] No such folder");
        };
        if folder.no_select {
            return Reply::no("[CANNOT] The folder cannot be selected");
        }
        let keywords: BTreeSet<&str> = folder
            .messages
            .values()
            .flat_map(|m| &m.flags)
            .filter(|f| !f.starts_with('\\'))
            .map(|f| &**f)
            .collect();
        let mut flags = "\\Answered \\Flagged \\Deleted \\Seen \\Draft".to_owned();
        for keyword in keywords {
            flags.push(' ');
            flags.push_str(keyword);
        }
        let out = &mut self.conn.out;
        out.untagged(&format!("FLAGS ({flags})"));
        let permanent = match (read_only, options.keywords) {
            (true, _) => String::new(),
            (false, _) if options.quirks.permanent_flags.is_some() => {
                options.quirks.permanent_flags.iter().flatten().cloned().collect::<Vec<_>>().join(" ")
            }
            (false, true) => format!("{flags} \\*"),
            (false, false) => flags,
        };
        out.untagged(&format!("OK [PERMANENTFLAGS ({permanent})] Flags permitted"));
        let uids: Vec<u32> = folder.messages.keys().copied().collect();
        let recent_from = folder.recent_from;
        out.untagged(&format!("{} EXISTS", uids.len()));
        out.untagged(&format!("{} RECENT", uids.len() - uids.partition_point(|&u| u < recent_from)));
        if let Some(first) = folder.messages.values().position(|m| !m.flags.contains("\\Seen")) {
            out.untagged(&format!("OK [UNSEEN {}] First unseen", first + 1));
        }
        out.untagged(&format!("OK [UIDVALIDITY {}] UIDs valid", folder.uid_validity));
        out.untagged(&format!("OK [UIDNEXT {}] Predicted next UID", folder.uid_next));
        if folder.no_modseq && (options.offers("CONDSTORE") || options.offers("QRESYNC")) {
            out.untagged("OK [NOMODSEQ] No modification sequences here");
        } else if options.offers("CONDSTORE") || options.offers("QRESYNC") {
            out.untagged(&format!("OK [HIGHESTMODSEQ {}] Highest", folder.highest_modseq));
        }
        if options.offers("OBJECTID") {
            out.untagged(&format!("OK [MAILBOXID (F{})] Kept through renames", folder.id));
        }
        if let Some(wanted) = qresync.filter(|q| q.uid_validity == folder.uid_validity && !folder.no_modseq) {
            let known = |uid: u32| wanted.known.as_ref().is_none_or(|set| set.holds(uid, folder.uid_next));
            let vanished: BTreeSet<u32> = folder
                .vanished
                .iter()
                .filter(|&&(modseq, uid)| modseq > wanted.modseq && known(uid))
                .map(|&(_, uid)| uid)
                .collect();
            if !vanished.is_empty() {
                let vanished: Vec<u32> = vanished.into_iter().collect();
                out.untagged(&format!("VANISHED (EARLIER) {}", compact(&vanished)));
            }
            for (place, (&uid, message)) in folder.messages.iter().enumerate() {
                if message.modseq > wanted.modseq && known(uid) {
                    let flags = flag_list(message, uid >= recent_from);
                    let modseq = message.modseq;
                    out.untagged(&format!(
                        "{} FETCH (UID {uid} FLAGS ({flags}) MODSEQ ({modseq}))",
                        place + 1
                    ));
                }
            }
        }
        if !read_only {
            folder.recent_from = folder.uid_next;
        }
        self.view = Some(View {
            name,
            id: folder.id,
            validity: folder.uid_validity,
            uids,
            read_only,
            recent_from,
            modseq: folder.highest_modseq,
            expunge_due: false,
            quiet: Vec::new(),
        });
        Reply::ok(if read_only { "[READ-ONLY] Examine completed" } else { "[READ-WRITE] Select completed" })
    }

    pub(super) fn close(&mut self) -> Reply {
        if let (Some(user), Some(view)) = (&self.user, self.view.take())
            && !view.read_only
        {
            let mut store = self.mock.store();
            let mut gone = 0;
            if let Some(folder) = selected(&mut store, user, &view) {
                let deleted =
                    |uid: &&u32| folder.messages.get(uid).is_some_and(|m| m.flags.contains("\\Deleted"));
                let deleted: Vec<u32> = view.uids.iter().filter(deleted).copied().collect();
                for uid in deleted {
                    gone += u64::from(folder.expunge(uid));
                }
            }
            store.client_changes += gone;
        }
        Reply::ok("Close completed")
    }
}
