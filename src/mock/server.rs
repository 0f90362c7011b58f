//! The mocks on loopback TCP: HTTP/1.1, with TLS if wanted, and beside it a port that tells the truth.
//!
//! A request once read is acted on although its connection is lost: each is handled in a task of its own.

mod face;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::face::{Face, accept};
use super::ews::{EwsMock, EwsOptions};
use super::graph::{GraphMock, GraphOptions};
use super::{Wire, World};

/// How long a graceful stop waits for requests under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// The real world: the system's clock and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealWorld;

#[allow(clippy::disallowed_methods)] // the mock server is a world of its own: it has no `Env`
impl World for RealWorld {
    fn now(&self) -> i64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

/// A mock that can be served.
pub trait Served: Send + Sync + 'static {
    /// Takes one request and says what became of it. Its URI is absolute.
    fn take(self: Arc<Self>, request: http::Request<Bytes>) -> Pin<Box<dyn Future<Output = Wire> + Send>>;

    /// Answers on the port that tells the truth.
    fn tell(&self, method: &str, path: &str, body: &[u8]) -> http::Response<Bytes>;

    /// Writes its state, if it has a place for it.
    ///
    /// # Errors
    /// The state cannot be written.
    fn store(&self) -> Result<(), String>;
}

/// How to serve a Graph mock.
#[derive(Clone)]
pub struct ServeOptions {
    /// Where Graph listens; port 0: any.
    pub listen: SocketAddr,
    /// Serve TLS with a certificate made now; its authority's certificate is written to this file (PEM).
    pub tls: Option<PathBuf>,
    /// Keep the state in this directory.
    pub state: Option<PathBuf>,
    /// Where the truth is told; loopback only.
    pub truth: Option<SocketAddr>,
    /// The token the truth is told for; `None`: one is made, see [`ServerHandle::truth_token`].
    pub truth_token: Option<String>,
    /// What the tenant is like.
    pub graph: GraphOptions,
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            state: None,
            truth: None,
            truth_token: None,
            graph: GraphOptions::default(),
        }
    }
}

/// How to serve an EWS mock.
#[derive(Clone)]
pub struct EwsServeOptions {
    /// Where EWS listens; port 0: any.
    pub listen: SocketAddr,
    /// Serve TLS with a certificate made now; its authority's certificate is written to this file (PEM).
    pub tls: Option<PathBuf>,
    /// Keep the state in this directory.
    pub state: Option<PathBuf>,
    /// Where the truth is told; loopback only.
    pub truth: Option<SocketAddr>,
    /// The token the truth is told for; `None`: one is made, see [`ServerHandle::truth_token`].
    pub truth_token: Option<String>,
    /// What the server is like.
    pub ews: EwsOptions,
}

impl std::fmt::Debug for EwsServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EwsServeOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Default for EwsServeOptions {
    fn default() -> Self {
        EwsServeOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            state: None,
            truth: None,
            truth_token: None,
            ews: EwsOptions::default(),
        }
    }
}

/// A running server. Dropping it stops it at once, without saving; [`ServerHandle::stop`] stops it in good order.
pub struct ServerHandle<M = GraphMock> {
    addr: SocketAddr,
    tls: bool,
    truth: Option<(SocketAddr, String)>,
    mock: Arc<M>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl<M> std::fmt::Debug for ServerHandle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl<M: Served> ServerHandle<M> {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`.
    pub fn base_url(&self) -> String {
        if self.tls {
            format!("https://localhost:{}", self.addr.port())
        } else {
            format!("http://{}", self.addr)
        }
    }

    /// Where the truth is told, if it is.
    pub fn truth_addr(&self) -> Option<SocketAddr> {
        self.truth.as_ref().map(|(addr, _)| *addr)
    }

    /// The token the truth is told for. A secret of this process.
    pub fn truth_token(&self) -> Option<&str> {
        self.truth.as_ref().map(|(_, token)| token.as_str())
    }

    /// The mock served.
    pub fn mock(&self) -> &Arc<M> {
        &self.mock
    }

    /// Stops accepting, waits a few seconds for requests under way, saves the state.
    ///
    /// # Errors
    /// The state cannot be written.
    pub async fn stop(mut self) -> Result<(), String> {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut self.tasks);
        let patience = RealWorld.sleep(PATIENCE);
        tokio::select! {
            biased;
            () = async { while tasks.join_next().await.is_some() {} } => {}
            () = patience => {}
        }
        self.mock.store()
    }
}

/// Serves a Graph mock, and its truth if wanted.
///
/// # Errors
/// One line on what cannot be opened, read, bound or written.
pub async fn run_graph(options: ServeOptions) -> Result<ServerHandle, String> {
    let world: Arc<dyn World> = Arc::new(RealWorld);
    let mock = match &options.state {
        Some(dir) => GraphMock::open(dir, options.graph.clone(), world)?,
        None => GraphMock::new(options.graph.clone(), world),
    };
    let tls = options.tls.as_ref().map(tls_acceptor).transpose()?;
    let mut handle = serve(mock, options.listen, tls).await?;
    if let Some(addr) = options.truth {
        serve_truth(&mut handle, addr, options.truth_token).await?;
    }
    Ok(handle)
}

/// Serves an EWS mock, and its truth if wanted.
///
/// # Errors
/// One line on what cannot be opened, read, bound or written.
pub async fn run_ews(options: EwsServeOptions) -> Result<ServerHandle<EwsMock>, String> {
    let world: Arc<dyn World> = Arc::new(RealWorld);
    let mock = match &options.state {
        Some(dir) => EwsMock::open(dir, options.ews.clone(), world)?,
        None => EwsMock::new(options.ews.clone(), world),
    };
    let tls = options.tls.as_ref().map(tls_acceptor).transpose()?;
    let mut handle = serve(mock, options.listen, tls).await?;
    if let Some(addr) = options.truth {
        serve_truth(&mut handle, addr, options.truth_token).await?;
    }
    Ok(handle)
}

/// Serves a Graph mock at `listen`.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_graph(
    mock: Arc<GraphMock>,
    listen: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> Result<ServerHandle, String> {
    serve(mock, listen, tls).await
}

/// Serves any mock at `listen`.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve<M: Served>(
    mock: Arc<M>,
    listen: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
) -> Result<ServerHandle<M>, String> {
    let (listener, addr) = bind(listen).await?;
    let (stopping, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let secure = tls.is_some();
    let face = Face::Mock { mock: mock.clone(), scheme: if secure { "https" } else { "http" } };
    tasks.spawn(accept(listener, tls, Arc::new(face), stop));
    Ok(ServerHandle { addr, tls: secure, truth: None, mock, stopping, tasks })
}

/// Tells the truth of a served mock at `listen`, to who knows the token: `GET /truth`, `/counters`, `/faults`
/// (Graph also `/truth/ADDRESS`, of one mailbox, and `/pace`);
/// `POST /faults` (a script), `/save`, `/reset`, `/revoke`.
///
/// # Errors
/// The address cannot be bound or is not loopback.
pub async fn serve_truth<M: Served>(
    handle: &mut ServerHandle<M>,
    listen: SocketAddr,
    token: Option<String>,
) -> Result<(), String> {
    if !listen.ip().is_loopback() {
        return Err("the truth is told on loopback only: choose 127.0.0.1 or ::1".into());
    }
    let (listener, addr) = bind(listen).await?;
    let token = match token {
        Some(token) if !token.is_empty() => token,
        _ => random_token()?,
    };
    let face = Face::Truth { mock: handle.mock.clone(), token: token.clone() };
    handle.tasks.spawn(accept(listener, None, Arc::new(face), handle.stopping.subscribe()));
    handle.truth = Some((addr, token));
    Ok(())
}

/// A TLS acceptor with a fresh certificate for `localhost`, `127.0.0.1` and `::1`; its authority's certificate is
/// written to `ca_pem`.
///
/// # Errors
/// The certificate cannot be made or written.
pub fn tls_acceptor(ca_pem: &PathBuf) -> Result<tokio_rustls::TlsAcceptor, String> {
    let failed = |e: &dyn std::fmt::Display| format!("the mock's certificate: {e}");
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).map_err(|e| failed(&e))?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "mailwave mock authority");
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let key = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
    let issuer = rcgen::CertifiedIssuer::self_signed(authority, key).map_err(|e| failed(&e))?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut leaf = rcgen::CertificateParams::new(names).map_err(|e| failed(&e))?;
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
    let certificate = leaf.signed_by(&leaf_key, &issuer).map_err(|e| failed(&e))?;
    std::fs::write(ca_pem, issuer.pem()).map_err(|e| failed(&e))?;

    let key = rustls::pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).map_err(|e| failed(&e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|e| failed(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
}

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), String> {
    let failed = |e: std::io::Error| format!("cannot listen on {listen}: {e}");
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// 256 bits nobody can guess, in hexadecimal.
fn random_token() -> Result<String, String> {
    let mut bits = [0; 32];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bits).map_err(|e| format!("no randomness: {e:?}"))?;
    Ok(bits.iter().map(|b| format!("{b:02x}")).collect())
}
