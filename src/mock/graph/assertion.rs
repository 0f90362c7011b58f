//! Signed client assertions, checked strictly: by a registered certificate's key, or by a trusted issuer's.
//! Sources: RFC 7523 §3; Entra ID, "Certificate credentials" and "Workload identity federation".

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use encodify::base64::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::ParsedCertificate;
use serde_json::Value;

use super::options::App;

/// What the audience of a federated token must be.
const EXCHANGE: &str = "api://AzureADTokenExchange";
/// Clocks may differ by so much, in seconds.
const SKEW: i64 = 60;
/// Longest life of an assertion signed by the app itself, in seconds.
const LONGEST: i64 = 600;

/// Assertions taken so far: id → end of life in seconds since 1970.
pub(super) type Seen = BTreeMap<String, i64>;

/// Does this assertion prove that its sender is the app? `audience` is the token endpoint's address; `now` is in seconds.
pub(super) fn check(
    assertion: &str,
    app: &App,
    audience: &str,
    now: i64,
    seen: &mut Seen,
) -> Result<(), &'static str> {
    let malformed = "AADSTS50027: The JWT token is invalid or malformed.";
    let (signed, signature) = assertion.rsplit_once('.').ok_or(malformed)?;
    let (head, claims) = signed.split_once('.').ok_or(malformed)?;
    let part =
        |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
    let (head, claims) = (part(head).ok_or(malformed)?, part(claims).ok_or(malformed)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
    let text = |name: &str| claims[name].as_str().unwrap_or_default();
    let time = |name: &str| claims[name].as_i64();
    let by_app = text("iss") == app.client_id;
    let pem = if by_app {
        app.certificate.as_deref().ok_or("AADSTS700027: The certificate is not registered with the app.")?
    } else {
        let trusted = app.federated.as_ref().filter(|f| f.issuer == text("iss") && f.subject == text("sub"));
        &trusted.ok_or("AADSTS700213: No matching federated identity record found.")?.certificate
    };
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed)?;
    if by_app && !names(&head, &certificate) {
        return Err("AADSTS700027: The certificate with this thumbprint is not registered with the app.");
    }
    let algorithm = match head["alg"].as_str() {
        Some("PS256") => &RSA_PSS_2048_8192_SHA256,
        Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err("AADSTS5002738: The algorithm of the client assertion is not supported."),
    };
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| malformed)?;
    UnparsedPublicKey::new(algorithm, parsed.subject_public_key_info().as_ref())
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "AADSTS700027: The signature of the client assertion is not the key's.")?;
    let aud = text("aud");
    let meant = if by_app { same_endpoint(aud, audience) } else { aud == EXCHANGE };
    if !meant {
        return Err("AADSTS700212: The audience of the client assertion is not this endpoint.");
    }
    let end = time("exp").ok_or("AADSTS50027: The client assertion has no end.")?;
    if end + SKEW < now || time("nbf").is_some_and(|nbf| nbf > now + SKEW) {
        return Err("AADSTS700024: The client assertion is not within its valid time range.");
    }
    if !by_app {
        return Ok(()); // used again until it is replaced
    }
    if end > now + LONGEST + SKEW {
        return Err("AADSTS700024: The client assertion lives too long.");
    }
    if text("sub") != app.client_id {
        return Err("AADSTS700021: The client assertion's subject is not the app.");
    }
    seen.retain(|_, end| *end + SKEW >= now);
    if text("jti").is_empty() || seen.insert(text("jti").to_owned(), end).is_some() {
        return Err("AADSTS50027: The client assertion's id is missing or was used before.");
    }
    Ok(())
}

/// Does the assertion's header name this certificate?
fn names(head: &Value, certificate: &CertificateDer<'_>) -> bool {
    let is = |name: &str, algorithm| {
        let print = URL_SAFE_NO_PAD.encode(digest::digest(algorithm, certificate));
        head[name].as_str().map(|said| said.trim_end_matches('=') == print)
    };
    let (s256, s1) = (is("x5t#S256", &digest::SHA256), is("x5t", &digest::SHA1_FOR_LEGACY_USE_ONLY));
    s256.or(s1) == Some(true) && s256 != Some(false) && s1 != Some(false)
}

/// The address asked, or the service's own for the same tenant.
fn same_endpoint(said: &str, asked: &str) -> bool {
    let path =
        |url: &str| url.split_once("://").and_then(|(_, rest)| Some(rest.split_once('/')?.1.to_owned()));
    said == asked
        || (said.starts_with("https://login.microsoftonline.com/")
            && path(said).is_some()
            && path(said) == path(asked))
}
