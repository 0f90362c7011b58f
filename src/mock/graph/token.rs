//! The token endpoint: OAuth 2 client credentials by secret, or by a signed assertion.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::json;

use super::assertion::{self, Seen};
use super::ids::Ids;
use super::options::{App, GraphOptions};
use super::reply::Reply;

/// Tokens given out.
#[derive(Default)]
pub(super) struct Tokens {
    /// Token → client id, end of life in milliseconds since 1970.
    given: BTreeMap<String, (String, i64)>,
    assertions: Seen,
}

/// Where a token was asked for.
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a str,
    /// The endpoint's address, as the client wrote it.
    pub(super) address: &'a str,
    pub(super) body: &'a [u8],
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

impl Tokens {
    /// Answers a token request.
    pub(super) fn issue(&mut self, asked: &Asked<'_>, options: &GraphOptions, ids: &mut Ids) -> Reply {
        let Asked { tenant, address, body, now } = *asked;
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
        let id = field("client_id");
        let app = options.apps.iter().find(|a| a.client_id == id);
        if id.is_empty() || (app.is_none() && !options.apps.is_empty()) {
            return refused(400, "unauthorized_client", "AADSTS700016: The application was not found.");
        }
        let proven = match (form.get("client_secret"), form.get("client_assertion")) {
            (Some(secret), None) => by_secret(secret, app),
            (None, Some(assertion)) if field("client_assertion_type") == JWT_BEARER => match app {
                Some(app) => assertion::check(assertion, app, address, now / 1000, &mut self.assertions),
                None => Err("AADSTS700027: The app has no certificate."),
            },
            _ => Err("AADSTS7000218: The request must hold either 'client_assertion' or 'client_secret'."),
        };
        if let Err(why) = proven {
            return refused(401, "invalid_client", why);
        }
        self.given.retain(|_, (_, end)| *end > now);
        let directory = options.tenant_id.as_deref().or(Some(tenant).filter(|t| t.len() == 36));
        let mut claims = json!({ "appid": id, "uti": ids.text(400) });
        if let Some(directory) = directory {
            claims["tid"] = json!(directory);
        }
        let usual = ["Mail.ReadWrite", "Mail-Advanced.ReadWrite.All"];
        let usual =
            || usual[..1 + usize::from(options.mail_advanced)].iter().map(ToString::to_string).collect();
        let roles = options.roles.clone().unwrap_or_else(usual);
        // An app without permissions has no such claim.
        if !roles.is_empty() {
            claims["roles"] = json!(roles);
        }
        let claims = encodify::base64::URL_SAFE_NO_PAD.encode(claims.to_string());
        let token = format!("eyJ0eXAiOiJKV1QifQ.{claims}.{}", ids.text(200));
        let end = now.saturating_add(options.scaled_seconds(options.token_seconds));
        let told = options.scaled_wait(options.token_seconds);
        self.given.insert(token.clone(), (id.to_owned(), end));
        Reply::json(
            200,
            &json!({
                "token_type": "Bearer",
                "expires_in": told,
                "ext_expires_in": told,
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

/// As RFC 7523 §2.2 names it.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn by_secret(secret: &str, app: Option<&App>) -> Result<(), &'static str> {
    let right = app.map_or("secret", |a| a.client_secret.as_str());
    if secret == right && !right.is_empty() {
        return Ok(());
    }
    Err("AADSTS7000215: Invalid client secret provided.")
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
