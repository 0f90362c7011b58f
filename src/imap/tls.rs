//! TLS: rustls with the system's trust, and the operator's own authorities besides. There is no switch that accepts
//! a bad certificate.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use rustls_platform_verifier::Verifier;
use tokio::io::BufReader;
use tokio_rustls::TlsConnector;

use super::wire::Stream;
use crate::model::{Error, Kind, Result, Scope};

/// Octets read from the socket at once, in bytes; held for as long as the connection lives.
const READ: usize = 32 << 10;

/// A TLS client's settings. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Trusts the system's authorities and, besides, those in `ca_file` (PEM).
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate; the system has no authorities and no file was given.
    pub fn new(ca_file: Option<&Path>) -> Result<Tls> {
        let extra = match ca_file {
            Some(path) => authorities(path)?,
            None => Vec::new(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, provider.clone()).map_err(|_| {
            Error::new(Kind::Tls, Scope::Endpoint, "no certificate authorities to trust could be loaded")
                .remedy(
                    "install the system's CA certificates, or name your authority's PEM file as `ca_file`",
                )
        })?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::new(Kind::Internal, Scope::Run, "TLS could not be set up"))?
            .dangerous() // rustls's word for any verifier but its own; this one is the platform's
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Shakes hands with `host` over `stream`.
    ///
    /// # Errors
    /// The certificate or the handshake failed.
    pub(super) async fn wrap(&self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::new(Kind::Config, Scope::Endpoint, "the host's name is no name a certificate can be for")
                .remedy("write `host` as a DNS name or an IP address")
        })?;
        // rustls asks for 4 KiB at a time: one system call for each would cost more than the decryption.
        let stream = BufReader::with_capacity(READ, stream);
        match self.connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) => Err(explain(&e)),
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |what: &str| {
        Error::new(Kind::Config, Scope::Endpoint, format!("the file named as `ca_file` {what}"))
            .remedy("give a PEM file with your authority's certificate (BEGIN CERTIFICATE …)")
    };
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(certificates) if certificates.is_empty() => Err(failed("holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(failed("cannot be read")),
    }
}

/// A failed handshake in the operator's words.
fn explain(error: &std::io::Error) -> Error {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let Some(inner) = inner else {
        // The peer hung up: it may be restarting, or speak no TLS on this port.
        return Error::temporary(Kind::Tls, Scope::Endpoint, "the connection broke during the TLS handshake")
            .remedy("check `port` and `tls`: this port may not speak TLS at once");
    };
    let refused = |what: &str, remedy: &str| {
        Error::new(Kind::Tls, Scope::Endpoint, format!("the server's certificate {what}")).remedy(remedy)
    };
    match inner {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => refused(
                "has expired",
                "renew it on the server; if it is issued by your own authority, `ca_file` must name the one that signed the new one",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                refused("is not valid yet", "check this machine's clock and the certificate's dates")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                refused("is for another host name", "write `host` as the certificate names it")
            }
            CertificateError::UnknownIssuer => refused(
                "is not issued by an authority this machine trusts",
                "name your authority's PEM file as `ca_file`",
            ),
            // An authority of that name is trusted, and it is not the one that signed this.
            CertificateError::BadSignature => refused(
                "is not signed by the authority it names",
                "somebody else may answer here; if the authority's key was renewed, name its new PEM file as `ca_file`",
            ),
            CertificateError::Revoked => refused("has been revoked", "replace it on the server"),
            _ => refused(
                "was refused",
                "replace it on the server, or name the PEM file of its authority as `ca_file`",
            ),
        },
        rustls::Error::InvalidMessage(_) => {
            Error::new(Kind::Tls, Scope::Endpoint, "the server does not speak TLS on this port")
                .remedy("check `port`, or set `tls = \"starttls\"`")
        }
        _ => Error::new(Kind::Tls, Scope::Endpoint, "the TLS handshake failed")
            .remedy("the server must offer TLS 1.2 or 1.3 with a modern cipher"),
    }
}
