//! The head of a request: who asks what of whom.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::reply::Refusal;

/// A request without its body.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: http::Method,
    pub(super) area: Area,
    /// As given, without the query: what faults match on.
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// `scheme://host[:port]`
    pub(super) base: String,
    pub(super) bearer: Option<String>,
    pub(super) has_authorization: bool,
    pub(super) content_type: Option<String>,
    pub(super) content_range: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) prefer: Prefer,
    pub(super) client_request_id: Option<String>,
}

/// Which part of the service is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Area {
    /// `/{tenant}/oauth2/v2.0/token`
    Token {
        tenant: String,
    },
    /// `/v1.0/$batch`
    Batch,
    /// `/v1.0/users/{user}/…`; the user of `/v1.0/me/…` is `me`, who is there only with a person's token.
    Mailbox {
        user: String,
        rest: Vec<String>,
        beta: bool,
    },
    /// An upload session's URL.
    Upload {
        session: String,
    },
    /// `/v1.0/admin/exchange/mailboxes/{id}/…`
    Store {
        id: String,
        rest: Vec<String>,
    },
    /// An import session's URL.
    Import {
        secret: String,
    },
    Unknown(String),
}

/// The `Prefer` header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    pub(super) immutable: bool,
    pub(super) text_body: bool,
    pub(super) page: Option<usize>,
}

impl Head {
    pub(super) fn read(request: &http::Request<Bytes>, base: Option<&str>) -> Result<Head, Refusal> {
        let header = |name: &str| {
            request.headers().get(name).and_then(|v| v.to_str().ok()).map(|v| v.trim().to_owned())
        };
        let uri = request.uri();
        let base = match (base, uri.scheme_str(), uri.authority()) {
            (Some(base), _, _) => base.trim_end_matches('/').to_owned(),
            (None, Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => format!("http://{}", header("host").unwrap_or_else(|| "graph.microsoft.com".into())),
        };
        let authorization = header("authorization");
        Ok(Head {
            method: request.method().clone(),
            area: area(uri.path(), uri.query())?,
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            base,
            has_authorization: authorization.is_some(),
            bearer: authorization
                .and_then(|a| a.split_once(' ').map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned())))
                .filter(|(kind, _)| kind == "bearer")
                .map(|(_, token)| token),
            content_type: header("content-type")
                .map(|t| t.split(';').next().unwrap_or("").trim().to_ascii_lowercase()),
            content_range: header("content-range"),
            if_match: header("if-match"),
            prefer: prefer(request),
            client_request_id: header("client-request-id"),
        })
    }

    /// Does the body count as an upload?
    pub(super) fn uploads(&self) -> bool {
        matches!(self.method, http::Method::POST | http::Method::PATCH | http::Method::PUT)
    }
}

fn area(path: &str, query: Option<&str>) -> Result<Area, Refusal> {
    let bad = || Refusal::new(400, "BadRequest", "The request path is not valid UTF-8.");
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/').skip(1) {
        let text: Cow<'_, str> = percent_decode_str(segment).decode_utf8().map_err(|_| bad())?;
        // `users('x')` is another way to write `users/x`.
        match text.strip_suffix("')").and_then(|t| t.split_once("('")) {
            Some((name, key)) if !text.contains('@') || !name.contains('@') => {
                segments.push(name.to_owned());
                segments.push(key.replace("''", "'"));
            }
            // A function without parameters may be called with or without parentheses.
            _ if text.ends_with("delta()") => segments.push("delta".to_owned()),
            _ => segments.push(text.into_owned()),
        }
    }
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    Ok(match words.as_slice() {
        [tenant, "oauth2", "v2.0", "token"] => Area::Token { tenant: (*tenant).to_owned() },
        ["v1.0" | "beta", "$batch"] => Area::Batch,
        [version @ ("v1.0" | "beta"), "users", user, rest @ ..] => Area::Mailbox {
            user: (*user).to_owned(),
            rest: rest.iter().map(|s| (*s).to_owned()).collect(),
            beta: *version == "beta",
        },
        [version @ ("v1.0" | "beta"), "me", rest @ ..] => Area::Mailbox {
            user: "me".to_owned(),
            rest: rest.iter().map(|s| (*s).to_owned()).collect(),
            beta: *version == "beta",
        },
        ["v1.0" | "beta", "admin", "exchange", "mailboxes", id, rest @ ..] => {
            Area::Store { id: (*id).to_owned(), rest: rest.iter().map(|s| (*s).to_owned()).collect() }
        }
        ["api", "gv1.0", "Mailboxes", _, "importItem"] => {
            let secret = query.and_then(|q| q.strip_prefix("authtoken=")).unwrap_or("");
            Area::Import { secret: secret.to_owned() }
        }
        ["api", "v2.0", .., "AttachmentSessions", session] => {
            let token = query.and_then(|q| q.strip_prefix("authtoken=")).unwrap_or("");
            Area::Upload { session: format!("{session}.{token}") }
        }
        ["v1.0" | "beta", other, ..] | [other, ..] => Area::Unknown((*other).to_owned()),
        [] => Area::Unknown(String::new()),
    })
}

fn prefer(request: &http::Request<Bytes>) -> Prefer {
    let mut prefer = Prefer::default();
    for value in request.headers().get_all("prefer").iter().filter_map(|v| v.to_str().ok()) {
        for part in value.split([',', ';']).map(str::trim) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "idtype" => prefer.immutable = value == "ImmutableId",
                "outlook.body-content-type" => prefer.text_body = value == "text",
                "odata.maxpagesize" => prefer.page = value.parse().ok().filter(|n| (1..=1000).contains(n)),
                _ => {}
            }
        }
    }
    prefer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_key_mean_the_same() {
        let a = area("/v1.0/users/a%40b.example/mailFolders/inbox", None).unwrap();
        let b = area("/v1.0/users('a@b.example')/mailFolders('inbox')", None).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn preferences_are_read() {
        let request = http::Request::builder()
            .uri("http://x/v1.0/users/u")
            .header("Prefer", "IdType=\"ImmutableId\", odata.maxpagesize=5")
            .body(Bytes::new())
            .unwrap();
        let head = Head::read(&request, None).unwrap();
        assert!(head.prefer.immutable);
        assert_eq!(head.prefer.page, Some(5));
    }
}
