//! A copy read back: its fields, and its octets as the service makes them from what it keeps.

use bytes::Bytes;
use http::Method;

use super::answer::Fault;
use super::find::expand;
use super::session::{Session, VALUE, query, segment};
use crate::env::Step;
use crate::model::{Result, Timestamp};
use crate::target::ReadBack;
use crate::target::dated::millis;
use crate::transform::graph::flags;

const WHAT: &str = "reading a message back";

pub(super) async fn read_back(session: &Session, id: &str) -> Result<ReadBack> {
    let id = segment(id);
    let fields = "receivedDateTime,isRead,isDraft,flag,categories";
    let path = format!("/messages/{id}?$select={fields}&$expand={}", query(&expand(session)));
    let message = session.read(&path, Step::TargetFind, WHAT).await.map_err(Fault::into_error)?;
    let path = format!("/messages/{id}{VALUE}");
    let call = session.call(Method::GET, &path, Bytes::new(), Step::TargetFind, WHAT);
    let reply = session.insist(&session.lookup(), &call, &[200]).await.map_err(Fault::into_error)?;
    let received = message["receivedDateTime"].as_str().and_then(millis);
    Ok(ReadBack {
        octets: reply.body,
        received: received.map(|ms| Timestamp::utc(ms.div_euclid(1000))),
        flags: flags::read(&message),
    })
}
