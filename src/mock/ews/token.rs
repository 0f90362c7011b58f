//! Who is asking: names and passwords, and tokens given for an app's secret.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::head::Credentials;
use super::ids::Ids;
use super::options::{EwsOptions, Scheme};
use super::reply::Reply;
use crate::mock::service::form;

/// Who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// What limits are counted for.
    pub(super) name: String,
    pub(super) impersonates: bool,
}

/// Tokens given out.
#[derive(Default)]
pub(super) struct Tokens {
    /// Token → client id, end of life in milliseconds since 1970.
    given: BTreeMap<String, (String, i64)>,
}

impl Tokens {
    /// Answers a token request.
    pub(super) fn issue(&mut self, body: &[u8], options: &EwsOptions, ids: &mut Ids, now: i64) -> Reply {
        let form = form::read(body);
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
        let token = format!("eyJ0eXAi.{}.{}", ids.text(400), ids.text(200)).replace(['+', '/'], "_");
        let life = options.scaled(options.token_seconds.saturating_mul(1000));
        let end = now.saturating_add(i64::try_from(life).unwrap_or(i64::MAX));
        self.given.insert(token.clone(), (id.to_owned(), end));
        json_reply(
            200,
            &json!({
                "token_type": "Bearer",
                "expires_in": life / 1000,
                "ext_expires_in": life / 1000,
                "access_token": token,
            }),
        )
    }

    /// Who it is; `None`: a challenge is due.
    pub(super) fn login(&self, given: &Credentials, options: &EwsOptions, now: i64) -> Option<Login> {
        match given {
            Credentials::Basic(name, password) if options.offers.contains(&Scheme::Basic) => {
                if options.accounts.is_empty() {
                    return (!name.is_empty() && password == "secret")
                        .then(|| Login { name: name.to_lowercase(), impersonates: true });
                }
                let account = options
                    .accounts
                    .iter()
                    .find(|a| a.name.eq_ignore_ascii_case(name) && a.password == *password)?;
                Some(Login { name: name.to_lowercase(), impersonates: account.impersonates })
            }
            Credentials::Bearer(token) if options.offers.contains(&Scheme::Bearer) => {
                let (id, _) = self.given.get(token).filter(|(_, end)| *end > now)?;
                Some(Login { name: id.clone(), impersonates: true })
            }
            _ => None,
        }
    }

    /// Makes every token given so far invalid.
    pub(super) fn revoke(&mut self) {
        self.given.clear();
    }
}

fn refused(status: u16, error: &str, description: &str) -> Reply {
    json_reply(status, &json!({"error": error, "error_description": description}))
}

fn json_reply(status: u16, value: &Value) -> Reply {
    Reply::text(status, "application/json; charset=utf-8", value.to_string())
}
