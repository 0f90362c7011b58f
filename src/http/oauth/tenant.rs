//! Whose tokens are taken: those of one directory (tenant).
//!
//! A token of another directory opens other people's mailboxes, which may have the same names. What a token says of
//! itself is read without trusting it: it can only make us stop.

use std::sync::{Arc, Mutex, PoisonError};

use super::claims::{Claims, is_guid};
use crate::model::{Error, Kind, Result, Scope};

/// The one directory of an endpoint, shared by all its apps. Named by its id, or by a domain: then by the id in the first
/// token.
#[derive(Debug, Clone, Default)]
pub struct Tenant(Arc<Mutex<Option<String>>>);

impl Tenant {
    /// As the operator named it: an id (GUID) or a domain.
    pub fn named(tenant: Option<&str>) -> Tenant {
        let id = tenant.filter(|t| is_guid(t)).map(str::to_ascii_lowercase);
        Tenant(Arc::new(Mutex::new(id)))
    }

    /// Is this token of the directory? Tokens that say nothing pass.
    pub(super) fn check(&self, token: &str) -> Result<()> {
        let Some(id) = Claims::of(token).tenant else { return Ok(()) };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.as_deref() {
            None => *known = Some(id),
            Some(one) if one == id => {}
            Some(_) => {
                return Err(Error::new(
                    Kind::Auth,
                    Scope::Endpoint,
                    "the token is for another tenant (directory) than this endpoint's; nothing was sent with it",
                )
                .remedy("check `tenant` and every app's `client_id`, or take the token from the right directory"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use encodify::base64::URL_SAFE_NO_PAD;

    use super::*;

    const OURS: &str = "11111111-2222-3333-4444-555555555555";
    const THEIRS: &str = "99999999-2222-3333-4444-555555555555";

    fn token(tid: &str) -> String {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::json!({ "tid": tid }).to_string());
        format!("e30.{payload}.c2ln")
    }

    #[test]
    fn a_token_of_another_directory_is_refused_and_one_that_says_nothing_passes() {
        let tenant = Tenant::named(Some(&OURS.to_uppercase()));
        for fine in [token(OURS), token("no-id"), "opaque".into(), "a.b.c".into(), "a.b.c.d".into()] {
            assert_eq!(tenant.check(&fine), Ok(()), "{fine}");
        }
        let error = tenant.check(&token(THEIRS)).expect_err("another directory");
        assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Endpoint, false));
        assert!(!error.to_string().contains("9999"), "{error}");
    }

    #[test]
    fn apps_of_a_domain_must_agree_on_its_directory() {
        let tenant = Tenant::named(Some("contoso.onmicrosoft.com"));
        assert_eq!(tenant.check(&token(THEIRS)), Ok(()));
        assert_eq!(tenant.clone().check(&token(THEIRS)), Ok(()));
        assert!(tenant.clone().check(&token(OURS)).is_err());
    }
}
