//! One APPEND: a message or, with MULTIAPPEND (RFC 3502), several, which are stored all or not at all.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use super::flags::Kept;
use super::losses;
use super::oddities::Oddities;
use super::session::Live;
use crate::imap::{Begun, Capabilities, Command, Done, Ignore, WireError};
use crate::model::{Body, Flags, Timestamp};
use crate::transform::line_ends::ToCrlf;

/// Largest message whose line ends are mended, in bytes: it is held in memory for it.
const MENDED: u64 = 32 << 20;

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// Its place in the batch.
    pub at: usize,
    pub body: Body,
    pub flags: Flags,
    pub received: Timestamp,
    pub oddities: Oddities,
    /// What is lost already.
    pub losses: BTreeSet<&'static str>,
    /// Keywords are left out: the server refused them.
    pub bare: bool,
    /// It is sent as an ordinary literal, whatever is in it.
    pub plain: bool,
    /// Its line ends were mended: the server refused it as it was.
    pub mended: bool,
    /// It is sent as UTF8 data (RFC 6855 §4): in the usual form its header was, or would be, refused or altered.
    pub utf8: bool,
    /// It was refused without a reason before.
    pub again: bool,
    /// Its literal is announced and waited for, whatever the server offers.
    pub asks_first: bool,
}

impl Draft {
    /// Is it sent as literal8? Only so NUL may be sent (RFC 3516).
    fn binary(&self, offer: &Capabilities) -> bool {
        self.oddities.nul && !self.plain && offer.has("BINARY")
    }

    /// Makes bare LF CRLF, a declared change; `false`: there is nothing to mend, or too much.
    pub fn mend(&mut self) -> bool {
        if self.mended || !self.oddities.bare_line_end || self.body.len() > MENDED {
            return false;
        }
        self.mended = true;
        let mut mended = ToCrlf::new(Vec::new());
        if io::copy(&mut self.body.reader(), &mut mended).is_err() {
            return false;
        }
        let mended = mended.into_inner();
        if mended.len() as u64 == self.body.len() {
            return false;
        }
        self.body = Body::from_bytes(mended.into());
        self.losses.insert(losses::LINE_ENDS);
        true
    }

    /// Would some servers refuse it where they take its neighbours?
    pub fn is_risky(&self, offer: &Capabilities) -> bool {
        self.oddities.nul && !self.binary(offer)
    }

    /// Are keywords sent with it?
    pub fn with_keywords(&self) -> bool {
        !self.bare && !self.flags.keywords.is_empty()
    }
}

/// The literals a server may take without being asked (RFC 7888).
pub(super) const FREE_LITERALS: [&str; 2] = ["LITERAL+", "LITERAL-"];

/// How a command ended.
pub(super) enum End {
    /// It was answered.
    Answered(Done),
    /// It was not.
    Cut {
        error: WireError,
        /// Octets of a message may have left.
        begun: bool,
    },
}

/// Sends messages with one command. What their folder does not keep of flags is added to their losses.
pub(super) async fn append(
    live: &Live,
    folder: &str,
    kept: &Kept,
    keywords: bool,
    drafts: &mut [Draft],
) -> End {
    let _appending = live.appending().await;
    let session = &live.session;
    let offer = session.capabilities();
    let mut command = Command::new("APPEND").string(&session.wire_name(folder.as_bytes()));
    for draft in drafts.iter_mut() {
        let wire = kept.wire(&draft.flags, keywords && !draft.bare);
        if wire.keywords_lost {
            draft.losses.insert(losses::KEYWORDS);
        }
        if wire.flags_lost {
            draft.losses.insert(losses::FLAGS);
        }
        command = command.flags(wire.flags.iter().map(String::as_str)).date_time(draft.received);
        command = if draft.utf8 {
            command.utf8_body(&draft.body)
        } else if draft.binary(&offer) {
            command.binary_body(&draft.body)
        } else {
            command.body(&draft.body)
        };
    }
    if drafts.iter().any(|draft| draft.asks_first) {
        command = command.asking_first();
    }
    let begun: Begun = command.begun();
    match session.run(command, &mut Ignore).await {
        Ok(done) => End::Answered(done),
        Err(error) => End::Cut { error, begun: begun.has() },
    }
}

/// The first messages of a queue that go with one command.
pub(super) fn next_group(queue: &mut VecDeque<Draft>, most: usize, offer: &Capabilities) -> Vec<Draft> {
    let mut group: Vec<Draft> = Vec::new();
    while let Some(draft) = queue.front() {
        let alone = draft.is_risky(offer) || draft.again || draft.bare || draft.plain || draft.mended;
        let unlike = group.first().is_some_and(|first| first.asks_first != draft.asks_first);
        if !group.is_empty() && (alone || unlike || group.len() >= most.max(1)) {
            break;
        }
        group.extend(queue.pop_front());
        if alone {
            break;
        }
    }
    group
}
