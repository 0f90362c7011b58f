//! MIME in and out. In: base64 of a whole message, checked as the service checks it. Out: a message made anew from
//! what is kept, which never equals what came in, as in life.

use bytes::Bytes;
use mail_parser::{MessageParser, MimeHeaders};

use super::date;
use super::input::{AttachmentInput, MessageInput};
use super::property::of_header;
use super::reply::Refusal;
use super::state::{Content, Item};
use crate::mock::service::mail::{addresses, clean, encoded, lines, recipients};

/// Reads the body of a MIME request.
pub(super) fn read(body: &[u8]) -> Result<MessageInput, Refusal> {
    let undeserializable = || Refusal::new(400, "UnableToDeserializePostBody", "were unable to deserialize ");
    // The service's base64 reader skips blanks and line ends, nothing else.
    let text: Vec<u8> = body.iter().copied().filter(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).collect();
    if text.is_empty() {
        return Err(undeserializable());
    }
    let octets = encodify::base64::STANDARD.decode(&text).map_err(|_| {
        Refusal::new(400, "ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.")
    })?;
    if octets.is_empty() || has_bare_line_end(&octets) {
        return Err(undeserializable());
    }
    let parsed = MessageParser::default().parse(&octets).ok_or_else(undeserializable)?;
    if parsed.headers().is_empty() {
        return Err(undeserializable());
    }
    let html = parsed.text_body.is_empty() || parsed.html_body.first() != parsed.text_body.first();
    let content = if html { parsed.body_html(0) } else { parsed.body_text(0) };
    let mut attachments = Vec::new();
    for part in parsed.attachments() {
        let content_type =
            part.content_type().map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap_or("octet-stream")));
        attachments.push(AttachmentInput {
            file: true,
            name: part.attachment_name().unwrap_or("attachment").to_owned(),
            content_type,
            inline: part.content_id().is_some(),
            content_id: part.content_id().map(str::to_owned),
            content_location: None,
            content: Content::new(Bytes::copy_from_slice(part.contents())),
        });
    }
    let sent = parsed
        .header_raw("Date")
        .and_then(date::read_mail)
        .or_else(|| parsed.date().map(|d| d.to_timestamp() * 1000));
    // Unknown fields become named properties.
    let properties = parsed
        .headers_raw()
        .filter(|(name, _)| name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-")))
        .filter_map(|(name, value)| Some((of_header(name)?, value.trim().to_owned())))
        .collect();
    Ok(MessageInput {
        properties,
        subject: Some(parsed.subject().map(str::to_owned)),
        body: Some((html, Content::new(Bytes::from(content.unwrap_or_default().into_owned())))),
        internet_message_id: parsed.message_id().map(|id| format!("<{id}>")),
        from: Some(recipients(parsed.from()).into_iter().next()),
        sender: Some(recipients(parsed.sender().or(parsed.from())).into_iter().next()),
        to: Some(recipients(parsed.to())),
        cc: Some(recipients(parsed.cc())),
        bcc: Some(recipients(parsed.bcc())),
        reply_to: Some(recipients(parsed.reply_to())),
        attachments,
        sent,
        raw: Some(Content::new(Bytes::from(octets))),
        ..MessageInput::default()
    })
}

/// A CR or LF that is not half of a CRLF.
fn has_bare_line_end(octets: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', octets).any(|at| match octets[at] {
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => octets.get(at + 1) != Some(&b'\n'),
    })
}

/// The message as MIME.
pub(super) fn write(item: &Item) -> Bytes {
    let mut out = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{name}: {}\r\n", encoded(&clean(value))));
        }
    };
    field("From", &addresses(item.from.as_deref().map_or(&[], std::slice::from_ref)));
    field("To", &addresses(&item.to));
    field("Cc", &addresses(&item.rare.cc));
    field("Subject", item.subject.as_deref().unwrap_or(""));
    field("Date", &date::write_mail(item.sent));
    field("Message-ID", &item.internet_message_id);
    for (name, id) in [("In-Reply-To", "String 0x1042"), ("References", "String 0x1039")] {
        field(name, item.property(id).as_deref().unwrap_or(""));
    }
    for (name, value) in &item.rare.headers {
        field(name, value);
    }
    out.push_str("MIME-Version: 1.0\r\n");
    let kind = if item.html { "text/html" } else { "text/plain" };
    let immutable = item.immutable.text();
    let boundary = format!("_000_{}_", immutable.get(8..32).unwrap_or(&immutable));
    let multipart = !item.attachments.is_empty();
    if multipart {
        out.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n"
        ));
    }
    out.push_str(&format!(
        "Content-Type: {kind}; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ));
    out.push_str(&lines(&item.body.octets()));
    for a in &item.attachments {
        let default = if a.file { "application/octet-stream" } else { "application/json" };
        let name = a.name.replace(['"', '\r', '\n'], "_");
        out.push_str(&format!(
            "--{boundary}\r\nContent-Type: {}; name=\"{}\"\r\nContent-Disposition: {}; filename=\"{}\"\r\n",
            a.content_type.as_deref().unwrap_or(default).replace(['\r', '\n'], " "),
            encoded(&name),
            if a.inline { "inline" } else { "attachment" },
            encoded(&name),
        ));
        if let Some(id) = a.content_id() {
            out.push_str(&format!("Content-ID: <{}>\r\n", id.replace(['\r', '\n'], " ")));
        }
        out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
        out.push_str(&lines(&a.content.octets()));
    }
    if multipart {
        out.push_str(&format!("--{boundary}--\r\n"));
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_ends_are_seen() {
        assert!(!has_bare_line_end(b"a\r\nb\r\n"));
        for bad in [&b"a\nb"[..], b"\n", b"a\rb", b"a\r"] {
            assert!(has_bare_line_end(bad), "{bad:?}");
        }
    }
}
