//! Attachments: small ones in one request, large ones by an upload session.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::act::{Act, Acted};
use super::call::At;
use super::date;
use super::ids::OfAttachment;
use super::input::{AttachmentInput, UploadInput};
use super::messages::too_large;
use super::query::View;
use super::reply::{Kept, Refusal, Reply};
use super::state::{Attachment, Content};

/// Upload sessions under way, by the secret part of their URL. They do not outlive the mock.
pub(super) type Uploads = BTreeMap<String, Upload>;

/// One upload session.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) mailbox: String,
    pub(super) app: String,
    message: u64,
    input: UploadInput,
    got: Vec<u8>,
    expires: i64,
}

impl Upload {
    /// What a session says of itself.
    pub(super) fn state(&self) -> serde_json::Value {
        let next = self.got.len();
        json!({
            "expirationDateTime": date::write(self.expires),
            "nextExpectedRanges": [if next == 0 { "0-".to_owned() } else { next.to_string() }],
        })
    }

    /// Forgets all but the first so many octets.
    pub(super) fn forget(&mut self, all_but: usize) {
        self.got.truncate(all_but);
    }
}

impl Act<'_> {
    pub(super) fn list_attachments(&self, at: &At, view: &View) -> Acted {
        let item = self.item(at)?;
        let all: Vec<&Attachment> = item.attachments.iter().collect();
        let begin = view.skip.min(all.len());
        let end = begin.saturating_add(view.top.unwrap_or(usize::MAX)).min(all.len());
        let shown: Vec<_> = all[begin..end].iter().map(|a| self.show.attachment(a, view)).collect();
        let mut out = json!({
            "@odata.context": format!("{}/$metadata#users('{}')/messages/attachments", self.show.root, self.mailbox.guid),
            "value": shown,
        });
        if view.count {
            out["@odata.count"] = json!(all.len());
        }
        Ok(Reply::json(200, &out))
    }

    pub(super) fn get_attachment(&self, at: &At, id: &str, view: &View) -> Acted {
        let a = self.attachment(at, id)?;
        Ok(Reply::json(200, &self.show.attachment(a, view)))
    }

    pub(super) fn attachment_value(&self, at: &At, id: &str) -> Acted {
        let a = self.attachment(at, id)?;
        let media = a.content_type.as_deref().filter(|_| a.file).unwrap_or("application/octet-stream");
        Ok(Reply::octets(media, a.content.octets()))
    }

    pub(super) fn add_attachment(&mut self, at: &At, input: &AttachmentInput) -> Acted {
        let (number, id) = {
            let item = self.item_to_change(at)?;
            if input.content.length > self.options.sizes.attachment_post as u64 {
                return Err(Refusal::new(
                    413,
                    "ErrorAttachmentSizeLimitExceeded",
                    "An attachment this large needs an upload session.",
                ));
            }
            if item.size() + input.content.length > self.options.sizes.message {
                return Err(too_large());
            }
            if item.attachments.len() >= self.options.sizes.attachments {
                return Err(Refusal::new(400, "ErrorInvalidRequest", "There are too many attachments."));
            }
            self.room(input.content.length)?;
            (item.number, self.ids.draw::<OfAttachment>())
        };
        let content = self.keep(input.content.clone());
        let attachment = Attachment::new(id.clone(), input, self.now, content);
        let shown = self.show.attachment(&attachment, &View::default());
        self.mailbox.update(number, self.now, |item| item.attachments.push(attachment));
        self.counters.attachments += 1;
        let mut reply = Reply::json(201, &shown);
        reply.kept =
            Some(Kept::Attachment { mailbox: self.mailbox.address.clone(), message: number, id: id.text() });
        Ok(reply)
    }

    pub(super) fn delete_attachment(&mut self, at: &At, id: &str) -> Acted {
        let number = self.item_to_change(at)?.number;
        self.attachment(at, id)?;
        self.mailbox.update(number, self.now, |item| item.attachments.retain(|a| !a.id.is(id)));
        self.counters.attachments += 1;
        Ok(Reply::empty(204))
    }

    fn attachment(&self, at: &At, id: &str) -> Result<&Attachment, Refusal> {
        self.item(at)?.attachments.iter().find(|a| a.id.is(id)).ok_or_else(Refusal::not_found)
    }

    pub(super) fn open_upload(&mut self, at: &At, input: &UploadInput) -> Acted {
        let item = self.item(at)?;
        let sizes = &self.options.sizes;
        if input.size < sizes.upload_min {
            return Err(Refusal::new(
                400,
                "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize",
                "The attachment is too small for an upload session.",
            ));
        }
        if input.size > sizes.upload_max {
            return Err(Refusal::new(
                413,
                "ErrorAttachmentSizeLimitExceeded",
                "The attachment is too large.",
            ));
        }
        if item.size().saturating_add(input.size) > sizes.message {
            return Err(too_large());
        }
        self.room(input.size)?;
        let (message, shown) = (item.number, item.id.text());
        let (session, secret) = (self.ids.text(40), self.ids.text(120));
        let expires = self.now.saturating_add(self.options.scaled_seconds(sizes.upload_seconds));
        let url = format!(
            "{}/api/v2.0/Users('{}')/Messages('{shown}')/AttachmentSessions('{session}')?authtoken={secret}",
            self.upload_base, self.mailbox.guid,
        );
        self.uploads.insert(
            format!("{session}.{secret}"),
            Upload {
                mailbox: self.mailbox.address.clone(),
                app: self.app.to_owned(),
                message,
                input: input.clone(),
                got: Vec::new(),
                expires,
            },
        );
        self.counters.upload_sessions += 1;
        Ok(Reply::json(
            201,
            &json!({
                "@odata.context": format!("{}/$metadata#microsoft.graph.uploadSession", self.show.root),
                "uploadUrl": url,
                "expirationDateTime": date::write(expires),
                "nextExpectedRanges": ["0-"],
            }),
        ))
    }

    /// One request to an upload URL.
    pub(super) fn upload(
        &mut self,
        session: &str,
        method: &http::Method,
        range: Option<&str>,
        body: &Bytes,
    ) -> Acted {
        let now = self.now;
        let gone = || Refusal::new(404, "ErrorItemNotFound", "The upload session was not found.");
        let upload = self.uploads.get_mut(session).filter(|u| u.expires > now).ok_or_else(gone)?;
        if *method == http::Method::DELETE {
            self.uploads.remove(session);
            return Ok(Reply::empty(204));
        }
        let expected = upload.got.len() as u64;
        match *method {
            http::Method::GET => return Ok(Reply::json(200, &upload.state())),
            http::Method::PUT => {}
            _ => return Err(Refusal::method()),
        }
        let (first, last, total) = range.and_then(content_range).ok_or_else(|| {
            Refusal::new(400, "ErrorInvalidRequest", "The Content-Range header is missing or malformed.")
        })?;
        if last - first + 1 != body.len() as u64 {
            return Err(Refusal::new(400, "ErrorInvalidRequest", "Content-Range and Content-Length differ."));
        }
        if self.options.upload_takes_again && total == upload.input.size && last < expected {
            return Ok(Reply::json(200, &upload.state()));
        }
        if total != upload.input.size || first != expected || last >= total {
            return Err(Refusal::new(
                416,
                "ErrorInvalidRange",
                format!("The range is not the one expected; the next one begins at {expected}."),
            ));
        }
        let before = upload.got.len();
        upload.got.extend_from_slice(body);
        if last + 1 < total {
            let mut reply = Reply::json(200, &upload.state());
            reply.kept = Some(Kept::Range { session: session.to_owned(), before });
            return Ok(reply);
        }
        let upload = self.uploads.remove(session).ok_or_else(gone)?;
        self.finish_upload(upload)
    }

    fn finish_upload(&mut self, upload: Upload) -> Acted {
        let item = self.mailbox.items.get(&upload.message).ok_or_else(Refusal::not_found)?;
        if item.folder == self.mailbox.recoverable() {
            return Err(Refusal::not_found());
        }
        if item.attachments.len() >= self.options.sizes.attachments {
            return Err(Refusal::new(400, "ErrorInvalidRequest", "There are too many attachments."));
        }
        if item.size() + upload.input.size > self.options.sizes.message {
            return Err(too_large());
        }
        self.room(upload.input.size)?;
        let message = item.id.text();
        let id = self.ids.draw::<OfAttachment>();
        let content = self.keep(Content::new(Bytes::from(upload.got)));
        let input = AttachmentInput {
            file: true,
            name: upload.input.name,
            content_type: upload.input.content_type,
            inline: upload.input.inline,
            content_id: upload.input.content_id,
            content_location: None,
            content: Content::default(),
        };
        let attachment = Attachment::new(id.clone(), &input, self.now, content);
        self.mailbox.update(upload.message, self.now, |item| item.attachments.push(attachment));
        self.counters.attachments += 1;
        let location = format!(
            "{}/api/v2.0/Users('{}')/Messages('{message}')/Attachments('{}')",
            self.upload_base,
            self.mailbox.guid,
            id.text()
        );
        let mut reply = Reply::empty(201).header("location", location);
        reply.kept = Some(Kept::Attachment {
            mailbox: self.mailbox.address.clone(),
            message: upload.message,
            id: id.text(),
        });
        Ok(reply)
    }
}

/// `bytes first-last/total`
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last).then_some((first, last, total))
}
