//! Delta: what changed in a folder, or in the tree of folders, since a token was given.
//! Source: Microsoft Graph documentation, `delta-query-messages`, `message-delta`, `mailfolder-delta`.
//!
//! Every change of a mailbox has a number, and a token stands for one of them. A page holds what has a greater number,
//! in order; what changes while a client turns pages gets a greater number still and comes once more. Nothing is ever
//! left out, and nothing is said to be gone that a client was never told of in that round's past.
//!
//! Not documented and decided here: a changed count of messages does not make a folder appear; hidden folders never do;
//! beside a token every other query option is ignored, for the token holds those of the first call.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::act::{Act, Acted};
use super::filter::{Field, Filter, Literal, Op, Test};
use super::options::DeltaExpired;
use super::query::View;
use super::reply::{Refusal, Reply};
use crate::mock::service::dice::Dice;

/// The service's page where none is asked for.
const PAGE: usize = 10;

/// What a token stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The mailbox, so that a token never outlives it.
    guid: String,
    /// 0: the tree of folders.
    folder: u32,
    /// Everything up to this change was told.
    cursor: u64,
    /// Where the round began; 0: with nothing, it is the first.
    since: u64,
    /// The last change when the first round began: what was gone by then was never told of.
    floor: u64,
    /// In a first round in order of date: the received date and number of the message told last.
    last: Option<(i64, u64)>,
    /// A first round in order of date is still at what was there when it began.
    sorting: bool,
    /// Milliseconds since 1970.
    issued: i64,
    /// The query options of the first call.
    pub(super) query: Vec<(String, String)>,
}

impl State {
    /// As it stands in a link: opaque, nobody should count on what is inside.
    fn write(&self) -> String {
        let mut octets = serde_json::to_vec(self).unwrap_or_default();
        let check = blake3::hash(&octets);
        veil(&mut octets);
        let mut out = check.as_bytes()[..6].to_vec();
        out.append(&mut octets);
        encodify::base64::URL_SAFE_NO_PAD.encode(out)
    }

    /// `None` for anything but what [`State::write`] wrote.
    pub(super) fn read(text: &str) -> Option<State> {
        if text.len() > 16_384 {
            return None;
        }
        let octets = encodify::base64::URL_SAFE_NO_PAD.decode(text).ok()?;
        let (check, rest) = octets.split_at_checked(6)?;
        let mut rest = rest.to_vec();
        veil(&mut rest);
        if blake3::hash(&rest).as_bytes()[..6] != *check {
            return None;
        }
        serde_json::from_slice(&rest).ok()
    }
}

fn veil(octets: &mut [u8]) {
    let mut stream = Dice::new(0x5ca1_ab1e_0000_0017);
    for octet in octets {
        *octet ^= stream.next().to_le_bytes()[0];
    }
}

/// Which changes of messages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Created,
    Updated,
    Deleted,
}

impl Change {
    pub(super) fn read(word: &str) -> Option<Change> {
        Some(match word {
            "created" => Change::Created,
            "updated" => Change::Updated,
            "deleted" => Change::Deleted,
            _ => return None,
        })
    }
}

/// The only filter a delta takes: `receivedDateTime ge …` or `gt …`.
pub(super) fn takes(filter: &Filter) -> bool {
    matches!(filter, Filter::Field(Field::ReceivedDateTime, Test::Is(Op::Ge | Op::Gt, Literal::Date(_))))
}

const MESSAGE: &str = "#microsoft.graph.message";
const FOLDER: &str = "#microsoft.graph.mailFolder";

/// One thing a page may tell.
enum Told {
    /// What has this number is there.
    Here(u64),
    /// Something is gone: so it is said.
    Gone(Value),
}

impl Act<'_> {
    pub(super) fn message_delta(&self, folder: &str, view: &View) -> Acted {
        let folder = self.folder(folder)?;
        let state = self.state(folder, view)?;
        if state.sorting
            && let Some(reply) = self.sorted(folder, &state, view)
        {
            return Ok(reply);
        }
        // What was sorted is told: the rest came or changed since, and is told in order of change.
        let state = State { cursor: state.cursor.max(if state.sorting { state.floor } else { 0 }), ..state };
        let asked = |change| view.change.is_none_or(|c| c == change);
        let mut told: Vec<(u64, Told)> = Vec::new();
        let items = self.mailbox.folders.get(&folder).into_iter().flat_map(|f| &f.items);
        for item in items.filter_map(|n| self.mailbox.items.get(n)).filter(|i| i.change > state.cursor) {
            let kind = if item.entered > state.since { Change::Created } else { Change::Updated };
            if asked(kind) && view.filter.as_ref().is_none_or(|filter| self.passes(filter, item)) {
                told.push((item.change, Told::Here(item.number)));
            }
        }
        if asked(Change::Deleted) {
            let gone = self.mailbox.gone_after(state.cursor.max(state.floor));
            for g in gone.filter(|g| g.folder == folder && g.entered <= state.cursor) {
                let id = if self.show.immutable { g.immutable.text() } else { g.id.text() };
                told.push((g.change, Told::Gone(self.removed(MESSAGE, &id, g.recoverable))));
            }
        }
        Ok(self.page(told, &state, view, "Collection(message)", |number| {
            let item = self.mailbox.items.get(&number);
            item.map_or(Value::Null, |i| typed(MESSAGE, self.show.message(self.mailbox, i, view)))
        }))
    }

    pub(super) fn folder_delta(&self, view: &View) -> Acted {
        let state = self.state(0, view)?;
        let root = self.folder("msgfolderroot")?;
        let listed = |f: &&super::mailbox::Folder| {
            f.change > state.cursor && !f.hidden && f.number != root && self.mailbox.is_below(f.number, root)
        };
        let here = self.mailbox.folders.values().map(Box::as_ref).filter(listed);
        let mut told: Vec<(u64, Told)> = here.map(|f| (f.change, Told::Here(u64::from(f.number)))).collect();
        let after = state.cursor.max(state.floor);
        for g in self.mailbox.gone_folders.iter().filter(|g| g.change > after && g.entered <= state.cursor) {
            told.push((g.change, Told::Gone(self.removed(FOLDER, &g.id.text(), false))));
        }
        Ok(self.page(told, &state, view, "Collection(mailFolder)", |number| {
            let number = u32::try_from(number).unwrap_or(0);
            typed(FOLDER, self.show.folder(self.mailbox, number, view))
        }))
    }

    /// Where the client stands; a token must be of this mailbox and folder, and not too old.
    fn state(&self, folder: u32, view: &View) -> Result<State, Refusal> {
        let Some(state) = &view.delta else {
            return Ok(State {
                guid: self.mailbox.guid.clone(),
                folder,
                floor: self.mailbox.last_change(),
                sorting: view.order.is_some(),
                query: view.repeat.clone(),
                ..State::default()
            });
        };
        let seconds = self.options.delta_seconds;
        let old =
            seconds > 0 && self.now >= state.issued.saturating_add(self.options.scaled_seconds(seconds));
        let lost = state.guid != self.mailbox.guid
            || state.cursor > self.mailbox.last_change()
            || (state.since > 0 && self.mailbox.forgotten > state.cursor);
        if old || lost {
            return Err(self.expired(state));
        }
        if state.folder != folder {
            return Err(malformed());
        }
        Ok(state.clone())
    }

    fn expired(&self, state: &State) -> Refusal {
        match self.options.delta_expired {
            DeltaExpired::SyncStateNotFound => {
                Refusal::new(410, "SyncStateNotFound", "The sync state generation is not found.")
            }
            DeltaExpired::ResyncRequired => {
                let mut refusal =
                    Refusal::new(410, "resyncRequired", "Resync required. Begin without a token.");
                let query: Vec<String> =
                    state.query.iter().map(|(n, v)| format!("{n}={}", escaped(v))).collect();
                let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
                refusal.location = Some(format!("{}{query}", self.address));
                refusal
            }
        }
    }

    fn removed(&self, kind: &str, id: &str, recoverable: bool) -> Value {
        let reason = if recoverable && self.options.delta_says_changed { "changed" } else { "deleted" };
        json!({"@odata.type": kind, "id": id, "@removed": {"reason": reason}})
    }

    /// A page of a first round in order of date, latest first; `None` once all that was there is told.
    fn sorted(&self, folder: u32, state: &State, view: &View) -> Option<Reply> {
        let mut rest: Vec<(i64, u64)> = self
            .mailbox
            .folders
            .get(&folder)?
            .items
            .iter()
            .filter_map(|n| self.mailbox.items.get(n))
            .filter(|i| i.change <= state.floor && view.change.is_none_or(|c| c == Change::Created))
            .filter(|i| view.filter.as_ref().is_none_or(|filter| self.passes(filter, i)))
            .map(|i| (i.received, i.number))
            .filter(|key| state.last.is_none_or(|last| *key < last))
            .collect();
        if rest.is_empty() {
            return None;
        }
        rest.sort_unstable_by(|a, b| b.cmp(a));
        rest.truncate(view.top.unwrap_or(PAGE));
        let shown = rest
            .iter()
            .filter_map(|(_, n)| self.mailbox.items.get(n))
            .map(|i| typed(MESSAGE, self.show.message(self.mailbox, i, view)))
            .collect();
        let next = State { last: rest.last().copied(), issued: self.now, ..state.clone() };
        Some(self.answer(shown, "Collection(message)", "nextLink", "$skiptoken", &next, view))
    }

    /// The first of what is told, and the link to the rest or to what will change.
    fn page(
        &self,
        mut told: Vec<(u64, Told)>,
        state: &State,
        view: &View,
        of: &str,
        show: impl Fn(u64) -> Value,
    ) -> Reply {
        told.sort_unstable_by_key(|(change, _)| *change);
        let top = view.top.unwrap_or(PAGE);
        let more = told.len() > top;
        let mut cursor = state.cursor;
        let mut shown = Vec::new();
        for (change, one) in told.into_iter().take(top) {
            cursor = change;
            shown.push(match one {
                Told::Here(number) => show(number),
                Told::Gone(value) => value,
            });
        }
        if more {
            let next = State { cursor, issued: self.now, sorting: false, ..state.clone() };
            return self.answer(shown, of, "nextLink", "$skiptoken", &next, view);
        }
        let end = self.mailbox.last_change();
        let next = State {
            cursor: end,
            since: end,
            floor: 0,
            last: None,
            sorting: false,
            issued: self.now,
            ..state.clone()
        };
        self.answer(shown, of, "deltaLink", "$deltatoken", &next, view)
    }

    fn answer(
        &self,
        shown: Vec<Value>,
        of: &str,
        link: &str,
        token: &str,
        next: &State,
        view: &View,
    ) -> Reply {
        let mut out = json!({
            "@odata.context": format!("{}/$metadata#{of}", self.show.root),
            "value": shown,
        });
        out[format!("@odata.{link}")] = json!(format!("{}?{token}={}", self.address, next.write()));
        let reply = Reply::json(200, &out);
        match view.preferred {
            Some(size) => reply.header("preference-applied", format!("odata.maxpagesize={size}")),
            None => reply,
        }
    }
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["@odata.type"] = json!(kind);
    value
}

fn escaped(text: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// A token that nobody gave.
pub(super) fn malformed() -> Refusal {
    Refusal::new(400, "SyncStateInvalid", "The sync state is badly formed.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_opaque_and_checked() {
        let state = State {
            guid: "g".into(),
            cursor: 7,
            query: vec![("$top".into(), "5".into())],
            ..State::default()
        };
        let text = state.write();
        assert_eq!(State::read(&text), Some(state));
        assert_eq!(State::read(""), None);
        assert_eq!(State::read(&text[1..]), None);
        assert_eq!(State::read(&text.replace(&text[12..14], "zz")), None);
    }
}
