//! Reading one response: its text and small literals are gathered, a message's octets go straight to the receiver.

use bytes::Bytes;
use tokio::io::AsyncRead;

use super::items::awaits_body;
use super::response::{Response, read};
use super::scan::{Literal, Raw, Value};
use super::wire::{WHOLE, Wire};
use super::{Habits, Limits, Untagged, WireError};

/// What to do with a message's literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Hand its octets over.
    Keep,
    /// Hand them over in one piece, which is kept in memory.
    Whole,
    /// Read past it.
    Drain,
    /// Too large even to read past: break the connection.
    Refuse,
}

/// Sees the untagged responses to a command. A message's octets come before the response they belong to.
pub trait Receiver: Send {
    /// A response.
    fn untagged(&mut self, response: Untagged);

    /// A message of `len` bytes begins. Its UID may not be known yet.
    fn body_begins(&mut self, _len: u64) -> Take {
        Take::Drain
    }

    /// More octets of it; a small message comes whole. They are a part of what was read from the wire, not a copy, and
    /// hold all of that in memory for as long as they live.
    fn body_octets(&mut self, _octets: Bytes) {}
}

/// Wants nothing.
#[derive(Debug)]
pub struct Ignore;

impl Receiver for Ignore {
    fn untagged(&mut self, _response: Untagged) {}
}

/// Gives each response to a closure.
pub(super) struct Each<F>(pub F);

impl<F: FnMut(Untagged) + Send> Receiver for Each<F> {
    fn untagged(&mut self, response: Untagged) {
        (self.0)(response);
    }
}

/// Reads one response; also how long its text was, in bytes. Empty lines, which some servers send, count as `unread`.
pub(super) async fn next<S: AsyncRead + Unpin>(
    wire: &mut Wire<S>,
    limits: &Limits,
    habits: &Habits,
    unread: &mut u64,
    receiver: &mut dyn Receiver,
) -> Result<(Response, usize), WireError> {
    let mut raw = Raw::default();
    let mut held = 0;
    loop {
        let line = wire.line().await?;
        raw.text.extend_from_slice(&line.text);
        if raw.text.len() + held > limits.response {
            return Err(WireError::Limit("one response"));
        }
        let Some(len) = line.literal else {
            if raw.text.is_empty() && raw.literals.is_empty() {
                *unread += 1;
                continue;
            }
            break;
        };
        if raw.literals.len() >= limits.literals {
            return Err(WireError::Limit("literals in one response"));
        }
        let value = if awaits_body(&raw.text) {
            match receiver.body_begins(len) {
                Take::Refuse => return Err(WireError::BodyTooLarge(len)),
                Take::Keep => wire.literal(len, WHOLE, &mut |o| receiver.body_octets(o)).await?,
                Take::Whole => wire.literal(len, usize::MAX, &mut |o| receiver.body_octets(o)).await?,
                Take::Drain => wire.literal(len, WHOLE, &mut |_| {}).await?,
            }
            Value::Streamed
        } else if len <= limits.small_literal {
            let mut octets = Bytes::new();
            wire.literal(len, WHOLE, &mut |o| octets = o).await?;
            held += octets.len();
            // Not a piece of the read buffer: a name may be kept for long.
            Value::Octets(Bytes::copy_from_slice(&octets))
        } else if len <= limits.passed_literal {
            wire.literal(len, WHOLE, &mut |_| {}).await?;
            Value::Passed
        } else {
            return Err(WireError::Limit("a literal that is no message"));
        };
        raw.literals.push(Literal { at: raw.text.len(), value });
    }
    let mut response = read(&raw)?;
    habits.judge(&mut response, &raw.text);
    Ok((response, raw.text.len() + held))
}
