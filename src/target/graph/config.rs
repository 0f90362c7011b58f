//! Settings of one Graph endpoint.

use crate::http::check_url;
pub use crate::http::oauth::TokenSettings;
use crate::model::{Result, WriteMode};
use crate::transform::graph::{Bounds, Original};

/// One app registration of an endpoint.
#[derive(Debug, Clone)]
pub struct AppRegistration {
    /// A name that stays (its client id): it decides which mailboxes the app serves.
    pub name: String,
    /// Where its tokens come from.
    pub token: TokenSettings,
}

impl AppRegistration {
    /// The only one.
    pub fn only(token: TokenSettings) -> AppRegistration {
        AppRegistration { name: String::new(), token }
    }
}

/// Settings of one Graph endpoint (`[target.NAME]` with `kind = "graph"`).
#[derive(Debug, Clone)]
pub struct GraphSettings {
    /// The service with its version, without a slash at the end: `https://graph.microsoft.com/v1.0`.
    pub base_url: String,
    /// The app registrations, at least one. A mailbox stays on one of them ([`crate::limit::app_of`]).
    pub apps: Vec<AppRegistration>,
    /// The directory (tenant) every token must be for: its id, or a domain. `None`: whatever the first token says.
    pub tenant: Option<String>,
    /// Name of the endpoint, for messages to the operator.
    pub name: String,
    /// Messages larger than this are skipped before they are fetched, in bytes.
    pub max_message_bytes: u64,
    /// Stores at once per mailbox (1–4; Graph allows one app 4 requests at once per mailbox).
    pub lanes: usize,
    /// How messages are written: by the first of these that takes a message. At least one.
    pub modes: Vec<WriteMode>,
    /// Allow `http://` to any host. Without it plain HTTP goes to this machine only, because a token travels with
    /// every request.
    pub plain_http: bool,
    /// How large requests and files may be.
    pub bounds: Bounds,
    /// When the whole original is attached as a file.
    pub attach_original: Original,
    /// Hosts that import sessions may lie on, beside the service's own (write mode `import-stream`).
    pub import_hosts: Vec<String>,
}

impl GraphSettings {
    /// Settings with defaults for everything but the address and the token: one app, 150 MB messages, 4 lanes, JSON.
    pub fn new(base_url: impl Into<String>, token: TokenSettings) -> GraphSettings {
        GraphSettings {
            base_url: base_url.into(),
            apps: vec![AppRegistration::only(token)],
            tenant: None,
            name: "default".to_owned(),
            max_message_bytes: 150 << 20,
            lanes: 4,
            modes: vec![WriteMode::Json],
            plain_http: false,
            bounds: Bounds::default(),
            attach_original: Original::default(),
            import_hosts: vec!["outlook.office365.com".to_owned()],
        }
    }
}

/// The service's address, taken apart once.
#[derive(Debug, Clone)]
pub(super) struct Base {
    text: String,
    scheme: String,
    authority: String,
    path: String,
}

impl Base {
    /// Checks an address of the service or of the token endpoint.
    pub(super) fn parse(url: &str, plain_http: bool, what: &str) -> Result<Base> {
        let text = url.trim().trim_end_matches('/');
        let uri = check_url(url, plain_http, what)?;
        let (scheme, authority) =
            (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", http::uri::Authority::as_str));
        Ok(Base {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            authority: authority.to_ascii_lowercase(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The address without a slash at the end.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The service's beta, beside this version; `None` if the address names no version `v1.0`.
    pub(super) fn beta(&self) -> Option<String> {
        self.text.strip_suffix("/v1.0").map(|host| format!("{host}/beta"))
    }

    /// Does a link of the service stay on it? A token follows it, so it must.
    pub(super) fn owns(&self, link: &str) -> bool {
        link.parse::<http::Uri>().is_ok_and(|uri| {
            uri.scheme_str() == Some(self.scheme.as_str())
                && uri.authority().is_some_and(|a| a.as_str().eq_ignore_ascii_case(&self.authority))
                && (self.path.is_empty()
                    || uri.path().strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/')))
        })
    }

    /// May items be sent to this import session? Its address is on the service's own host or on one of `hosts`, over a wire
    /// no worse protected. (On this machine, where mocks are, any port is the service's own.)
    pub(super) fn lets_import(&self, address: &str, hosts: &[String]) -> bool {
        let Ok(uri) = address.parse::<http::Uri>() else { return false };
        let (Some(authority), Some(host)) = (uri.authority(), uri.host().map(str::to_ascii_lowercase)) else {
            return false;
        };
        if !self.as_safe(address) {
            return false;
        }
        if authority.as_str().eq_ignore_ascii_case(&self.authority) {
            return true;
        }
        let own = self.authority.parse::<http::uri::Authority>();
        let near = |host: &str| host == "localhost" || host == "[::1]" || host.starts_with("127.");
        if near(&host) && own.is_ok_and(|own| near(own.host())) {
            return true;
        }
        let usual_port = uri.port_u16().is_none_or(|port| port == 443);
        uri.scheme_str() == Some("https")
            && usual_port
            && hosts.iter().any(|known| known.eq_ignore_ascii_case(&host))
    }

    /// May octets of a message be sent to an upload URL? It lies on another host of the service, without a token, so
    /// the host is not checked, but the protection of the wire must not be less than the service's own.
    pub(super) fn as_safe(&self, upload_url: &str) -> bool {
        upload_url.parse::<http::Uri>().is_ok_and(|uri| {
            uri.authority().is_some_and(|a| !a.as_str().contains('@'))
                && (uri.scheme_str() == Some("https")
                    || (self.scheme == "http" && uri.scheme_str() == Some("http")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_only_on_the_service_itself() {
        let base = Base::parse("https://graph.example.org/v1.0/", false, "base_url").expect("valid");
        assert!(base.owns("https://GRAPH.example.org/v1.0/users/a/messages?$skip=10"));
        for foreign in [
            "https://graph.example.org.evil.org/v1.0/x",
            "http://graph.example.org/v1.0/x",
            "https://graph.example.org/v1.0evil/x",
            "https://graph.example.org:8443/v1.0/x",
            "/v1.0/x",
            "",
        ] {
            assert!(!base.owns(foreign), "{foreign}");
        }
        assert!(base.as_safe("https://outlook.example.org/upload?token=x"));
        assert!(!base.as_safe("http://outlook.example.org/upload"));
    }

    #[test]
    fn items_are_sent_to_known_hosts_only() {
        let hosts = ["outlook.example.org".to_owned()];
        let base = Base::parse("https://graph.example.org/v1.0", false, "base_url").expect("valid");
        for fine in [
            "https://outlook.example.org/api/gv1.0/importItem?authtoken=x",
            "https://OUTLOOK.example.org:443/import",
            "https://graph.example.org/import",
        ] {
            assert!(base.lets_import(fine, &hosts), "{fine}");
        }
        for foreign in [
            "http://outlook.example.org/import",
            "https://outlook.example.org.evil.org/import",
            "https://evil.org/outlook.example.org",
            "https://ann@outlook.example.org/import",
            "https://outlook.example.org:8443/import",
            "https://127.0.0.1/import",
            "http://graph.example.org/import",
            "/import",
            "",
        ] {
            assert!(!base.lets_import(foreign, &hosts), "{foreign}");
        }
        let mock = Base::parse("http://127.0.0.1:8080/v1.0", false, "base_url").expect("valid");
        assert!(mock.lets_import("http://127.0.0.1:9090/import", &[]));
        assert!(!mock.lets_import("http://outlook.example.org/import", &hosts));
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        for (url, fine) in [
            ("http://127.0.0.1:8080/v1.0", true),
            ("http://[::1]:8080/v1.0", true),
            ("http://localhost/v1.0", true),
            ("http://graph.example.org/v1.0", false),
            ("ftp://x/", false),
            ("https://user@x/", false),
            ("graph.example.org", false),
        ] {
            assert_eq!(Base::parse(url, false, "base_url").is_ok(), fine, "{url}");
        }
        assert!(Base::parse("http://graph.example.org/v1.0", true, "base_url").is_ok());
    }
}
