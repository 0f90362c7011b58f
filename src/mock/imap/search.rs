//! SEARCH and UID SEARCH.

use bytes::Bytes;

use super::command::SearchKey;
use super::fetch::{fields, header_end};
use super::session::{Reply, Session, Stream};
use super::set::compact;
use super::store::Message;
use super::view::selected;

/// One message under a search; its octets are read only where a key asks for them.
struct Candidate<'a> {
    number: usize,
    uid: u32,
    message: &'a Message,
    recent: bool,
    octets: Option<Bytes>,
    count: usize,
    last_uid: u32,
}

impl<S: Stream> Session<'_, S> {
    pub(super) fn search(&mut self, by_uid: bool, returns: Option<&[String]>, key: &SearchKey) -> Reply {
        let (Some(user), Some(view)) = (&self.user, &self.view) else { return Reply::bad("no folder") };
        let mut found = Vec::new();
        let mut highest = 0;
        {
            let mut store = self.mock.store();
            let Some(folder) = selected(&mut store, user, view) else {
                return Reply::no("the folder is gone");
            };
            let (count, last_uid) = (view.uids.len(), view.uids.last().copied().unwrap_or(0));
            for (index, &uid) in view.uids.iter().enumerate() {
                let Some(message) = folder.messages.get(&uid) else { continue };
                let recent = uid >= view.recent_from;
                let mut candidate =
                    Candidate { number: index + 1, uid, message, recent, octets: None, count, last_uid };
                if candidate.matches(key) {
                    found.push(if by_uid { uid } else { index as u32 + 1 });
                    highest = highest.max(message.modseq);
                }
            }
        }
        let asks_modseq = mentions_modseq(key);
        self.condstore |= asks_modseq;
        let modseq = asks_modseq && !found.is_empty();
        let line = match returns {
            None => {
                let mut line = "SEARCH".to_owned();
                for number in &found {
                    line.push(' ');
                    line.push_str(&number.to_string());
                }
                if modseq {
                    line.push_str(&format!(" (MODSEQ {highest})"));
                }
                line
            }
            Some(returns) => {
                let mut line = format!("ESEARCH (TAG \"{}\")", self.last_tag);
                line.push_str(if by_uid { " UID" } else { "" });
                for wanted in returns {
                    match (wanted.as_str(), found.first(), found.last()) {
                        ("COUNT", ..) => line.push_str(&format!(" COUNT {}", found.len())),
                        ("MIN", Some(first), _) => line.push_str(&format!(" MIN {first}")),
                        ("MAX", _, Some(last)) => line.push_str(&format!(" MAX {last}")),
                        ("ALL", Some(_), _) => line.push_str(&format!(" ALL {}", compact(&found))),
                        _ => {}
                    }
                }
                if modseq {
                    line.push_str(&format!(" MODSEQ {highest}"));
                }
                line
            }
        };
        self.conn.out.untagged(&line);
        Reply::ok("Search completed")
    }
}

fn mentions_modseq(key: &SearchKey) -> bool {
    match key {
        SearchKey::Modseq(_) => true,
        SearchKey::And(keys) => keys.iter().any(mentions_modseq),
        SearchKey::Or(pair) => mentions_modseq(&pair.0) || mentions_modseq(&pair.1),
        SearchKey::Not(key) => mentions_modseq(key),
        _ => false,
    }
}

impl Candidate<'_> {
    fn octets(&mut self) -> Bytes {
        let message = self.message;
        self.octets.get_or_insert_with(|| message.octets.read().unwrap_or_default()).clone()
    }

    fn matches(&mut self, key: &SearchKey) -> bool {
        match key {
            SearchKey::All => true,
            SearchKey::And(keys) => keys.iter().all(|k| self.matches(k)),
            SearchKey::Or(pair) => self.matches(&pair.0) || self.matches(&pair.1),
            SearchKey::Not(key) => !self.matches(key),
            SearchKey::Numbers(set) => set.holds(self.number as u32, self.count as u32),
            SearchKey::Uids(set) => set.holds(self.uid, self.last_uid),
            SearchKey::Flag(flag) => self.message.flags.iter().any(|f| f.eq_ignore_ascii_case(flag)),
            SearchKey::Recent => self.recent,
            SearchKey::Before(day) => self.message.date.written_day() < *day,
            SearchKey::On(day) => self.message.date.written_day() == *day,
            SearchKey::Since(day) => self.message.date.written_day() >= *day,
            SearchKey::Larger(size) => self.octets().len() as u64 > *size,
            SearchKey::Smaller(size) => (self.octets().len() as u64) < *size,
            SearchKey::Header { field, value } => {
                let octets = self.octets();
                let header = &octets[..header_end(&octets)];
                fields(header).any(|line| {
                    let Some(colon) = memchr::memchr(b':', line) else { return false };
                    line[..colon].trim_ascii_end().eq_ignore_ascii_case(field.as_bytes())
                        && contains(&line[colon + 1..], value)
                })
            }
            SearchKey::Body(value) => {
                let octets = self.octets();
                contains(&octets[header_end(&octets)..], value)
            }
            SearchKey::Text(value) => contains(&self.octets(), value),
            SearchKey::Modseq(modseq) => self.message.modseq >= *modseq,
            SearchKey::GmailId(id) => *id == self.message.email_id,
            SearchKey::EmailId(id) => *id == format!("M{}", self.message.email_id),
        }
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    let lower = |octets: &[u8]| octets.to_ascii_lowercase();
    wanted.is_empty() || memchr::memmem::find(&lower(text), &lower(wanted)).is_some()
}
