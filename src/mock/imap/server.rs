//! Listening on TCP, plain or with TLS from the first octet.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::{JoinHandle, JoinSet};

use super::ImapMock;
use super::wire::End;

/// A listening mock server. It stops when dropped.
#[derive(Debug)]
pub struct ImapServer {
    /// Where it listens.
    pub addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl ImapServer {
    /// Stops listening and drops all connections.
    pub fn stop(&self) {
        self.accepting.abort();
    }
}

impl Drop for ImapServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The server side of TLS for tests and demonstrations.
#[derive(Debug, Clone)]
pub struct SelfSigned {
    /// For [`ImapMock::listen`] or [`super::ImapOptions::starttls`].
    pub config: Arc<rustls::ServerConfig>,
    /// The certificate, which is its own authority, in PEM.
    pub pem: String,
}

impl SelfSigned {
    /// A fresh key and certificate for these names.
    ///
    /// # Errors
    /// Where a name cannot stand in a certificate.
    pub fn new(names: &[&str]) -> io::Result<SelfSigned> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .map_err(io::Error::other)?;
        Ok(SelfSigned { config: Arc::new(config), pem: made.cert.pem() })
    }
}

impl ImapMock {
    /// Listens at `addr` (port 0 takes any) and serves every connection, with TLS from the first octet if `tls` is given.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn listen(
        self: Arc<Self>,
        addr: impl ToSocketAddrs,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<ImapServer> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        // A server is a world of its own: real sockets do not run under virtual time.
        #[allow(clippy::disallowed_methods)]
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else {
                            // Too many descriptors, say: it passes.
                            self.world.sleep(Duration::from_millis(10)).await;
                            continue;
                        };
                        connections.spawn(self.clone().serve_tcp(stream, tls.clone()));
                    }
                }
            }
        });
        Ok(ImapServer { addr, accepting })
    }

    async fn serve_tcp(self: Arc<Self>, stream: TcpStream, tls: Option<Arc<rustls::ServerConfig>>) {
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        let (end, stream) = match tls {
            None => self.serve(stream, false).await,
            Some(config) => {
                let Ok(stream) = tokio_rustls::TlsAcceptor::from(config).accept(stream).await else { return };
                let (end, stream) = self.serve(stream, true).await;
                (end, stream.map(|s| s.into_inner().0))
            }
        };
        if let (End::Reset, Some(stream)) = (end, stream) {
            // RST instead of FIN when it is dropped. What the peer has not received by now is lost, as in life.
            let _ = stream.set_zero_linger();
        }
    }
}
