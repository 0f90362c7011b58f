//! The token endpoint: OAuth 2 client credentials by secret.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::ids::Ids;
use super::options::GraphOptions;
use super::reply::Reply;

/// Tokens given out.
#[derive(Default)]
pub(super) struct Tokens {
    /// Token → client id, end of life in milliseconds since 1970.
    given: BTreeMap<String, (String, i64)>,
}

impl Tokens {
    /// Answers a token request.
    pub(super) fn issue(
        &mut self,
        tenant: &str,
        body: &[u8],
        options: &GraphOptions,
        ids: &mut Ids,
        now: i64,
    ) -> Reply {
        if !options.tenants.is_empty() && !options.tenants.iter().any(|t| t.eq_ignore_ascii_case(tenant)) {
            return refused(400, "invalid_request", "AADSTS90002: Tenant not found.");
        }
        let form = form(body);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        if field("grant_type") != "client_credentials" {
            return refused(400, "unsupported_grant_type", "AADSTS70003: The grant type is not supported.");
        }
        if !field("scope").ends_with("/.default") {
            return refused(400, "invalid_scope", "AADSTS70011: The scope must end with '/.default'.");
        }
        let (id, secret) = (field("client_id"), field("client_secret"));
        let app = options.apps.iter().find(|a| a.client_id == id);
        if id.is_empty() || (app.is_none() && !options.apps.is_empty()) {
            return refused(400, "unauthorized_client", "AADSTS700016: The application was not found.");
        }
        if secret != app.map_or("secret", |a| a.client_secret.as_str()) {
            return refused(401, "invalid_client", "AADSTS7000215: Invalid client secret provided.");
        }
        self.given.retain(|_, (_, end)| *end > now);
        let token = format!("eyJ0eXAi.{}.{}", ids.text(400), ids.text(200));
        let end = now.saturating_add(i64::try_from(options.token_seconds).unwrap_or(i64::MAX / 1000) * 1000);
        self.given.insert(token.clone(), (id.to_owned(), end));
        Reply::json(
            200,
            &json!({
                "token_type": "Bearer",
                "expires_in": options.token_seconds,
                "ext_expires_in": options.token_seconds,
                "access_token": token,
            }),
        )
    }

    /// Whose token it is; `None` if it is unknown or has expired.
    pub(super) fn client(&self, token: &str, now: i64) -> Option<&str> {
        self.given.get(token).filter(|(_, end)| *end > now).map(|(id, _)| id.as_str())
    }

    /// Makes every token given so far invalid.
    pub(super) fn revoke(&mut self) {
        self.given.clear();
    }
}

fn refused(status: u16, error: &str, description: &str) -> Reply {
    let mut reply = Reply::json(status, &json!({"error": error, "error_description": description}));
    reply.code = Some(error.to_owned());
    reply
}

/// `application/x-www-form-urlencoded`
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let decode = |t: &str| percent_decode_str(&t.replace('+', " ")).decode_utf8_lossy().into_owned();
            Some((decode(name), decode(value)))
        })
        .collect()
}
