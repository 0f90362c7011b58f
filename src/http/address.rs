//! Addresses of services, checked before a token or a message is sent to them.

use crate::model::{Error, Kind, Result, Scope};

/// Takes an address apart that the operator named: https, or http to this machine (`plain_http`: to any host), without a
/// login and without a query. `what` names it for errors.
///
/// # Errors
/// `Kind::Config`: it is none of these.
pub fn check_url(url: &str, plain_http: bool, what: &str) -> Result<http::Uri> {
    let wrong = |problem: &str| {
        Error::new(Kind::Config, Scope::Endpoint, format!("{what} {problem}"))
            .remedy("give an https:// address")
    };
    let text = url.trim().trim_end_matches('/');
    let uri: http::Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("is not a full URL"));
    };
    let host = authority.host().trim_matches(['[', ']']);
    let here = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme {
        "https" => {}
        "http" if here || plain_http => {}
        "http" => return Err(wrong("is plain HTTP; tokens would travel in the clear")),
        _ => return Err(wrong("is neither https nor http")),
    }
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(wrong("must hold neither a user name nor a query"));
    }
    Ok(uri)
}
