//! The token endpoint: OAuth 2 client credentials by secret, or by a signed assertion; a person's by name and the
//! password `secret`.

use std::collections::BTreeMap;

use serde_json::json;

use super::assertion::{self, Seen};
use super::ids::Ids;
use super::options::{App, GraphOptions};
use super::reply::Reply;
use crate::mock::service::form;

/// Tokens given out.
#[derive(Default)]
pub(super) struct Tokens {
    given: BTreeMap<String, Given>,
    assertions: Seen,
}

/// A token: whose it is, and until when.
struct Given {
    app: String,
    /// The person who signed in, if one did.
    user: Option<String>,
    /// The resource an app's token is for.
    audience: Option<String>,
    /// Milliseconds since 1970.
    end: i64,
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
        let form = form::read(body);
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        // A person signs in with name and password, which the platform knows as a flow for trials.
        let person =
            Some(field("username")).filter(|name| field("grant_type") == "password" && !name.is_empty());
        if field("grant_type") != "client_credentials" && person.is_none() {
            return refused(400, "unsupported_grant_type", "AADSTS70003: The grant type is not supported.");
        }
        if person.is_none() && !field("scope").ends_with("/.default") {
            return refused(400, "invalid_scope", "AADSTS70011: The scope must end with '/.default'.");
        }
        let id = field("client_id");
        let app = options.apps.iter().find(|a| a.client_id == id);
        if id.is_empty() || (app.is_none() && !options.apps.is_empty()) {
            return refused(400, "unauthorized_client", "AADSTS700016: The application was not found.");
        }
        let proven = match (form.get("client_secret"), form.get("client_assertion")) {
            _ if person.is_some() => match field("password") {
                "secret" => Ok(()),
                _ => Err("AADSTS50126: Invalid username or password."),
            },
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
        self.given.retain(|_, given| given.end > now);
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
        let audience = field("scope").strip_suffix("/.default").map(str::to_owned);
        let given = Given { app: id.to_owned(), user: person.map(str::to_lowercase), audience, end };
        self.given.insert(token.clone(), given);
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
        self.given.get(token).filter(|given| given.end > now).map(|given| given.app.as_str())
    }

    /// The person a token was given to; `None`: it is an app's own.
    pub(super) fn user(&self, token: &str) -> Option<&str> {
        self.given.get(token)?.user.as_deref()
    }

    /// Is it for another resource than `audience`?
    pub(super) fn is_for_another(&self, token: &str, audience: Option<&str>) -> bool {
        let given = self.given.get(token).and_then(|given| given.audience.as_deref());
        matches!((audience, given), (Some(audience), Some(given)) if !audience.eq_ignore_ascii_case(given))
    }

    /// Makes one token invalid.
    pub(super) fn end(&mut self, token: &str) {
        self.given.remove(token);
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
