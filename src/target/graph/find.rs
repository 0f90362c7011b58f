//! Which stamps a mailbox holds.
//!
//! Awkward truths: a filter on an extended property covers the whole mailbox; the property itself comes back only with
//! `$expand`; and `$select` with `$expand` in one listing has been seen to leave out fields that were selected. So the
//! fields we need are checked, and what is missing is asked for again without `$expand`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::answer::{Fault, Reply, id};
use super::folders::parent;
use super::session::{Call, Session, query, segment, unreadable};
use crate::env::Step;
use crate::model::{Error, Kind, Result, Scope, Stamp, StampPrefix};
use crate::target::dated::millis;
use crate::target::{Copy, TargetFolderId};
use crate::transform::graph::{extended, flags, props};
use crate::transform::import_mime;

const WHAT: &str = "looking for stamps";
/// Fields we need of each message.
const FIELDS: &str = "id,parentFolderId,isRead,isDraft,flag,categories,createdDateTime";
/// Messages per page.
const PAGE: usize = 200;

/// Every copy whose stamp begins with `prefix`.
pub(super) async fn find(session: &Session, prefix: &StampPrefix) -> Result<Vec<Copy>> {
    let mut all = copies(session, prefix, &props::stamp_filter(prefix), None).await?;
    if session.header_stamps {
        add(&mut all, copies(session, prefix, &import_mime::header_filter(prefix), None).await?);
    }
    Ok(all)
}

/// The first question of [`find`], one for each way in which copies carry their stamp.
pub(super) fn questions(session: &Session, prefix: &StampPrefix) -> Vec<Call> {
    let by_header = session.header_stamps.then(|| import_mime::header_filter(prefix));
    let filters = std::iter::once(props::stamp_filter(prefix)).chain(by_header);
    let call = |filter: String| {
        session.call(Method::GET, &path(session, &filter), Bytes::new(), Step::TargetFind, WHAT)
    };
    filters.map(call).collect()
}

/// What [`find`] would tell, if the answers to all of [`questions`] tell it. `None`: it is to be asked.
pub(super) async fn answered(
    session: &Session,
    prefix: &StampPrefix,
    replies: impl Iterator<Item = Option<Reply>>,
) -> Option<Vec<Copy>> {
    let mut all = Vec::new();
    for reply in replies {
        let page = page_of(&mut reply.filter(|r| r.status == 200)?.json()?)?;
        // What a listing left out would be asked for: that is no answer.
        if !page.iter().all(|m| is_whole(m) && value(m).is_some()) {
            return None;
        }
        add(&mut all, copies(session, prefix, "", Some(page)).await.ok()?);
    }
    Some(all)
}

/// May all of so many copies be told in one answer?
pub(super) fn fits(copies: u64) -> bool {
    copies < PAGE as u64
}

/// Adds copies that are not there yet: one may be found by its property and by its header.
fn add(all: &mut Vec<Copy>, more: Vec<Copy>) {
    let known: BTreeSet<String> = all.iter().map(|copy| copy.id.clone()).collect();
    all.extend(more.into_iter().filter(|copy| !known.contains(&copy.id)));
}

/// Every copy whose stamp begins with one of the prefixes: several are asked for at a time.
pub(super) async fn find_each(session: &Session, prefixes: &[StampPrefix]) -> Result<Vec<Copy>> {
    let filters = |prefix| {
        let by_header = session.header_stamps.then(|| import_mime::header_filter(prefix));
        std::iter::once(props::stamp_filter(prefix)).chain(by_header).map(move |filter| (prefix, filter))
    };
    let asked: Vec<(&StampPrefix, String)> = prefixes.iter().flat_map(filters).collect();
    let call = |(_, filter): &(&StampPrefix, String)| {
        session.call(Method::GET, &path(session, filter), Bytes::new(), Step::TargetFind, WHAT)
    };
    let calls: Vec<Call> = asked.iter().map(call).collect();
    let mut all = Vec::new();
    for ((prefix, filter), reply) in asked.iter().zip(session.batch(&calls).await) {
        let page =
            reply.filter(|r| r.status == 200).and_then(|r| r.json()).map(|mut page| page_of(&mut page));
        add(&mut all, copies(session, prefix, filter, page.flatten()).await?);
    }
    Ok(all)
}

/// The messages of an answer that is the only page.
fn page_of(page: &mut Value) -> Option<Vec<Value>> {
    match (page["@odata.nextLink"].is_null(), page.get_mut("value").map(Value::take)) {
        (true, Some(Value::Array(messages))) => Some(messages),
        _ => None,
    }
}

fn path(session: &Session, filter: &str) -> String {
    let (filter, expand) = (query(filter), query(&expand(session)));
    format!("/messages?$filter={filter}&$top={PAGE}&$select={FIELDS}&$expand={expand}")
}

/// The copies among the messages that fit a filter, whatever a listing of them left out. `messages`: they were listed
/// already.
async fn copies(
    session: &Session,
    prefix: &StampPrefix,
    filter: &str,
    messages: Option<Vec<Value>>,
) -> Result<Vec<Copy>> {
    let (mut copies, mut odd) = (Vec::new(), Vec::new());
    // Page by page: of a message as it is told there is ten times as much as of a copy, and there may be half a million.
    let mut sort = |messages: Vec<Value>| {
        for message in messages {
            match told(prefix, &message) {
                Told::Copy(copy) => copies.push(copy),
                Told::Foreign => {}
                Told::InPart => odd.push(message),
            }
        }
    };
    match messages {
        Some(messages) => sort(messages),
        None => {
            let path = path(session, filter);
            session
                .each_page_below(&path, Step::TargetFind, WHAT, &mut sort)
                .await
                .map_err(of_the_mailbox)?;
        }
    }
    copies.extend(completed(session, prefix, filter, odd).await?);
    Ok(copies)
}

/// What a listing tells of one message.
enum Told {
    Copy(Copy),
    /// It carries no stamp of ours, or another mailbox's.
    Foreign,
    /// Fields are missing, the stamp may be one of them.
    InPart,
}

fn told(prefix: &StampPrefix, message: &Value) -> Told {
    let (Some(value), true) = (value(message), is_whole(message)) else { return Told::InPart };
    // A value that is no stamp of ours is somebody else's business.
    let Some((stamp, complete)) = props::parse_stamp_value(value) else { return Told::Foreign };
    if !prefix.covers(&stamp) {
        return Told::Foreign;
    }
    let (Some(id), Some(folder)) = (id(message), parent(message)) else { return Told::InPart };
    Told::Copy(copy(message, (id, folder), stamp, complete))
}

/// The copies among messages of which a listing left something out: it is asked for.
async fn completed(
    session: &Session,
    prefix: &StampPrefix,
    filter: &str,
    mut messages: Vec<Value>,
) -> Result<Vec<Copy>> {
    let expand = query(&expand(session));
    if messages.iter().any(|m| !is_whole(m)) {
        let filter = query(filter);
        let path = format!("/messages?$filter={filter}&$top={PAGE}&$select={FIELDS}");
        let mut plain: BTreeMap<String, Value> =
            list(session, &path).await?.into_iter().filter_map(|m| Some((id(&m)?.to_owned(), m))).collect();
        for message in messages.iter_mut().filter(|m| !is_whole(m)) {
            if let Some(mut fields) = id(message).and_then(|id| plain.remove(id)) {
                fields["singleValueExtendedProperties"] = message["singleValueExtendedProperties"].take();
                *message = fields;
            }
        }
    }
    let mut copies = Vec::with_capacity(messages.len());
    for mut message in messages {
        if value(&message).is_none() {
            // The filter matched it, so it has the property; it only was not told.
            let Some(id) = id(&message) else { return Err(unreadable(WHAT)) };
            let path = format!("/messages/{}?$select={FIELDS}&$expand={expand}", segment(id));
            match session.read(&path, Step::TargetFind, WHAT).await {
                Ok(single) => {
                    message["singleValueExtendedProperties"] =
                        single["singleValueExtendedProperties"].clone();
                }
                Err(fault) if fault.error().kind == Kind::NotFound => continue, // gone meanwhile
                Err(fault) => return Err(fault.into_error()),
            }
        }
        // A value that is no stamp of ours is somebody else's business.
        let Some((stamp, complete)) = value(&message).and_then(props::parse_stamp_value) else { continue };
        if !prefix.covers(&stamp) {
            continue;
        }
        let (Some(id), Some(folder)) = (id(&message), parent(&message)) else { return Err(unreadable(WHAT)) };
        copies.push(copy(&message, (id, folder), stamp, complete));
    }
    Ok(copies)
}

fn copy(message: &Value, (id, folder): (&str, &str), stamp: Stamp, complete: bool) -> Copy {
    Copy {
        stamp,
        id: id.to_owned(),
        folder: TargetFolderId(folder.to_owned()),
        complete,
        flags: flags::read(message),
        made: message["createdDateTime"].as_str().and_then(millis).unwrap_or(0),
    }
}

async fn list(session: &Session, path: &str) -> Result<Vec<Value>> {
    session.list(path, Step::TargetFind, WHAT).await.map_err(of_the_mailbox)
}

fn of_the_mailbox(fault: Fault) -> Error {
    match fault.into_error() {
        e if e.scope < Scope::Mailbox => e.scoped(Scope::Mailbox),
        e => e,
    }
}

pub(super) fn expand(session: &Session) -> String {
    let more = if session.header_stamps {
        format!(" or id eq '{}'", import_mime::STAMP_HEADER)
    } else {
        String::new()
    };
    let (stamp, verb) = (props::STAMP, props::LAST_VERB);
    format!("singleValueExtendedProperties($filter=id eq '{stamp}' or id eq '{verb}'{more})")
}

/// What a message says of its stamp. The property, which comes with the last request, knows better than the header.
fn value(message: &Value) -> Option<&str> {
    extended(message, props::STAMP).or_else(|| extended(message, import_mime::STAMP_HEADER))
}

/// Can a message just imported be found by its header? `None`: it cannot be asked now.
pub(super) async fn by_header(session: &Session, stamp: &Stamp, id: &str) -> Option<bool> {
    let prefix = StampPrefix::exactly(stamp);
    let found = copies(session, &prefix, &import_mime::header_filter(&prefix), None).await.ok()?;
    Some(found.iter().any(|copy| copy.id == id && copy.stamp == *stamp))
}

fn is_whole(message: &Value) -> bool {
    ["parentFolderId", "isRead", "isDraft", "flag", "categories", "createdDateTime"]
        .iter()
        .all(|field| !message[*field].is_null())
}
