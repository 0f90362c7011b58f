//! EWS settings as typed → as meant: secrets loaded, tokens wired to their endpoint.

use std::sync::Arc;

use super::oauth::token_settings;
use crate::config::{self, EwsVersion};
use crate::env::Env;
use crate::http::oauth::TokenSettings;
use crate::http::{HttpsClient, HttpsOptions};
use crate::limit::TargetLimits;
use crate::model::Result;
use crate::target::Target;
use crate::target::ews::{EwsLogin, EwsSettings, EwsTarget, Version};

/// A target.
///
/// # Errors
/// `Kind::Config`: a secret is missing, or an address is not usable.
pub(super) fn target(env: &Env, typed: &config::EwsSettings) -> Result<Arc<dyn Target>> {
    let login = match &typed.login {
        config::EwsLogin::Password { user, password } => {
            EwsLogin::Basic { user: user.clone(), password: password.load()? }
        }
        config::EwsLogin::Token(token) => EwsLogin::Token(TokenSettings::Static(token.load()?)),
        config::EwsLogin::OAuth(oauth) => EwsLogin::Token(token_settings(oauth)?),
    };
    let settings = EwsSettings {
        impersonation: typed.impersonation,
        version: match typed.version {
            EwsVersion::Exchange2013Sp1 => Version::Exchange2013Sp1,
            EwsVersion::Exchange2015 => Version::Exchange2015,
            EwsVersion::Exchange2016 => Version::Exchange2016,
        },
        max_message_bytes: typed.max_message,
        batch_messages: typed.batch_messages,
        batch_bytes: typed.batch_size,
        lanes: typed.lanes,
        max_connections: typed.max_connections,
        ..EwsSettings::new(typed.url.clone(), login)
    };
    let options = HttpsOptions { ca_file: typed.ca_file.clone(), connect_timeout: None };
    let http = Arc::new(HttpsClient::new(env, &options)?);
    Ok(Arc::new(EwsTarget::new(env, http, settings)?))
}

/// What may leave, when.
pub(super) fn limits(typed: &config::LimitSettings) -> TargetLimits {
    TargetLimits {
        requests: typed.requests,
        requests_window: typed.requests_per,
        upload_bytes: typed.upload,
        upload_window: typed.upload_per,
        concurrency: typed.at_once,
        app_requests_per_second: typed.rate,
        in_flight: typed.in_flight,
        start_spent: typed.start_spent,
        ..TargetLimits::default()
    }
}
