//! Storing items: one creation or upload each, many in a request, every one judged by itself. Messages are created from
//! their MIME; streams are uploaded, and go on from there (`upload`).

use std::collections::{BTreeSet, VecDeque};

use super::answer::{Fault, id, unreadable};
use super::session::{Call, Session, per_item};
use super::sizing::Sizing;
use super::tree::Element;
use super::upload::{Desk, Staging};
use crate::env::Step;
use crate::limit::{Cost, Ticket};
use crate::model::{Error, Form, Kind, Outcome, Scope, Stamp, WriteMode};
use crate::target::{StoreItem, TargetFolderId};
use crate::transform::ews::{self, Input, stream};
use crate::transform::xml;

const WHAT: &str = "storing messages";

/// How often a batch of which the server stored nothing for want of time is sent again.
const STALLS: u32 = 3;

/// Stores items; exactly one outcome for each, in order.
pub(super) async fn store(
    session: &Session,
    sizing: &Sizing,
    staging: &Staging,
    folder: &TargetFolderId,
    items: &[StoreItem],
    ticket: &Ticket,
) -> Vec<Outcome> {
    let mut work = Work {
        items,
        outcomes: items.iter().map(|_| None).collect(),
        queue: (0..items.len()).collect(),
        alone: BTreeSet::new(),
        stalls: 0,
    };
    while let Some(batch) = work.next(sizing) {
        let desk = if is_stream(&items[batch[0]]) {
            match staging.enter(session).await {
                Ok(desk) => Some(desk),
                Err(error) => {
                    work.queue.extend(batch);
                    work.stop(&error);
                    break;
                }
            }
        } else {
            None
        };
        let Some(request) = build(session, folder, desk.as_ref(), &mut work, &batch) else { continue };
        let sizes = || request.members.iter().map(|at| items[*at].body.len());
        match session.send(ticket, &request.call).await {
            Ok(reply) => {
                let read = if desk.is_some() { uploaded } else { created };
                let mut judged = per_item(&reply, request.members.len(), WHAT, read);
                if judged.iter().any(|one| matches!(one, Err(Fault::Stopped(_)))) {
                    sizing.cut(sizes());
                } else {
                    sizing.learn(sizes(), reply.took);
                }
                if let Some(desk) = &desk {
                    let stamps: Vec<&Stamp> = request.members.iter().map(|at| &items[*at].stamp).collect();
                    judged = desk.deliver(session, folder, &stamps, desk.judged(judged).await).await;
                }
                work.settle(&request, judged);
            }
            Err(fault) => {
                if matches!(fault, Fault::Unknown(_)) {
                    sizing.cut(sizes());
                    desk.iter().for_each(Desk::leaves_something);
                }
                work.settle_all(&request, &fault);
            }
        }
    }
    let lost = || Outcome::Unknown(unreadable(WHAT));
    work.outcomes.into_iter().map(|one| one.unwrap_or_else(lost)).collect()
}

fn is_stream(item: &StoreItem) -> bool {
    matches!(item.form, Form::Stream { .. })
}

/// What is still to be stored, and what became of the rest.
struct Work<'a> {
    items: &'a [StoreItem],
    outcomes: Vec<Option<Outcome>>,
    queue: VecDeque<usize>,
    /// The server would not look at these together: each goes by itself, so that only the culprit is refused.
    alone: BTreeSet<usize>,
    stalls: u32,
}

/// One request.
struct Request {
    call: Call,
    /// The messages in it, in order, and what each cannot keep.
    members: Vec<usize>,
    losses: Vec<Vec<&'static str>>,
}

impl Work<'_> {
    /// Takes the messages of the next request, all of one form.
    fn next(&mut self, sizing: &Sizing) -> Option<Vec<usize>> {
        let first = *self.queue.front()?;
        let count = if self.alone.contains(&first) {
            1
        } else {
            let like_first = |at: &&usize| is_stream(&self.items[**at]) == is_stream(&self.items[first]);
            let together = self.queue.iter().take_while(|at| !self.alone.contains(at) && like_first(at));
            sizing.fitting(together.map(|at| self.items[*at].body.len())).max(1)
        };
        Some(self.queue.drain(..count.min(self.queue.len())).collect())
    }

    /// Takes what was said of each message of a request.
    fn settle(&mut self, request: &Request, judged: Vec<Result<String, Fault>>) {
        let mut stopped: Vec<(usize, Error)> = Vec::new();
        let mut wide: Option<Error> = None;
        let all = judged.len();
        for ((at, losses), one) in request.members.iter().zip(&request.losses).zip(judged) {
            let mode = if is_stream(&self.items[*at]) { WriteMode::ImportStream } else { WriteMode::Usual };
            let outcome = match one {
                Ok(id) => Outcome::Stored { id, losses: losses.clone(), mode },
                Err(Fault::Stopped(error)) => {
                    stopped.push((*at, error));
                    continue;
                }
                Err(fault) => of_folder(fault).into_outcome(),
            };
            if let Outcome::NotSent(error) = &outcome {
                wide = Some(error.clone());
            }
            self.outcomes[*at] = Some(outcome);
        }
        self.stalls = if stopped.len() == all { self.stalls + 1 } else { 0 };
        if self.stalls > STALLS {
            wide = wide.or_else(|| stopped.first().map(|(_, error)| error.clone()));
        }
        for (at, _) in stopped.into_iter().rev() {
            self.queue.push_front(at);
        }
        if let Some(error) = wide {
            self.stop(&error);
        }
    }

    /// Takes what was said of a whole request.
    fn settle_all(&mut self, request: &Request, fault: &Fault) {
        let fault = of_folder(fault.clone());
        if matches!(fault, Fault::Refused(_)) && request.members.len() > 1 {
            self.alone.extend(&request.members);
            request.members.iter().rev().for_each(|at| self.queue.push_front(*at));
            return;
        }
        for at in &request.members {
            self.outcomes[*at] = Some(fault.clone().into_outcome());
        }
        match fault {
            Fault::NotSent(error) | Fault::Stopped(error) => self.stop(&error),
            // A server that does not answer is not asked for the rest.
            Fault::Unknown(error) => self.stop(&Error::temporary(error.kind, error.scope, error.what)),
            Fault::Refused(_) => {}
        }
    }

    /// Nothing more is sent: the rest is *not sent*, for the same reason.
    fn stop(&mut self, error: &Error) {
        for at in self.queue.drain(..) {
            self.outcomes[at] = Some(Outcome::NotSent(error.clone()));
        }
    }
}

/// What was not found when something is created is the folder.
fn of_folder(fault: Fault) -> Fault {
    match fault {
        Fault::NotSent(e) if e.kind == Kind::NotFound && e.scope == Scope::Message => {
            Fault::NotSent(e.scoped(Scope::Folder))
        }
        other => other,
    }
}

/// The id of the item that was uploaded.
fn uploaded(message: Element<'_>) -> Option<String> {
    id(message, "ItemId").map(str::to_owned)
}

/// The id of the message that was made.
fn created(message: Element<'_>) -> Option<String> {
    let items = message.child("Items")?;
    let mut made = items.children();
    let (Some(one), None) = (made.next(), made.next()) else { return None };
    id(one, "ItemId").map(str::to_owned)
}

/// Builds one request; `None` if none of its messages can be sent. Those that cannot have their outcome then.
fn build(
    session: &Session,
    folder: &TargetFolderId,
    desk: Option<&Desk<'_>>,
    work: &mut Work<'_>,
    batch: &[usize],
) -> Option<Request> {
    let items = work.items;
    let room: u64 = batch.iter().map(|at| ews::wire_size(items[*at].body.len())).sum();
    let room = usize::try_from(room).unwrap_or(0) + folder.0.len() + 256;
    let (op, mut body) = if desk.is_some() {
        ("UploadItems", session.begin("UploadItems", "", room))
    } else {
        let mut body = session.begin("CreateItem", " MessageDisposition=\"SaveOnly\"", room);
        xml::open(&mut body, "m:SavedItemFolderId");
        xml::empty(&mut body, "t:FolderId", &[("Id", &folder.0)]);
        xml::close(&mut body, "m:SavedItemFolderId");
        ("CreateItem", body)
    };
    xml::open(&mut body, "m:Items");
    let (mut members, mut losses) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for at in batch {
        match append(session, &mut body, desk, &items[*at]) {
            Ok(lost) => {
                members.push(*at);
                losses.push(lost);
            }
            Err(outcome) => work.outcomes[*at] = Some(outcome),
        }
    }
    xml::close(&mut body, "m:Items");
    let call = Session::end(body, op, Step::TargetStore, WHAT);
    (!members.is_empty()).then_some(Request { call, members, losses })
}

fn append(
    session: &Session,
    body: &mut String,
    desk: Option<&Desk<'_>>,
    item: &StoreItem,
) -> Result<Vec<&'static str>, Outcome> {
    let octets = item.body.bytes().map_err(|e| {
        let what = format!("the spooled message cannot be read: {}", e.kind());
        Outcome::NotSent(
            Error::temporary(Kind::Io, Scope::Run, what).remedy("check the disk of the spool directory"),
        )
    })?;
    if let Some(desk) = desk {
        if stream::is_cut(&octets) {
            return Err(Outcome::NotSent(stream::cut_short(WHAT)));
        }
        let built = session.transform(octets.len(), || stream::item(body, &desk.folder, &octets));
        return built.map(|()| Vec::new()).map_err(Outcome::Refused);
    }
    let input = Input { octets: &octets, stamp: &item.stamp, flags: &item.flags, received: item.received };
    session.transform(octets.len(), || ews::message(body, &input)).map_err(Outcome::Refused)
}

/// An upper estimate for messages of these sizes, in bytes.
pub(super) fn cost(sizes: &[u64], most: usize) -> Cost {
    let upload_bytes = sizes.iter().fold(4_096u64, |sum, size| sum.saturating_add(ews::wire_size(*size)));
    let requests = u32::try_from(sizes.len().div_ceil(most.max(1))).unwrap_or(u32::MAX);
    Cost { requests, upload_bytes }
}
