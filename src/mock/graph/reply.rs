//! What is sent back.

use bytes::Bytes;
use serde_json::{Value, json};

/// An answer before it is put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// The error's code, for the counters.
    pub(super) code: Option<String>,
    /// The message this request made: mailbox and number.
    pub(super) created: Option<(String, u64)>,
    /// What else it made and a lost write takes back.
    pub(super) kept: Option<Kept>,
}

/// What a request made beside messages.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// A range of an upload, which held so many octets before.
    Range { session: String, before: usize },
    /// A message's attachment.
    Attachment { mailbox: String, message: u64, id: String },
}

impl Reply {
    pub(super) fn json(status: u16, value: &Value) -> Reply {
        Reply {
            status,
            headers: vec![(
                "content-type",
                "application/json;odata.metadata=minimal;odata.streaming=true;charset=utf-8".into(),
            )],
            body: Bytes::from(value.to_string()),
            code: None,
            created: None,
            kept: None,
        }
    }

    pub(super) fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Bytes::new(), code: None, created: None, kept: None }
    }

    pub(super) fn octets(content_type: &str, body: Bytes) -> Reply {
        Reply {
            status: 200,
            headers: vec![("content-type", content_type.to_owned())],
            body,
            code: None,
            created: None,
            kept: None,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// The response with the headers every answer bears.
    pub(super) fn into_response(self, request_id: &str, client_request_id: &str) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::OK);
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            if let Ok(value) = http::HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        for (name, value) in [("request-id", request_id), ("client-request-id", client_request_id)] {
            if let Ok(value) = http::HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after: Option<u64>,
    /// What `Retry-After` says instead, word for word.
    pub(super) retry_text: Option<String>,
    /// Where to go instead.
    pub(super) location: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: message.into(),
            retry_after: None,
            retry_text: None,
            location: None,
        }
    }

    /// 400 for a body whose shape is wrong.
    pub(super) fn body(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "RequestBodyRead", message)
    }

    /// 400 for a query the service does not know.
    pub(super) fn query(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "RequestBroker--ParseUri", message)
    }

    /// 404 for an item or folder that is not there.
    pub(super) fn not_found() -> Refusal {
        Refusal::new(404, "ErrorItemNotFound", "The specified object was not found in the store.")
    }

    /// 404 for a path the service does not have.
    pub(super) fn no_such_path(segment: &str) -> Refusal {
        Refusal::new(404, "ResourceNotFound", format!("Resource not found for the segment '{segment}'."))
    }

    /// 405.
    pub(super) fn method() -> Refusal {
        Refusal::new(
            405,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        )
    }

    /// The error body of the service. `date` is RFC 3339 in UTC.
    pub(super) fn reply(&self, date: &str, request_id: &str) -> Reply {
        let mut reply = Reply::json(
            self.status,
            &json!({"error": {
                "code": self.code,
                "message": self.message,
                "innerError": {
                    "date": date.trim_end_matches('Z'),
                    "request-id": request_id,
                    "client-request-id": request_id,
                },
            }}),
        );
        reply.code = Some(self.code.clone());
        if let Some(location) = &self.location {
            reply = reply.header("location", location.as_str());
        }
        match self.retry_text.clone().or_else(|| self.retry_after.map(|s| s.to_string())) {
            Some(text) => reply.header("retry-after", text),
            None => reply,
        }
    }
}
