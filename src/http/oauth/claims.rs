//! What a token says of itself: for stopping at another tenant's, and for advice.
//!
//! The signature is not looked at: a token is opaque to the one who carries it (RFC 6749 §1.4), and a service may give
//! any other kind tomorrow. So nothing is ever allowed because of what stands here.

use std::collections::BTreeSet;

use encodify::base64::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Longest payload that is looked at, in bytes of its text.
const LONGEST: usize = 256 << 10;
/// Permissions that are told, and the longest name, in bytes.
const MOST_ROLES: usize = 256;
const LONGEST_WORD: usize = 100;

/// What a token says of itself; `None` where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The directory (`tid`), in lower case.
    pub tenant: Option<String>,
    /// The app's client id (`appid`, or `azp` of newer tokens).
    pub app: Option<String>,
    /// Application permissions (`roles`). `None` also where the app has none: then the claim is left out. Roles that
    /// Exchange gave an app (RBAC for Applications) never stand here.
    pub roles: Option<BTreeSet<String>>,
}

impl Claims {
    /// Reads a token that is a JWT (RFC 7519); any other says nothing.
    pub(super) fn of(token: &str) -> Claims {
        let Some(claims) = payload(token) else { return Claims::default() };
        let roles = claims["roles"].as_array().map(|all| {
            let all = all.iter().filter_map(Value::as_str).filter(|role| is_word(role));
            all.take(MOST_ROLES).map(str::to_owned).collect()
        });
        let word = |name: &str| claims[name].as_str().filter(|text| is_word(text)).map(str::to_owned);
        let tenant = claims["tid"].as_str().filter(|id| is_guid(id)).map(str::to_ascii_lowercase);
        Claims { tenant, app: word("appid").or_else(|| word("azp")), roles }
    }
}

fn payload(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || payload.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

pub(super) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// A name without a blank, as permissions and apps have.
fn is_word(text: &str) -> bool {
    (1..=LONGEST_WORD).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn a_token_tells_its_directory_its_app_and_its_permissions() {
        let (one, two) = ("11111111-2222-3333-4444-55555555555A", "99999999-2222-3333-4444-555555555555");
        let told = Claims::of(&token(&serde_json::json!({
            "tid": one, "azp": two, "roles": ["Mail.ReadWrite", "Mail-Advanced.ReadWrite.All", 7, "a b\u{1b}[31m"]
        })));
        assert_eq!(told.tenant.as_deref(), Some("11111111-2222-3333-4444-55555555555a"));
        assert_eq!(told.app.as_deref(), Some(two));
        let roles = ["Mail-Advanced.ReadWrite.All", "Mail.ReadWrite"].map(str::to_owned);
        assert_eq!(told.roles, Some(roles.into()), "what is no name of a permission is left out");
    }

    #[test]
    fn a_token_that_is_not_understood_says_nothing() {
        let long = token(&serde_json::json!({ "tid": "x".repeat(LONGEST) }));
        for text in ["", "opaque", "a.b.c", "a.b.c.d", "e30.e30.e30.e30", long.as_str()] {
            assert_eq!(Claims::of(text), Claims::default(), "{} octets", text.len());
        }
        assert_eq!(
            Claims::of(&token(&serde_json::json!({"tid": 5, "roles": "all", "appid": "m e"}))),
            Claims::default()
        );
    }
}
