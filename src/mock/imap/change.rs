//! Commands that change messages: APPEND, STORE, COPY, MOVE, EXPUNGE.

use super::command::{Appended, FlagChange, How};
use super::date::InternalDate;
use super::fetch::flag_list;
use super::folders::missing;
use super::session::{Reply, Session, Stream};
use super::set::{SequenceSet, compact};
use super::store::{Message, Octets};
use super::view::selected;

const READ_ONLY: &str = "[READ-ONLY] The folder was opened by EXAMINE";

impl<S: Stream> Session<'_, S> {
    pub(super) fn append(&mut self, wire: &[u8], messages: Vec<Appended>) -> Reply {
        let name = match self.resolve(wire) {
            Ok(name) => name,
            Err(reply) => return reply,
        };
        let options = &self.mock.options;
        for message in &messages {
            let octets = &message.octets;
            if octets.is_empty() {
                return Reply::no("[CANNOT] An empty message");
            }
            if memchr::memchr(0, octets).is_some() {
                return Reply::no("[CANNOT] Message contains NUL characters");
            }
            if options.refuse_bare_newlines && has_bare_newline(octets) {
                return Reply::no("[CANNOT] Message contains bare newlines");
            }
        }
        let user = self.user.clone().unwrap_or_default();
        let now = InternalDate::utc(self.mock.world.now().div_euclid(1000));
        let mut store = self.mock.store();
        if let Some(reply) = missing(&store, &user, &name) {
            return reply;
        }
        let mut uids = Vec::new();
        for message in messages {
            let email_id = store.next_email_id();
            store.client_changes += 1;
            let flags =
                message.flags.into_iter().filter(|f| options.keywords || f.starts_with('\\')).collect();
            let octets = Octets::Memory(message.octets);
            let date = message.date.unwrap_or(now);
            let message = Message { octets, flags, date, raw_date: None, modseq: 0, email_id };
            uids.push(store.ensure_folder(&user, &name).append(message));
        }
        let validity = store.uid_validity(&user, &name).unwrap_or_default();
        if options.offers("UIDPLUS") {
            return Reply::ok(format!("[APPENDUID {validity} {}] Append completed", compact(&uids)));
        }
        Reply::ok("Append completed")
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
        let wanted: Vec<&String> = change.flags.iter().filter(|f| keywords || f.starts_with('\\')).collect();
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
