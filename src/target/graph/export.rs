//! An item exported as an opaque stream (`exportItems`), with its class.

use encodify::base64::STANDARD;
use http::Method;

use super::session::{Call, Session, segment, unreadable};
use super::stream_door::{Door, of_stream};
use crate::env::Step;
use crate::model::{Error, Kind, Result, Scope};
use crate::target::{CopyRef, Exported};
use crate::transform::json::Object;

/// What the stream of an export that was cut ends with.
const CUT: &[u8] = b"=== Truncated Data ===";

/// Exports one item.
pub(super) async fn export(session: &Session, door: &Door, copy: &CopyRef) -> Result<Exported> {
    let what = "exporting an item";
    let store = door.store(session).await?;
    let id = segment(&copy.id);
    let url = format!("{store}/folders/{}/items/{id}", segment(&copy.folder.0));
    let item = session.read_url(url, Step::TargetFind, what).await.map_err(of_stream)?;
    let class = item["type"].as_str().ok_or_else(|| unreadable(what))?.to_owned();
    let mut body = String::new();
    let mut object = Object::begin(&mut body);
    object.key("itemIds").push_str(&serde_json::json!([copy.id]).to_string());
    object.end();
    let url = format!("{store}/exportItems");
    let call = Call::to(Method::POST, url, body.into(), Step::TargetFind, what);
    let reply = session.insist(&session.lookup(), &call, &[200]).await.map_err(of_stream)?;
    let answer = reply.json().ok_or_else(|| unreadable(what))?;
    let one = answer.pointer("/value/0").ok_or_else(|| unreadable(what))?;
    if !one["error"].is_null() {
        return Err(Error::new(Kind::NotFound, Scope::Message, "the item cannot be exported"));
    }
    let octets = one["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
    let octets = octets.filter(|o| !o.is_empty()).ok_or_else(|| unreadable(what))?;
    if octets.ends_with(CUT) {
        let what = "exporting an item: the stream was cut by the target";
        return Err(Error::temporary(Kind::Protocol, Scope::Message, what));
    }
    Ok(Exported { class, octets: octets.into() })
}
