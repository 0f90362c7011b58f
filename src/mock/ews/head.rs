//! A request before its body is looked at.

use bytes::Bytes;
use http::Method;

use super::reply::Refusal;

/// What a client logs in with.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Basic(String, String),
    Bearer(String),
    /// Something the mock does not take.
    Other,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Ews,
    Token,
}

/// The head of a request.
pub(super) struct Head {
    pub(super) area: Area,
    pub(super) credentials: Credentials,
    /// `X-AnchorMailbox`, in lower case.
    pub(super) anchor: Option<String>,
}

impl Head {
    /// Reads it, or says what is wrong with it.
    pub(super) fn read(request: &http::Request<Bytes>) -> Result<Head, Refusal> {
        let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
        let path = request.uri().path().to_ascii_lowercase();
        let area = if path.trim_end_matches('/') == "/ews/exchange.asmx" {
            Area::Ews
        } else if path.ends_with("/oauth2/v2.0/token") {
            Area::Token
        } else {
            return Err(Refusal::Status(404));
        };
        if request.method() != Method::POST {
            return Err(Refusal::Status(405));
        }
        let kind = header("content-type").unwrap_or("").to_ascii_lowercase();
        let due = if area == Area::Ews { "text/xml" } else { "application/x-www-form-urlencoded" };
        if kind.split(';').next().map(str::trim) != Some(due) {
            return Err(Refusal::Status(415));
        }
        Ok(Head {
            area,
            credentials: credentials(header("authorization")),
            anchor: header("x-anchormailbox").map(|a| a.trim().to_lowercase()),
        })
    }
}

fn credentials(header: Option<&str>) -> Credentials {
    let Some((scheme, rest)) = header.and_then(|h| h.trim().split_once(' ')) else {
        return if header.is_some() { Credentials::Other } else { Credentials::None };
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Credentials::Bearer(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic")
        && let Ok(octets) = encodify::base64::STANDARD.decode(rest.trim())
        && let Ok(text) = String::from_utf8(octets)
        && let Some((name, password)) = text.split_once(':')
    {
        return Credentials::Basic(name.to_owned(), password.to_owned());
    }
    Credentials::Other
}
