//! A copy read back: its fields, and its MIME as the server makes it.

use encodify::base64::STANDARD;

use super::answer::Fault;
use super::change::ids;
use super::find::told;
use super::session::Session;
use super::tree::Element;
use crate::env::Step;
use crate::model::{Result, Timestamp};
use crate::target::dated::millis;
use crate::target::{CopyRef, ReadBack};
use crate::transform::ews::props;
use crate::transform::xml;

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
