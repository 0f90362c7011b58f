//! What is sent back: SOAP envelopes, faults, and answers below them.

use std::borrow::Cow;

use bytes::Bytes;

use super::schema::Violation;
use super::xml::{self, escaped};

/// An answer before it is put on the wire.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// The messages this request made: mailbox and number.
    pub(super) created: Vec<(String, u64)>,
}

impl Reply {
    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Bytes::new(), created: Vec::new() }
    }

    pub(super) fn text(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        let headers = vec![("content-type", content_type.to_owned())];
        Reply { status, headers, body: body.into(), created: Vec::new() }
    }

    /// A SOAP answer.
    pub(super) fn soap(status: u16, body: &str) -> Reply {
        let envelope = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{}\"><s:Header>\
             <h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" MajorBuildNumber=\"2507\" \
             MinorBuildNumber=\"39\" Version=\"V2017_07_11\" xmlns:h=\"{}\"/></s:Header><s:Body>{body}</s:Body>\
             </s:Envelope>",
            xml::SOAP,
            xml::TYPES
        );
        Reply::text(status, "text/xml; charset=utf-8", envelope)
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// The response with the headers every answer bears.
    pub(super) fn into_response(self, request_id: &str) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::OK);
        let headers = response.headers_mut();
        for (name, value) in self.headers {
            if let Ok(value) = http::HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
        if let Ok(value) = http::HeaderValue::from_str(request_id) {
            headers.insert("request-id", value);
        }
        response
    }
}

/// Why something is not done: a code of the service, words for people, and values for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fail {
    pub(super) code: Cow<'static, str>,
    pub(super) text: String,
    pub(super) values: Vec<(&'static str, String)>,
}

impl Fail {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Fail {
        Fail { code: code.into(), text: text.into(), values: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Fail {
        self.values.push((name, value.into()));
        self
    }

    pub(super) fn not_found() -> Fail {
        Fail::new("ErrorItemNotFound", "The specified object was not found in the store.")
    }

    pub(super) fn no_folder() -> Fail {
        Fail::new("ErrorFolderNotFound", "The specified folder could not be found in the store.")
    }

    /// `ErrorServerBusy`, with the wait in milliseconds.
    pub(super) fn busy(wait_ms: u64) -> Fail {
        Fail::new("ErrorServerBusy", "The server cannot service this request right now. Try again later.")
            .with("BackOffMilliseconds", wait_ms.to_string())
    }

    /// The service's way to say something that has no code of its own in an answer.
    pub(super) fn wrapped(inner: &Fail) -> Fail {
        let mut fail = Fail::new(
            "ErrorInternalServerError",
            "An internal server error occurred. The operation failed., ",
        )
        .with("InnerErrorMessageText", inner.text.clone())
        .with("InnerErrorResponseCode", inner.code.clone())
        .with("InnerErrorDescriptiveLinkKey", "0");
        fail.values.extend(inner.values.iter().cloned());
        fail
    }

    /// The batch's time is over.
    pub(super) fn stopped() -> Fail {
        Fail::new(
            "ErrorBatchProcessingStopped",
            "The processing of the batch was stopped. No further items were processed.",
        )
    }

    /// Only a warning: nothing was tried.
    pub(super) fn class(&self) -> &'static str {
        if self.code == "ErrorBatchProcessingStopped" { "Warning" } else { "Error" }
    }

    /// What stands for it in a response message.
    pub(super) fn xml(&self) -> String {
        let mut out = format!(
            "<m:MessageText>{}</m:MessageText><m:ResponseCode>{}</m:ResponseCode>\
             <m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>",
            escaped(&self.text),
            self.code
        );
        if !self.values.is_empty() {
            out.push_str(&format!("<m:MessageXml>{}</m:MessageXml>", self.values_xml()));
        }
        out
    }

    fn values_xml(&self) -> String {
        let value = |(name, value): &(&str, String)| {
            format!("<t:Value xmlns:t=\"{}\" Name=\"{name}\">{}</t:Value>", xml::TYPES, escaped(value))
        };
        self.values.iter().map(value).collect()
    }
}

/// A request that gets no answer of its operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An HTTP status without a SOAP body.
    Status(u16),
    /// A challenge to log in.
    Challenge,
    /// It is not of the schema.
    Schema(Violation),
    /// A SOAP fault.
    Fault(Fail),
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Refusal {
        Refusal::Schema(violation)
    }
}

impl From<Fail> for Refusal {
    fn from(fail: Fail) -> Refusal {
        Refusal::Fault(fail)
    }
}

impl Refusal {
    /// What a correct client never provokes, by kind.
    pub(super) fn violation(&self) -> Option<String> {
        match self {
            Refusal::Status(status @ (400 | 404 | 405 | 413 | 415)) => Some(format!("HTTP {status}")),
            Refusal::Schema(_) => Some("ErrorSchemaValidation".into()),
            _ => None,
        }
    }
}

/// A SOAP fault of the service: always 500.
pub(super) fn fault(fail: &Fail) -> Reply {
    let detail = if fail.values.is_empty() {
        String::new()
    } else {
        format!("<t:MessageXml xmlns:t=\"{}\">{}</t:MessageXml>", xml::TYPES, fail.values_xml())
    };
    raw_fault(&fail.code, &fail.text, &detail)
}

/// The fault of a request that is not of the schema. `body`: to tell the line.
pub(super) fn schema_fault(violation: &Violation, body: &[u8]) -> Reply {
    let before = body.get(..violation.at.min(body.len())).unwrap_or_default();
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let position = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    let detail = format!(
        "<t:MessageXml xmlns:t=\"{}\"><t:LineNumber>{line}</t:LineNumber><t:LinePosition>{position}</t:LinePosition>\
         <t:Violation>{}</t:Violation></t:MessageXml>",
        xml::TYPES,
        escaped(&violation.text)
    );
    let text = format!("The request failed schema validation: {}", violation.text);
    raw_fault("ErrorSchemaValidation", &text, &detail)
}

fn raw_fault(code: &str, text: &str, detail: &str) -> Reply {
    let text = escaped(text);
    let body = format!(
        "<s:Fault><faultcode xmlns:a=\"{0}\">a:{code}</faultcode><faultstring xml:lang=\"en-US\">{text}</faultstring>\
         <detail><e:ResponseCode xmlns:e=\"{1}\">{code}</e:ResponseCode><e:Message xmlns:e=\"{1}\">{text}</e:Message>\
         {detail}</detail></s:Fault>",
        xml::TYPES,
        xml::ERRORS
    );
    Reply::soap(500, &body)
}

/// An operation's answer: one response message for each thing asked for. `inside`: what a message that failed bears
/// all the same (`<m:Items/>`).
pub(super) fn messages(operation: &str, results: &[Result<String, Fail>], inside: &str) -> Reply {
    let mut body = format!(
        "<m:{operation}Response xmlns:m=\"{}\" xmlns:t=\"{}\"><m:ResponseMessages>",
        xml::MESSAGES,
        xml::TYPES
    );
    for result in results {
        match result {
            Ok(xml) => body.push_str(&format!(
                "<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                 {xml}</m:{operation}ResponseMessage>"
            )),
            Err(fail) => body.push_str(&format!(
                "<m:{operation}ResponseMessage ResponseClass=\"{}\">{}{inside}</m:{operation}ResponseMessage>",
                fail.class(),
                fail.xml()
            )),
        }
    }
    body.push_str(&format!("</m:ResponseMessages></m:{operation}Response>"));
    Reply::soap(200, &body)
}
