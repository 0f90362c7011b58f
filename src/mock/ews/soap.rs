//! The envelope of a request.

use super::call::Call;
use super::reply::{Fail, Refusal};
use super::schema::Violation;
use super::xml::{self, Element, Space};

/// A request understood.
#[derive(Debug)]
pub(super) struct Request {
    /// On whose behalf, in lower case.
    pub(super) impersonated: Option<String>,
    pub(super) call: Call,
}

const VERSIONS: &[&str] = &[
    "Exchange2007",
    "Exchange2007_SP1",
    "Exchange2009",
    "Exchange2010",
    "Exchange2010_SP1",
    "Exchange2010_SP2",
    "Exchange2012",
    "Exchange2013",
    "Exchange2013_SP1",
    "Exchange2015",
    "Exchange2016",
    "V2015_10_05",
    "V2016_01_06",
    "V2016_04_13",
    "V2016_07_13",
    "V2016_10_10",
    "V2017_01_07",
    "V2017_04_14",
    "V2017_07_11",
    "V2017_10_09",
    "V2018_01_08",
]; // rustfmt would give each a line

/// Reads a request's body.
pub(super) fn read(body: &[u8], sync_limit: usize) -> Result<Request, Refusal> {
    // What is no XML at all is answered by the web server, without a SOAP body.
    let text = std::str::from_utf8(body).map_err(|_| Refusal::Status(400))?;
    let root = xml::read(text).map_err(|_| Refusal::Status(400))?;
    if (root.space, root.name) != (Space::Soap, "Envelope") {
        return Err(Refusal::Status(400));
    }
    let soap = |name: &str| root.children.iter().find(|c| c.space == Space::Soap && c.name == name);
    let Some(body) = soap("Body") else { return Err(Refusal::Status(400)) };
    let [operation] = body.children.as_slice() else {
        return Err(Violation::of(body, "one operation is due").into());
    };
    let impersonated = match soap("Header") {
        Some(header) => read_header(header)?,
        None => None,
    };
    Ok(Request { impersonated, call: Call::read(operation, sync_limit)? })
}

fn read_header(header: &Element<'_>) -> Result<Option<String>, Refusal> {
    if let Some(version) = header.child("RequestServerVersion") {
        let known = version.attribute("Version").is_some_and(|v| VERSIONS.contains(&v));
        if version.space != Space::Types || !known {
            let text = "The request version is not one that the server knows.";
            return Err(Fail::new("ErrorInvalidServerVersion", text).into());
        }
    }
    let Some(impersonation) = header.child("ExchangeImpersonation") else { return Ok(None) };
    let id = impersonation.child("ConnectingSID").and_then(|sid| sid.children.first());
    match id {
        Some(id)
            if matches!(id.name, "PrimarySmtpAddress" | "SmtpAddress" | "PrincipalName")
                && id.space == Space::Types
                && !id.word().is_empty() =>
        {
            Ok(Some(id.word().to_lowercase()))
        }
        _ => Err(Violation::of(impersonation, "ConnectingSID with an address is due").into()),
    }
}
