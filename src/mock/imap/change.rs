//! Commands that change messages: APPEND, STORE, COPY, MOVE, EXPUNGE.

use super::command::{Appended, FlagChange, How};
use super::date::InternalDate;
use super::fault::{Act, Due, Fate};
use super::fetch::flag_list;
use super::folders::missing;
use super::session::{Reply, Session, Stream};
use super::set::{SequenceSet, compact};
use super::store::{Message, Octets};
use super::view::selected;
use super::wire::End;
use super::{ImapMock, lock};

/// Messages that were taken and are there only after some further commands.
#[derive(Debug)]
pub(super) struct Late {
    after: u64,
    user: String,
    folder: String,
    messages: Vec<Appended>,
}

impl ImapMock {
    /// One more command was heard: what was late may be there now.
    pub(super) fn let_in(&self) {
        let mut due = Vec::new();
        {
            let mut late = lock(&self.late);
            late.iter_mut().for_each(|l| l.after = l.after.saturating_sub(1));
            while let Some(at) = late.iter().position(|l| l.after == 0) {
                due.push(late.remove(at));
            }
        }
        for late in due {
            self.keep(&late.user, &late.folder, late.messages);
        }
    }

    /// Stores messages as this server keeps them; gives their UIDs.
    fn keep(&self, user: &str, folder: &str, messages: Vec<Appended>) -> Vec<u32> {
        let (options, quirks) = (&self.options, &self.options.quirks);
        let now = InternalDate::utc(self.world.now().div_euclid(1000));
        let mut store = self.store();
        let mut uids = Vec::new();
        for message in messages {
            let email_id = store.next_email_id();
            store.client_changes += 1;
            let forgotten = |f: &String| quirks.forgets_at_append.iter().any(|x| x.eq_ignore_ascii_case(f));
            let kept =
                |f: &String| (options.keywords || f.starts_with('\\')) && quirks.keeps(f) && !forgotten(f);
            let flags = message.flags.into_iter().filter(kept).collect();
            let octets = Octets::Memory(quirks.alter(message.octets, message.utf8, email_id));
            let date = quirks.date(message.date, now);
            let message = Message { octets, flags, date, raw_date: None, modseq: 0, email_id };
            uids.push(store.ensure_folder(user, folder).append(message));
        }
        uids
    }
}

const READ_ONLY: &str = "[READ-ONLY] The folder was opened by EXAMINE";

impl<S: Stream> Session<'_, S> {
    pub(super) fn append(&mut self, wire: &[u8], messages: Vec<Appended>, due: &[Due]) -> Result<Reply, End> {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return Ok(reply),
        };
        let user = self.user.clone().unwrap_or_default();
        if let Some(reply) = self.refuse(&user, &name, &messages) {
            return Ok(reply);
        }
        let late = |after| {
            lock(&self.mock.late).push(Late {
                after,
                user: user.clone(),
                folder: name.clone(),
                messages: messages.clone(),
            })
        };
        for d in due {
            match d.act {
                Act::LoseAppend(fate) => {
                    match fate {
                        Fate::NotStored => {}
                        Fate::StoredAfter(commands) => late(commands),
                        Fate::Stored => {
                            self.mock.keep(&user, &name, messages);
                        }
                    }
                    self.mock.script.fire(d.rule);
                    return Err(End::Reset);
                }
                Act::StoreLater(commands) => {
                    late(commands);
                    self.mock.script.fire(d.rule);
                    return Ok(Reply::ok("Append completed"));
                }
                _ => {}
            }
        }
        let uids = self.mock.keep(&user, &name, messages);
        let validity = self.mock.store().uid_validity(&user, &name).unwrap_or_default();
        if self.mock.options.offers("UIDPLUS") {
            return Ok(Reply::ok(format!("[APPENDUID {validity} {}] Append completed", compact(&uids))));
        }
        Ok(Reply::ok("Append completed"))
    }

    /// Why an APPEND is not done; all of it or nothing (RFC 3502).
    fn refuse(&self, user: &str, name: &str, messages: &[Appended]) -> Option<Reply> {
        let options = &self.mock.options;
        for message in messages {
            let octets = &message.octets;
            if octets.is_empty() {
                return Some(Reply::no("[CANNOT] An empty message"));
            }
            if !message.binary && memchr::memchr(0, octets).is_some() {
                return Some(Reply::no("[CANNOT] Message contains NUL characters"));
            }
            if options.refuse_bare_newlines && has_bare_newline(octets) {
                return Some(Reply::no("[CANNOT] Message contains bare newlines"));
            }
            if let Some(why) = options.quirks.refuse(octets, message.utf8) {
                return Some(Reply::no(why));
            }
            if options.quirks.refuses_other_flags && !message.flags.iter().all(|f| options.quirks.keeps(f)) {
                return Some(Reply::no("[CANNOT] Flag not permitted"));
            }
        }
        let store = self.mock.store();
        let more: u64 = messages.iter().map(|m| m.octets.len() as u64).sum();
        if options.quirks.quota.is_some_and(|quota| store.octets_of(user).saturating_add(more) > quota) {
            return Some(Reply::no("[OVERQUOTA] Quota exceeded (mailbox for user is full)"));
        }
        missing(&store, user, name)
    }

    pub(super) fn store_flags(&mut self, by_uid: bool, set: &SequenceSet, change: &FlagChange) -> Reply {
        let Some(places) = self.places(by_uid, set) else { return Reply::bad("no such message") };
        let keywords = self.mock.options.keywords;
        let (Some(user), Some(view)) = (&self.user, &mut self.view) else { return Reply::bad("no folder") };
        if view.read_only {
            return Reply::no(READ_ONLY);
        }
        self.condstore |= change.unchanged_since.is_some();
        let mut store = self.mock.store();
        let Some(folder) = selected(&mut store, user, view) else { return Reply::no("the folder is gone") };
        let quirks = &self.mock.options.quirks;
        if quirks.refuses_other_flags && !change.flags.iter().all(|f| quirks.keeps(f)) {
            return Reply::no("[CANNOT] Flag not permitted");
        }
        let kept = |f: &&String| (keywords || f.starts_with('\\')) && quirks.keeps(f);
        let wanted: Vec<&String> = change.flags.iter().filter(kept).collect();
        let (mut refused, mut changed) = (Vec::new(), 0);
        for (number, uid) in places {
            let Some(message) = folder.messages.get(&uid) else { continue };
            if change.unchanged_since.is_some_and(|since| message.modseq > since) {
                refused.push(if by_uid { uid } else { number as u32 });
                continue;
            }
            let mut flags = message.flags.clone();
            match change.how {
                How::Set => flags = wanted.iter().map(|f| (*f).clone()).collect(),
                How::Add => flags.extend(wanted.iter().map(|f| (*f).clone())),
                How::Remove => flags.retain(|f| !wanted.iter().any(|w| w.eq_ignore_ascii_case(f))),
            }
            changed += u64::from(flags != message.flags);
            folder.set_flags(uid, flags);
            view.quiet.push(uid);
            let Some(message) = folder.messages.get(&uid) else { continue };
            let mut items = if by_uid { format!("UID {uid}") } else { String::new() };
            if !change.silent {
                items.push_str(&format!(" FLAGS ({})", flag_list(message, uid >= view.recent_from)));
            }
            if self.condstore {
                items.push_str(&format!(" MODSEQ ({})", message.modseq));
            }
            if !change.silent || self.condstore {
                self.conn.out.untagged(&format!("{number} FETCH ({})", items.trim_start()));
            }
        }
        store.client_changes += changed;
        if refused.is_empty() {
            return Reply::ok("Store completed");
        }
        Reply::ok(format!("[MODIFIED {}] Some messages had changed", compact(&refused)))
    }

    pub(super) fn copy(&mut self, by_uid: bool, set: &SequenceSet, wire: &[u8], take: bool) -> Reply {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let Some(places) = self.places(by_uid, set) else { return Reply::bad("no such message") };
        let (Some(user), Some(view)) = (&self.user, &self.view) else { return Reply::bad("no folder") };
        if take && view.read_only {
            return Reply::no(READ_ONLY);
        }
        let mut store = self.mock.store();
        if let Some(reply) = missing(&store, user, &name) {
            return reply;
        }
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (_, uid) in places {
            let original = selected(&mut store, user, view).and_then(|f| f.messages.get(&uid).cloned());
            let Some(original) = original else { continue };
            to.push(store.ensure_folder(user, &name).append(original));
            from.push(uid);
            if take {
                selected(&mut store, user, view).map(|f| f.expunge(uid));
            }
        }
        store.client_changes += from.len() as u64;
        let validity = store.uid_validity(user, &name).unwrap_or_default();
        let code = if from.is_empty() || !self.mock.options.offers("UIDPLUS") {
            String::new()
        } else {
            format!("[COPYUID {validity} {} {}] ", compact(&from), compact(&to))
        };
        if !take {
            return Reply::ok(format!("{code}Copy completed"));
        }
        // RFC 6851 §4.3: the code comes untagged, before the EXPUNGEs.
        if !code.is_empty() {
            self.conn.out.untagged(&format!("OK {code}Moved"));
        }
        Reply::ok("Move completed")
    }

    pub(super) fn expunge(&mut self, set: Option<&SequenceSet>) -> Reply {
        let (Some(user), Some(view)) = (&self.user, &self.view) else { return Reply::bad("no folder") };
        if view.read_only {
            return Reply::no(READ_ONLY);
        }
        let top = view.uids.last().copied().unwrap_or(0);
        let mut store = self.mock.store();
        let mut gone = 0;
        if let Some(folder) = selected(&mut store, user, view) {
            for &uid in view.uids.iter().filter(|&&uid| set.is_none_or(|s| s.holds(uid, top))) {
                if folder.messages.get(&uid).is_some_and(|m| m.flags.contains("\\Deleted")) {
                    gone += u64::from(folder.expunge(uid));
                }
            }
        }
        store.client_changes += gone;
        Reply::ok("Expunge completed")
    }
}

/// An LF without CR before it, or a CR without LF after it.
fn has_bare_newline(octets: &[u8]) -> bool {
    let lone_lf = |at: usize| at == 0 || octets[at - 1] != b'\r';
    memchr::memchr_iter(b'\n', octets).any(lone_lf)
        || memchr::memchr_iter(b'\r', octets).any(|at| octets.get(at + 1) != Some(&b'\n'))
}
