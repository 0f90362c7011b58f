//! A request understood: it can be acted on now, later, or never.

use bytes::Bytes;

use super::call::{self, Call};
use super::exchange;
use super::head::{Area, Head};
use super::options::GraphOptions;
use super::render::Show;
use super::reply::Refusal;
use crate::mock::service::Who;

/// A request understood, ready to be acted on.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) app: String,
    pub(super) mailbox: String,
    pub(super) show: Show,
    pub(super) address: String,
    pub(super) upload_base: String,
    pub(super) if_match: Option<String>,
    pub(super) task: Task,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(super) enum Task {
    Call(Box<Call>),
    Upload { session: String, method: http::Method, range: Option<String>, body: Bytes },
}

impl Work {
    /// Understands a request, without looking at anything held.
    pub(super) fn read(head: &Head, who: &Who, body: Bytes, options: &GraphOptions) -> Result<Work, Refusal> {
        let (task, beta) = match &head.area {
            Area::Mailbox { rest, beta, .. } => {
                (Task::Call(Box::new(call::read(head, rest, *beta, &body, options)?)), *beta)
            }
            Area::Store { rest, .. } => {
                (Task::Call(Box::new(exchange::read(head, rest, &body, options)?)), false)
            }
            Area::Import { .. } => (Task::Call(Box::new(exchange::import(head, &body)?)), false),
            Area::Upload { session } => (
                Task::Upload {
                    session: session.clone(),
                    method: head.method.clone(),
                    range: head.content_range.clone(),
                    body,
                },
                false,
            ),
            _ => return Err(Refusal::no_such_path("")),
        };
        Ok(Work {
            app: who.0.clone(),
            mailbox: who.1.clone(),
            show: Show {
                immutable: head.prefer.immutable,
                text_body: head.prefer.text_body,
                root: format!("{}/{}", head.base, if beta { "beta" } else { "v1.0" }),
                select_expand_drops: options.select_expand_drops,
                attachment_overhead: options.sizes.attachment_overhead,
            },
            address: format!("{}{}", head.base, head.path),
            upload_base: options.upload_base_url.clone().unwrap_or_else(|| head.base.clone()),
            if_match: head.if_match.clone(),
            task,
        })
    }
}
