//! A copy read back: its fields, and its MIME as the server makes it; or all of it as the stream the server exports.

use encodify::base64::STANDARD;

use super::answer::Fault;
use super::change::ids;
use super::find::told;
use super::session::Session;
use super::tree::Element;
use crate::env::Step;
use crate::model::{Result, Timestamp};
use crate::target::dated::millis;
use crate::target::{CopyRef, Exported, ReadBack};
use crate::transform::ews::{props, stream};
use crate::transform::xml;

const EXPORT: &str = "exporting an item";

pub(super) async fn read_back(session: &Session, copy: &CopyRef) -> Result<ReadBack> {
    let call = session.call("GetItem", "", Step::TargetFind, "reading a message back", |out| {
        out.push_str(
            "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent>\
             <t:AdditionalProperties>",
        );
        for field in ["item:Categories", "item:IsDraft", "item:DateTimeReceived", "message:IsRead"] {
            xml::empty(out, "t:FieldURI", &[("FieldURI", field)]);
        }
        for property in [props::FLAG_STATUS, props::LAST_VERB] {
            property.uri(out);
        }
        out.push_str("</t:AdditionalProperties></m:ItemShape>");
        ids(out, &[copy]);
    });
    session.one(&call, read).await.map_err(Fault::into_error)
}

fn read(message: Element<'_>) -> Option<ReadBack> {
    let item = message.child("Items")?.children().next()?;
    let mut mime = item.child("MimeContent")?.whole_text().to_owned();
    mime.retain(|c| !c.is_ascii_whitespace());
    let received = item.child("DateTimeReceived").map(Element::text).and_then(millis);
    Some(ReadBack {
        octets: STANDARD.decode(&mime).ok()?.into(),
        received: received.map(|ms| Timestamp::utc(ms.div_euclid(1000))),
        flags: told(item).flags(),
    })
}

/// Exports a copy.
///
/// # Errors
/// An export that the server cut short is a temporary one.
pub(super) async fn export(session: &Session, copy: &CopyRef) -> Result<Exported> {
    let call = session.call("GetItem", "", Step::TargetFind, EXPORT, |out| {
        out.push_str("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
        xml::empty(out, "t:FieldURI", &[("FieldURI", "item:ItemClass")]);
        out.push_str("</t:AdditionalProperties></m:ItemShape>");
        ids(out, &[copy]);
    });
    let class = session.one(&call, class).await.map_err(Fault::into_error)?;
    let call = session.call("ExportItems", "", Step::TargetFind, EXPORT, |out| ids(out, &[copy]));
    let octets = session.one(&call, data).await.map_err(Fault::into_error)?;
    if stream::is_cut(&octets) {
        return Err(stream::cut_short(EXPORT));
    }
    Ok(Exported { class, octets: octets.into() })
}

fn class(message: Element<'_>) -> Option<String> {
    let item = message.child("Items")?.children().next()?;
    item.child("ItemClass").map(|class| class.text().to_owned())
}

/// The octets of an export. The mark of one that was cut may stand in them, or bare behind the base64.
fn data(message: Element<'_>) -> Option<Vec<u8>> {
    let mut text = message.child("Data")?.whole_text().to_owned();
    if stream::is_cut(text.as_bytes()) {
        return Some(text.into_bytes());
    }
    text.retain(|c| !c.is_ascii_whitespace());
    STANDARD.decode(&text).ok()
}
