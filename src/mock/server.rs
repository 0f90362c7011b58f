//! The mocks on loopback TCP: HTTP/1.1, with TLS if wanted, and beside it a port that tells the truth.
//!
//! A request once read is acted on although its connection is lost: each is handled in a task of its own.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::graph::{Announced, FaultScript, GraphMock, GraphOptions};
use super::{Wire, World};

/// No request of any mock needs more octets; what is larger is refused without being kept.
const MAX_BODY: usize = 64 << 20;

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

/// How to serve a Graph mock.
#[derive(Debug, Clone)]
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

/// A running server. Dropping it stops it at once, without saving; [`ServerHandle::stop`] stops it in good order.
pub struct ServerHandle {
    addr: SocketAddr,
    tls: bool,
    truth: Option<(SocketAddr, String)>,
    mock: Arc<GraphMock>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerHandle").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl ServerHandle {
    /// Where Graph listens.
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
    pub fn mock(&self) -> &Arc<GraphMock> {
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
        self.mock.save()
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
    let mut handle = serve_graph(mock, options.listen, tls).await?;
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
    let (listener, addr) = bind(listen).await?;
    let (stopping, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let secure = tls.is_some();
    let face = Face::Graph { mock: mock.clone(), scheme: if secure { "https" } else { "http" } };
    tasks.spawn(accept(listener, tls, Arc::new(face), stop));
    Ok(ServerHandle { addr, tls: secure, truth: None, mock, stopping, tasks })
}

/// Tells the truth of a served mock at `listen`, to who knows the token: `GET /truth`, `/counters`, `/faults`;
/// `POST /faults` (a script), `/save`, `/reset`, `/revoke`.
///
/// # Errors
/// The address cannot be bound or is not loopback.
pub async fn serve_truth(
    handle: &mut ServerHandle,
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

/// What a port answers for.
enum Face {
    Graph { mock: Arc<GraphMock>, scheme: &'static str },
    Truth { mock: Arc<GraphMock>, token: String },
}

/// Accepts connections until told to stop, then lets those open finish what they are at.
async fn accept(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    face: Arc<Face>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let to_connection = stop.clone();
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                // An accept that fails (a client gone already, no descriptor left) is that client's trouble alone.
                let Ok((stream, _)) = accepted else { tokio::task::yield_now().await; continue };
                connections.spawn(connection(stream, tls.clone(), face.clone(), to_connection));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Returns when the server is to stop (or is gone).
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|s| *s).await;
}

async fn connection(
    stream: TcpStream,
    tls: Option<tokio_rustls::TlsAcceptor>,
    face: Arc<Face>,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(TokioIo::new(stream), face, stop).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(TokioIo::new(stream), face, stop).await;
            }
        }
    }
}

async fn serve<I>(io: I, face: Arc<Face>, mut stop: watch::Receiver<bool>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let service = service_fn(|request| answer(request, face.clone()));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        // A connection that fails is its client's trouble; the mock has counted what it read.
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Closes the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
struct Closed;

#[allow(clippy::disallowed_methods)] // see the module: a request outlives its connection
async fn answer(request: http::Request<Incoming>, face: Arc<Face>) -> Result<http::Response<Answer>, Closed> {
    let (mut head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => {
            return Ok(status(413));
        }
        Err(_) => return Err(Closed),
    };
    match &*face {
        Face::Truth { mock, token } => {
            let request = http::Request::from_parts(head, body);
            Ok(tell(mock, token, &request).map(Answer::whole))
        }
        Face::Graph { mock, scheme } => {
            let host = head.headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or("localhost");
            let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
            match format!("{scheme}://{host}{path}").parse() {
                Ok(uri) => head.uri = uri,
                Err(_) => return Ok(status(400)),
            }
            let mock = mock.clone();
            let request = http::Request::from_parts(head, body);
            match tokio::spawn(async move { mock.handle(request).await }).await {
                Ok(Wire::Answered(response)) => Ok(framed(response)),
                Ok(Wire::NeverArrived | Wire::NoAnswer) | Err(_) => Err(Closed),
            }
        }
    }
}

fn status(code: u16) -> http::Response<Answer> {
    let mut response = http::Response::new(Answer::whole(Bytes::new()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

/// The response as it goes out; one to be broken off announces more than it sends.
fn framed(response: http::Response<Bytes>) -> http::Response<Answer> {
    let announced = response.extensions().get::<Announced>().copied();
    match announced {
        None => response.map(Answer::whole),
        Some(Announced(length)) => {
            let mut response =
                response.map(|octets| Answer { octets: Some(octets), breaks_off: true, turns: 0 });
            response.headers_mut().insert("content-length", http::HeaderValue::from(length));
            response
        }
    }
}

/// A response's body.
struct Answer {
    octets: Option<Bytes>,
    breaks_off: bool,
    turns: u8,
}

impl Answer {
    fn whole(octets: Bytes) -> Answer {
        Answer { octets: Some(octets), breaks_off: false, turns: 0 }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.octets.take().filter(|o| !o.is_empty()) {
            Some(octets) => Poll::Ready(Some(Ok(Frame::data(octets)))),
            None if !self.breaks_off => Poll::Ready(None),
            // A few turns first, so that what was given is flushed before the connection breaks.
            None if self.turns < 3 => {
                self.turns += 1;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(Closed))),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.breaks_off && self.octets.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.breaks_off {
            SizeHint::new()
        } else {
            SizeHint::with_exact(self.octets.as_ref().map_or(0, |o| o.len() as u64))
        }
    }
}

/// Answers on the truth port.
fn tell(mock: &GraphMock, token: &str, request: &http::Request<Bytes>) -> http::Response<Bytes> {
    let given = request.headers().get("authorization").map(http::HeaderValue::as_bytes);
    if given.and_then(|g| g.strip_prefix(b"Bearer ".as_slice())) != Some(token.as_bytes()) {
        return plain(401, "the token is missing or wrong");
    }
    match (request.method().as_str(), request.uri().path()) {
        ("GET", "/truth") => json(&mock.truth()),
        ("GET", "/counters") => json(&mock.counters()),
        ("GET", "/faults") => json(&mock.fault_counts()),
        ("POST", "/faults") => match serde_json::from_slice::<FaultScript>(request.body()) {
            Ok(script) => {
                mock.faults(script);
                plain(204, "")
            }
            Err(e) => plain(400, &format!("not a fault script: {e}")),
        },
        ("POST", "/save") => match mock.save() {
            Ok(()) => plain(204, ""),
            Err(e) => plain(500, &e),
        },
        ("POST", "/reset") => {
            mock.reset();
            plain(204, "")
        }
        ("POST", "/revoke") => {
            mock.revoke_tokens();
            plain(204, "")
        }
        (_, "/truth" | "/counters" | "/faults" | "/save" | "/reset" | "/revoke") => plain(405, ""),
        _ => plain(404, ""),
    }
}

fn json<T: serde::Serialize>(value: &T) -> http::Response<Bytes> {
    match serde_json::to_vec(value) {
        Ok(octets) => {
            let mut response = http::Response::new(Bytes::from(octets));
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            response
        }
        Err(e) => plain(500, &e.to_string()),
    }
}

fn plain(code: u16, text: &str) -> http::Response<Bytes> {
    let mut response = http::Response::new(Bytes::copy_from_slice(text.as_bytes()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}
