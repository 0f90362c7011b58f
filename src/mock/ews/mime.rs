//! MIME in and out. In: a whole message, read as the service reads it. Out: a message made anew from what is kept,
//! which never equals what came in, as in life.

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders, PartType};

use super::date;
use super::reply::Fail;
use super::state::{AttachmentInput, Fields, Item};
use crate::mock::service::mail::{addresses, clean, encoded, lines, recipients};

/// What the octets of a message say.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) class: String,
    pub(super) fields: Fields,
    pub(super) sent: Option<i64>,
    pub(super) attachments: bool,
}

/// Reads a message.
pub(super) fn read(octets: &[u8]) -> Result<Parsed, Fail> {
    let invalid = || Fail::new("ErrorMimeContentInvalid", "The MIME content is invalid.");
    let parsed = MessageParser::default().parse(octets).ok_or_else(invalid)?;
    if parsed.headers().is_empty() {
        return Err(invalid());
    }
    let raw = |name: &str| parsed.header_raw(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let sent = raw("Date")
        .and_then(|v| date::read_mail(&v))
        .or_else(|| parsed.date().map(|d| d.to_timestamp() * 1000));
    let importance = match raw("Importance").or_else(|| raw("X-Priority")).map(|v| v.to_ascii_lowercase()) {
        Some(v) if v.starts_with("high") || v.starts_with('1') || v.starts_with('2') => "High",
        Some(v) if v.starts_with("low") || v.starts_with('4') || v.starts_with('5') => "Low",
        _ => "Normal",
    };
    Ok(Parsed {
        class: class(parsed.content_type()),
        sent,
        attachments: parsed.attachments().any(|p| p.content_id().is_none()),
        fields: Fields {
            subject: Some(parsed.subject().unwrap_or_default().to_owned()),
            importance: Some(importance.to_owned()),
            internet_message_id: parsed.message_id().map(|id| format!("<{id}>")),
            in_reply_to: raw("In-Reply-To"),
            references: raw("References"),
            from: recipients(parsed.from()).into_iter().next(),
            sender: recipients(parsed.sender().or(parsed.from())).into_iter().next(),
            to: Some(recipients(parsed.to())),
            cc: Some(recipients(parsed.cc())),
            bcc: Some(recipients(parsed.bcc())),
            reply_to: Some(recipients(parsed.reply_to())),
            read_receipt: Some(raw("Disposition-Notification-To").is_some()),
            ..Fields::default()
        },
    })
}

/// The class of item that a message's outermost type makes.
fn class(kind: Option<&mail_parser::ContentType<'_>>) -> String {
    let Some(kind) = kind else { return "IPM.Note".into() };
    let word = |text: Option<&str>| text.unwrap_or("").to_ascii_lowercase();
    let full = format!("{}/{}", kind.ctype().to_ascii_lowercase(), word(kind.subtype()));
    let report = word(kind.attribute("report-type"));
    match full.as_str() {
        "multipart/signed" => "IPM.Note.SMIME.MultipartSigned",
        "application/pkcs7-mime" | "application/x-pkcs7-mime" => "IPM.Note.SMIME",
        "multipart/report" if report == "delivery-status" => "REPORT.IPM.Note.NDR",
        "multipart/report" if report == "disposition-notification" => "REPORT.IPM.Note.IPNRN",
        _ => "IPM.Note",
    }
    .to_owned()
}

/// A message of what a client gave without MIME.
pub(super) fn compose(fields: &Fields, files: &[AttachmentInput], message_id: &str, now: i64) -> Bytes {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{name}: {}\r\n", encoded(&clean(value))));
        }
    };
    field("From", &addresses(fields.from.as_slice()));
    field("To", &addresses(fields.to.as_deref().unwrap_or_default()));
    field("CC", &addresses(fields.cc.as_deref().unwrap_or_default()));
    field("Subject", fields.subject.as_deref().unwrap_or(""));
    field("Date", &date::write_mail(now));
    field("Message-ID", fields.internet_message_id.as_deref().unwrap_or(message_id));
    field("In-Reply-To", fields.in_reply_to.as_deref().unwrap_or(""));
    field("References", fields.references.as_deref().unwrap_or(""));
    out.push_str("MIME-Version: 1.0\r\n");
    let (html, text) = fields.body.as_ref().map_or((false, ""), |(html, text)| (*html, text.as_str()));
    let boundary = "_000_mock_of_what_was_given_";
    if !files.is_empty() {
        let head = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n");
        out.push_str(&head);
    }
    let kind = if html { "text/html" } else { "text/plain" };
    let head =
        format!("Content-Type: {kind}; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    out.push_str(&head);
    out.push_str(&lines(text.as_bytes()));
    for file in files {
        let kind = file.content_type.as_deref().unwrap_or("application/octet-stream");
        let name = encoded(&clean(&file.name)).replace('"', "_");
        out.push_str(&format!(
            "--{boundary}\r\nContent-Type: {}; name=\"{name}\"\r\nContent-Disposition: {}; filename=\"{name}\"\r\n",
            clean(kind),
            if file.inline { "inline" } else { "attachment" },
        ));
        if let Some(id) = &file.content_id {
            out.push_str(&format!("Content-ID: <{}>\r\n", clean(id)));
        }
        out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        out.push_str(&lines(&file.content));
    }
    if !files.is_empty() {
        out.push_str(&format!("--{boundary}--\r\n"));
    }
    Bytes::from(out)
}

/// The header fields of a message, in order, unfolded; and where its body begins.
pub(super) fn headers(octets: &[u8]) -> (Vec<(String, String)>, usize) {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        let end = memchr::memchr(b'\n', &octets[at..]).map_or(octets.len(), |n| at + n + 1);
        let line = String::from_utf8_lossy(&octets[at..end]);
        let line = line.trim_end_matches(['\r', '\n']);
        at = end;
        if line.is_empty() {
            break;
        }
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (false, _, Some((name, value))) => fields.push((name.trim().to_owned(), value.trim().to_owned())),
            _ => {}
        }
    }
    (fields, at)
}

/// The fields that are written anew from what is kept.
const ANEW: &[&str] = &[
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "importance",
    "x-priority",
    "mime-version",
    "thread-topic",
    "x-ms-has-attach",
]; // rustfmt would give each a line

/// The message as MIME: its fields written anew and in the service's order, its body as it came.
pub(super) fn rebuild(item: &Item) -> Bytes {
    let octets = item.raw.octets();
    let (given, body) = headers(&octets);
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{name}: {}\r\n", encoded(&clean(value))));
        }
    };
    field("From", &addresses(item.from.as_slice()));
    if item.sender != item.from {
        field("Sender", &addresses(item.sender.as_slice()));
    }
    field("To", &addresses(&item.to));
    field("CC", &addresses(&item.cc));
    field("BCC", &addresses(&item.bcc));
    field("Reply-To", &addresses(&item.reply_to));
    field("Subject", &item.subject);
    field("Thread-Topic", &item.subject);
    field("Date", &date::write_mail(item.sent));
    field("Message-ID", &item.internet_message_id);
    field("References", item.references.as_deref().unwrap_or(""));
    field("In-Reply-To", item.in_reply_to.as_deref().unwrap_or(""));
    if item.importance != "Normal" {
        field("Importance", &item.importance);
    }
    field("X-MS-Has-Attach", if item.attachments { "yes" } else { "" });
    for (name, value) in &given {
        if !ANEW.contains(&name.to_ascii_lowercase().as_str()) {
            field(name, value);
        }
    }
    out.push_str("MIME-Version: 1.0\r\n\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(octets.get(body..).unwrap_or_default());
    Bytes::from(out)
}

/// The body: HTML or not, and the text. `html`: which is wanted; `None`: the best there is.
pub(super) fn body(item: &Item, html: Option<bool>) -> (bool, String) {
    let octets = item.raw.octets();
    let Some(parsed) = MessageParser::default().parse(&octets[..]) else { return (false, String::new()) };
    let first = parsed.html_body.first().and_then(|n| parsed.parts.get(usize::try_from(*n).ok()?));
    let has_html = first.is_some_and(|part| matches!(part.body, PartType::Html(_)));
    let html = html.unwrap_or(has_html);
    let text = if html { parsed.body_html(0) } else { parsed.body_text(0) };
    (html, text.unwrap_or_default().into_owned())
}
