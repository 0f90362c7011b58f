//! HTTP/1.1 over TCP and TLS (rustls with aws-lc-rs).
//!
//! HTTP/1.1 and not 2: uploads over one HTTP/2 connection cost about twice the CPU and share one flow-control window.
//! Redirects are off (a token or a message would follow them to another host), retries are off (only the caller knows
//! what may be sent twice). A proxy is used only if the environment names one (`HTTPS_PROXY`).

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{Exchange, HttpClient, HttpError};
use crate::env::Env;
use crate::model::{Error, Kind, Scope};

/// How to connect.
#[derive(Debug, Clone, Default)]
pub struct HttpsOptions {
    /// A PEM file with certificate authorities to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Bound of one connection attempt; `None` for 20 s.
    pub connect_timeout: Option<Duration>,
}

/// Connections kept open per host while idle: thousands of mailboxes share one target host.
const IDLE_PER_HOST: usize = 8_192;
/// How long an idle connection is kept; below what load balancers allow, so that we close first.
const IDLE_FOR: Duration = Duration::from_secs(50);

/// The real client. One per process and set of trusted authorities: it owns the connection pool.
#[derive(Debug)]
pub struct HttpsClient {
    env: Env,
    client: reqwest::Client,
}

impl HttpsClient {
    /// Makes a client with its own connection pool.
    ///
    /// # Errors
    /// The CA file cannot be read or holds no certificate.
    pub fn new(env: &Env, options: &HttpsOptions) -> Result<HttpsClient, Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("mailwave/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(options.connect_timeout.unwrap_or(Duration::from_secs(20)))
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_FOR)
            .tcp_keepalive(Duration::from_secs(30));
        if let Some(file) = &options.ca_file {
            builder = builder.tls_certs_merge(authorities(file)?);
        }
        let client = builder.build().map_err(|_| {
            Error::new(Kind::Tls, Scope::Run, "the TLS client could not be set up")
                .remedy("check the system's certificate store (package ca-certificates) and the CA file")
        })?;
        Ok(HttpsClient { env: env.clone(), client })
    }

    async fn exchange(
        &self,
        request: reqwest::Request,
        max: usize,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let mut response = self.client.execute(request).await.map_err(|e| judge(&e))?;
        let too_large =
            || HttpError::MayHaveBeenSent(lost(Kind::Protocol, "the answer is larger than allowed"));
        if response.content_length().is_some_and(|len| len > max as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > max => return Err(too_large()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => {
                    return Err(HttpError::MayHaveBeenSent(lost(
                        Kind::Unreachable,
                        "the connection was lost within the answer",
                    )));
                }
            }
        }
        let mut answer = http::Response::new(body.freeze());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

#[async_trait]
impl HttpClient for HttpsClient {
    async fn execute(
        &self,
        request: http::Request<Bytes>,
        exchange: &Exchange,
    ) -> Result<http::Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(|_| {
            HttpError::NotSent(Error::new(
                Kind::Config,
                Scope::Endpoint,
                "the target's address is not a valid URL",
            ))
        })?;
        match self.env.within(exchange.deadline, self.exchange(request, exchange.max_response)).await {
            Some(result) => result,
            None => Err(HttpError::MayHaveBeenSent(lost(Kind::Unreachable, "no answer within the deadline"))),
        }
    }
}

fn authorities(file: &PathBuf) -> Result<Vec<reqwest::Certificate>, Error> {
    let wrong = |what: String| {
        Error::new(Kind::Config, Scope::Endpoint, what)
            .remedy("`ca_file` must be a PEM file with CERTIFICATE blocks")
    };
    let pem = std::fs::read(file).map_err(|e| wrong(format!("the CA file cannot be read: {}", e.kind())))?;
    let list = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|_| wrong("the CA file is not valid PEM".to_owned()))?;
    if list.is_empty() {
        return Err(wrong("the CA file holds no certificate".to_owned()));
    }
    Ok(list)
}

fn lost(kind: Kind, what: &str) -> Error {
    Error::temporary(kind, Scope::Endpoint, what)
}

/// Was it sent? Only a failure to connect (name, TCP, TLS) proves that it was not. The text of a `reqwest` error holds
/// the URL, which may be a secret: it is never used.
fn judge(error: &reqwest::Error) -> HttpError {
    if let Some(tls) = tls_error(error) {
        let what = match tls {
            rustls::Error::InvalidCertificate(e) => {
                format!("the server's certificate is not trusted: {}", certificate(e))
            }
            _ => "the TLS handshake failed".to_owned(),
        };
        let failed = Error::new(Kind::Tls, Scope::Endpoint, what)
            .remedy("set `ca_file` to the authority that signed it, or have the certificate renewed");
        // TLS may also break later, on a connection that has carried the request.
        return if error.is_connect() {
            HttpError::NotSent(failed)
        } else {
            HttpError::MayHaveBeenSent(failed)
        };
    }
    if error.is_connect() {
        let what =
            if error.is_dns() { "the host name cannot be resolved" } else { "no connection to the server" };
        return HttpError::NotSent(
            lost(Kind::Unreachable, what).remedy("check the address, the network and the firewall"),
        );
    }
    if error.is_builder() {
        return HttpError::NotSent(Error::new(
            Kind::Config,
            Scope::Endpoint,
            "the request could not be built",
        ));
    }
    HttpError::MayHaveBeenSent(lost(Kind::Unreachable, "the connection was lost before the answer"))
}

fn certificate(error: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => "it has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "it is not valid yet",
        E::UnknownIssuer => "its issuer is unknown",
        E::NotValidForName | E::NotValidForNameContext { .. } => "it is for another name",
        E::Revoked => "it was revoked",
        _ => "it is not acceptable",
    }
}

/// The TLS error somewhere inside. An `io::Error` hides its content from `source`, so it is asked itself.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut at = error.source();
    for _ in 0..16 {
        let here = at?;
        if let Some(tls) = here.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        at = match here.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => match inner.downcast_ref::<rustls::Error>() {
                Some(tls) => return Some(tls),
                None if inner.is::<std::io::Error>() => Some(inner),
                None => inner.source(),
            },
            None => here.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answer: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        Env::system().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut seen = [0; 4096];
                let asked = socket.read(&mut seen).await.expect("read");
                assert!(asked > 0);
                socket.write_all(answer).await.expect("write");
            }
        });
        format!("http://{address}/secret-path?token=secret")
    }

    async fn get(url: &str, max_response: usize) -> Result<http::Response<Bytes>, HttpError> {
        let client = HttpsClient::new(&Env::system(), &HttpsOptions::default()).expect("client");
        let request = http::Request::get(url).body(Bytes::new()).expect("request");
        client.execute(request, &Exchange { deadline: Duration::from_secs(5), max_response }).await
    }

    #[tokio::test]
    async fn a_refused_connection_was_certainly_not_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}/secret", listener.local_addr().expect("address"));
        drop(listener);
        let error = get(&url, 100).await.expect_err("refused");
        assert!(
            matches!(&error, HttpError::NotSent(e) if e.kind == Kind::Unreachable && e.may_pass()),
            "{error:?}"
        );
        assert!(!error.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_connection_closed_without_an_answer_may_have_been_sent() {
        let error = get(&server(b"").await, 100).await.expect_err("no answer");
        assert!(matches!(&error, HttpError::MayHaveBeenSent(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[tokio::test]
    async fn an_answer_larger_than_allowed_is_an_error_whether_or_not_it_says_so() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
        ] {
            let url = server(answer).await;
            assert!(matches!(get(&url, 10).await, Err(HttpError::MayHaveBeenSent(_))));
            assert_eq!(get(&url, 11).await.expect("fits").body(), "hello world");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let url =
            server(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(get(&url, 10).await.expect("answer").status(), 307);
    }

    /// A TLS server with a certificate made for `localhost`; gives its port and the certificate.
    #[cfg(feature = "mock")]
    async fn tls_server(expired: bool) -> (u16, String) {
        let key = rcgen::KeyPair::generate().expect("key");
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("name");
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let certificate = params.self_signed(&key).expect("certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .expect("server");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        Env::system().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let mut seen = [0; 4096];
                assert!(socket.read(&mut seen).await.expect("read") > 0);
                socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("write");
            }
        });
        (port, certificate.pem())
    }

    #[cfg(feature = "mock")]
    #[tokio::test]
    async fn a_certificate_is_trusted_only_through_the_ca_file_and_while_it_is_valid() {
        for expired in [false, true] {
            let (port, pem) = tls_server(expired).await;
            let mut file = tempfile::NamedTempFile::new().expect("file");
            std::io::Write::write_all(&mut file, pem.as_bytes()).expect("write");
            for trusted in [true, false] {
                let ca_file = trusted.then(|| file.path().to_owned());
                let options = HttpsOptions { ca_file, connect_timeout: None };
                let client = HttpsClient::new(&Env::system(), &options).expect("client");
                let request = http::Request::get(format!("https://localhost:{port}/secret"))
                    .body(Bytes::new())
                    .expect("request");
                let result = client.execute(request, &Exchange::default()).await;
                if trusted && !expired {
                    assert_eq!(result.expect("an answer").body(), "ok");
                    continue;
                }
                let Err(HttpError::NotSent(error)) = result else { panic!("{result:?}") };
                assert_eq!((error.kind, error.may_pass()), (Kind::Tls, false), "{error}");
                assert!(error.remedy.contains("ca_file") && !format!("{error:?}").contains("secret"));
                assert!(!(trusted && expired) || error.what.contains("expired"), "{error}");
            }
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let options = HttpsOptions { ca_file: Some(file.path().to_owned()), connect_timeout: None };
        let error = HttpsClient::new(&Env::system(), &options).expect_err("empty");
        assert_eq!(error.kind, Kind::Config);
    }
}
