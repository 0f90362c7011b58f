//! FETCH and UID FETCH: the answers that carry the mail, and most of the faults.

use bytes::Bytes;

use super::command::{FetchItem, Section};
use super::fault::{Act, Due};
use super::session::{Reply, Session, Stream};
use super::set::{SequenceSet, compact};
use super::store::{Message, Octets};
use super::view::selected;
use super::wire::{End, Out};

/// A message as one FETCH sees it.
struct Seen {
    number: usize,
    uid: u32,
    message: Message,
    recent: bool,
    /// Its labels, where they are asked for.
    labels: Vec<String>,
    /// Its flags changed by this very FETCH.
    newly_seen: bool,
}

/// How one FETCH answer is to be spoiled.
#[derive(Default)]
struct Spoil {
    literal_off: i64,
    announced: Option<String>,
    nil: bool,
    without_header: bool,
    size_off: i64,
    without_uid: bool,
}

impl<S: Stream> Session<'_, S> {
    pub(super) async fn fetch(
        &mut self,
        by_uid: bool,
        set: &SequenceSet,
        items: &[FetchItem],
        changed_since: Option<u64>,
        vanished: bool,
        due: &[Due],
    ) -> Result<Reply, End> {
        if items.contains(&FetchItem::Unserved) {
            return Ok(Reply::no("[CANNOT] This mock does not take messages apart"));
        }
        let Some(places) = self.places(by_uid, set) else { return Ok(Reply::bad("no such message")) };
        if changed_since.is_some() || items.contains(&FetchItem::Modseq) {
            self.condstore = true;
        }
        if let (true, Some(since)) = (vanished, changed_since) {
            self.tell_vanished(set, since);
        }
        let first = places.first().map(|&(_, uid)| uid);
        for d in due {
            if let Act::Unasked(uid) = d.act {
                let stranger = self.look(1, uid, items).unwrap_or_else(|| Seen::invented(uid));
                if self.answer(&stranger, items, &Spoil::default()) {
                    self.mock.script.fire(d.rule);
                }
            }
        }
        let mut unreadable = 0;
        for (number, uid) in places {
            let Some(seen) = self.look(number, uid, items) else { continue };
            if changed_since.is_some_and(|since| seen.message.modseq <= since) {
                continue;
            }
            let mut spoil = Spoil::default();
            let mut answers = 1;
            let mut fired = Vec::new();
            for d in due.iter().filter(|d| d.uid.or(first) == Some(uid)) {
                match &d.act {
                    Act::ResetAt(octets) if d.uid.is_some() => {
                        self.conn.out.cut_at(*octets, End::Reset, d.rule);
                        continue;
                    }
                    Act::CloseAt(octets) if d.uid.is_some() => {
                        self.conn.out.cut_at(*octets, End::Closed, d.rule);
                        continue;
                    }
                    Act::EmptyFetch => {
                        answers = 0;
                        self.conn.out.untagged(&format!("{} FETCH ()", seen.number));
                    }
                    Act::NilBody => spoil.nil = true,
                    Act::WithoutHeader => spoil.without_header = true,
                    Act::DropUid => answers = 0,
                    Act::Duplicate => answers = 2,
                    Act::LiteralOff(off) => spoil.literal_off = *off,
                    Act::LiteralAnnounced(text) => spoil.announced = Some(text.clone()),
                    Act::SizeOff(off) => spoil.size_off = *off,
                    Act::WithoutUid => spoil.without_uid = true,
                    _ => continue,
                }
                fired.push(d.rule);
            }
            let mut answered = true;
            for _ in 0..answers {
                answered &= self.answer(&seen, items, &spoil);
            }
            if answered {
                fired.into_iter().for_each(|rule| self.mock.script.fire(rule));
            }
            unreadable += usize::from(!answered);
            if self.conn.out.is_full() {
                self.conn.flush().await?;
            }
        }
        if unreadable > 0 {
            return Ok(Reply::no(format!("[SERVERBUG] {unreadable} messages could not be read")));
        }
        Ok(Reply::ok("Fetch completed"))
    }

    /// (sequence number, UID) of the messages in a set, or `None` where a number names no message.
    pub(super) fn places(&self, by_uid: bool, set: &SequenceSet) -> Option<Vec<(usize, u32)>> {
        let uids = &self.view.as_ref()?.uids;
        let indexes = if by_uid { set.of_uids(uids) } else { set.of_numbers(uids.len())? };
        Some(indexes.into_iter().filter_map(|i| uids.get(i).map(|&uid| (i + 1, uid))).collect())
    }

    fn tell_vanished(&mut self, set: &SequenceSet, since: u64) {
        let (Some(user), Some(view)) = (&self.user, &self.view) else { return };
        let mut store = self.mock.store();
        let Some(folder) = selected(&mut store, user, view) else { return };
        let asked = |&&(modseq, uid): &&(u64, u32)| modseq > since && set.holds(uid, folder.uid_next);
        let mut gone: Vec<u32> = folder.vanished.iter().filter(asked).map(|&(_, uid)| uid).collect();
        gone.sort_unstable();
        if !gone.is_empty() {
            self.conn.out.untagged(&format!("VANISHED (EARLIER) {}", compact(&gone)));
        }
    }

    /// Takes a message out of the store (octets stay where they are), marking it `\Seen` where the items demand it.
    fn look(&self, number: usize, uid: u32, items: &[FetchItem]) -> Option<Seen> {
        let (user, view) = (self.user.as_ref()?, self.view.as_ref()?);
        let marks = !view.read_only && items.iter().any(|i| matches!(i, FetchItem::Body { peek: false, .. }));
        let mut store = self.mock.store();
        let folder = selected(&mut store, user, view)?;
        let mut newly_seen = false;
        if marks {
            let mut flags = folder.messages.get(&uid)?.flags.clone();
            newly_seen = flags.insert("\\Seen".to_owned());
            if newly_seen {
                folder.set_flags(uid, flags);
            }
        }
        let message = folder.messages.get(&uid)?.clone();
        let labels = if items.contains(&FetchItem::GmLabels) {
            store.labels(user, &view.name, message.email_id)
        } else {
            Vec::new()
        };
        store.client_changes += u64::from(newly_seen);
        Some(Seen { number, uid, message, recent: uid >= view.recent_from, labels, newly_seen })
    }

    /// One FETCH answer. False where the message's file cannot be read: then nothing is sent.
    fn answer(&mut self, seen: &Seen, items: &[FetchItem], spoil: &Spoil) -> bool {
        let needs_octets = items.iter().any(|i| match i {
            FetchItem::Body { .. } | FetchItem::BinarySize => true,
            FetchItem::Size => seen.message.octets.noted().is_none(),
            _ => false,
        });
        let octets = if needs_octets { seen.message.octets.read() } else { Some(Bytes::new()) };
        let Some(octets) = octets else { return false };
        let size = seen.message.octets.noted().unwrap_or(octets.len() as u64);
        if needs_octets {
            self.remember_size(seen.uid, size);
            self.mock.count(|c| c.messages_served += 1);
        }
        if let (true, Some(view)) = (seen.newly_seen, self.view.as_mut()) {
            view.quiet.push(seen.uid);
        }
        let munged = self.mock.options.quirks.nul_becomes_0x80 && memchr::memchr(0, &octets).is_some();
        let shown = if munged {
            Bytes::from(octets.iter().map(|b| if *b == 0 { 0x80 } else { *b }).collect::<Vec<u8>>())
        } else {
            octets.clone()
        };
        let out = &mut self.conn.out;
        out.text(&format!("* {} FETCH (", seen.number));
        let mut spoil_literal = Some(spoil);
        let mut separator = "";
        for item in items {
            if *item == FetchItem::Uid && spoil.without_uid {
                continue;
            }
            out.text(separator);
            separator = " ";
            match item {
                FetchItem::Uid => out.text(&format!("UID {}", seen.uid)),
                FetchItem::Flags => out.text(&format!("FLAGS ({})", flag_list(&seen.message, seen.recent))),
                FetchItem::InternalDate => {
                    let date = seen.message.raw_date.clone();
                    let date = date.unwrap_or_else(|| seen.message.date.to_string());
                    out.text("INTERNALDATE ");
                    out.push(format!("\"{date}\"").as_bytes());
                }
                FetchItem::Size => {
                    out.text(&format!("RFC822.SIZE {}", size.saturating_add_signed(spoil.size_off)));
                }
                FetchItem::Modseq => out.text(&format!("MODSEQ ({})", seen.message.modseq)),
                FetchItem::EmailId => out.text(&format!("EMAILID (M{})", seen.message.email_id)),
                FetchItem::ThreadId => out.text("THREADID NIL"),
                FetchItem::BinarySize => out.text(&format!("BINARY.SIZE[] {}", octets.len())),
                FetchItem::GmLabels => {
                    // As it is: a blank in a label is not one between words.
                    out.push(format!("X-GM-LABELS ({})", seen.labels.join(" ")).as_bytes());
                }
                FetchItem::GmMessageId => out.text(&format!("X-GM-MSGID {}", seen.message.email_id)),
                FetchItem::GmThreadId => out.text(&format!("X-GM-THRID {}", seen.message.email_id)),
                FetchItem::Body { name, .. } if spoil.nil => out.text(&format!("{name} NIL")),
                FetchItem::Body { name, section, partial, .. } => {
                    let whole = if name.starts_with("BINARY") { &octets } else { &shown };
                    let from = if spoil.without_header { header_end(whole) } else { 0 };
                    let part = cut(section_of(&whole.slice(from..), section), *partial);
                    let spoil = spoil_literal.take();
                    literal(out, name, part, spoil);
                }
                FetchItem::Unserved => {}
            }
        }
        if seen.newly_seen && !items.contains(&FetchItem::Flags) {
            out.text(&format!("{separator}FLAGS ({})", flag_list(&seen.message, seen.recent)));
        }
        out.push(b")\r\n");
        true
    }

    /// A file is measured once, not at every listing.
    fn remember_size(&self, uid: u32, measured: u64) {
        let (Some(user), Some(view)) = (&self.user, &self.view) else { return };
        let mut store = self.mock.store();
        let message = selected(&mut store, user, view).and_then(|f| f.messages.get_mut(&uid));
        if let Some(Octets::File { size: size @ None, .. }) = message.map(|m| &mut m.octets) {
            *size = Some(measured);
        }
    }
}

impl Seen {
    fn invented(uid: u32) -> Seen {
        let octets = Bytes::from_static(b"Subject: nobody asked\r\n\r\nnobody asked\r\n");
        let message = Message {
            octets: Octets::Memory(octets),
            flags: Default::default(),
            date: super::InternalDate::utc(0),
            raw_date: None,
            modseq: 1,
            email_id: 0,
        };
        Seen { number: 1, uid, message, recent: false, labels: Vec::new(), newly_seen: false }
    }
}

fn literal(out: &mut Out, name: &str, octets: Bytes, spoil: Option<&Spoil>) {
    let honest = octets.len() as u64;
    let length = match spoil {
        Some(Spoil { announced: Some(text), .. }) => text.clone(),
        Some(spoil) => honest.saturating_add_signed(spoil.literal_off).to_string(),
        None => honest.to_string(),
    };
    let eight = if name.starts_with("BINARY") { "~" } else { "" };
    out.push(format!("{name} {eight}{{{length}}}\r\n").as_bytes());
    out.literal(octets);
}

/// The flags as FETCH lists them.
pub(super) fn flag_list(message: &Message, recent: bool) -> String {
    let mut flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    if recent {
        flags.push("\\Recent");
    }
    flags.join(" ")
}

fn cut(octets: Bytes, partial: Option<(u64, u64)>) -> Bytes {
    let Some((offset, length)) = partial else { return octets };
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(octets.len());
    octets.slice(from..to)
}

/// A section of a message. The header ends with its empty line; without one, all is header.
pub(super) fn section_of(octets: &Bytes, section: &Section) -> Bytes {
    match section {
        Section::All => octets.clone(),
        Section::Header => octets.slice(..header_end(octets)),
        Section::Text => octets.slice(header_end(octets)..),
        Section::Fields { names, except } => {
            let mut kept = Vec::new();
            for field in fields(&octets[..header_end(octets)]) {
                let name = field.split(|&b| b == b':').next().unwrap_or_default().trim_ascii_end();
                let named = names.iter().any(|n| n.as_bytes().eq_ignore_ascii_case(name));
                if named != *except {
                    kept.extend_from_slice(field);
                }
            }
            kept.extend_from_slice(b"\r\n");
            Bytes::from(kept)
        }
    }
}

pub(super) fn header_end(octets: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &octets[at..]) {
        let line = &octets[at..at + end];
        at += end + 1;
        if line.is_empty() || line == b"\r" {
            return at;
        }
    }
    octets.len()
}

/// Header fields with their folded lines, without the empty line at the end.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let mut end = 0;
        while end < rest.len() {
            let line = memchr::memchr(b'\n', &rest[end..]).map_or(rest.len(), |n| end + n + 1);
            if end == 0 && rest[..line].trim_ascii_end().is_empty() {
                return None;
            }
            end = line;
            if !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, after) = rest.split_at(end);
        rest = after;
        (!field.is_empty()).then_some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_split_where_the_empty_line_is() {
        let mail = Bytes::from_static(b"A: 1\r\nB: 2\r\n  more\r\nC: 3\r\n\r\nbody\r\n\r\nmore");
        assert_eq!(section_of(&mail, &Section::Text), &b"body\r\n\r\nmore"[..]);
        let fields = |names: &[&str], except| {
            let names = names.iter().map(|n| (*n).to_owned()).collect();
            section_of(&mail, &Section::Fields { names, except })
        };
        assert_eq!(fields(&["B"], false), &b"B: 2\r\n  more\r\n\r\n"[..]);
        assert_eq!(fields(&["B"], true), &b"A: 1\r\nC: 3\r\n\r\n"[..]);
        for (odd, header) in [(&b"only: header"[..], 12), (b"\r\nbody", 2), (b"", 0), (b"A: 1\n\nx", 6)] {
            assert_eq!(header_end(odd), header);
        }
    }

    #[test]
    fn a_partial_range_never_leaves_the_message() {
        let mail = Bytes::from_static(b"0123456789");
        assert_eq!(cut(mail.clone(), Some((3, 4))), &b"3456"[..]);
        assert_eq!(cut(mail.clone(), Some((8, 4))), &b"89"[..]);
        assert_eq!(cut(mail.clone(), Some((10, 1))), &b""[..]);
        assert_eq!(cut(mail, Some((u64::MAX, u64::MAX))), &b""[..]);
    }
}
