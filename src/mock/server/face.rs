//! What the ports say and how: connections, requests, answers, and answers that break off.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::mock::Wire;
use crate::mock::ews::EwsMock;
use crate::mock::graph::GraphMock;
use crate::mock::server::Served;
use crate::mock::service::Announced;

/// No request of any mock needs more octets; what is larger is refused without being kept.
const MAX_BODY: usize = 64 << 20;

/// What a port answers for.
pub(super) enum Face<M> {
    Mock { mock: Arc<M>, scheme: &'static str },
    Truth { mock: Arc<M>, token: String },
}

/// Accepts connections until told to stop, then lets those open finish what they are at.
pub(super) async fn accept<M: Served>(
    listener: TcpListener,
    tls: Option<tokio_rustls::TlsAcceptor>,
    face: Arc<Face<M>>,
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

async fn connection<M: Served>(
    stream: TcpStream,
    tls: Option<tokio_rustls::TlsAcceptor>,
    face: Arc<Face<M>>,
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

async fn serve<I, M: Served>(io: I, face: Arc<Face<M>>, mut stop: watch::Receiver<bool>)
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
async fn answer<M: Served>(
    request: http::Request<Incoming>,
    face: Arc<Face<M>>,
) -> Result<http::Response<Answer>, Closed> {
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
            Ok(tell(&**mock, token, &request).map(Answer::whole))
        }
        Face::Mock { mock, scheme } => {
            let host = head.headers.get("host").and_then(|h| h.to_str().ok()).unwrap_or("localhost");
            let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
            match format!("{scheme}://{host}{path}").parse() {
                Ok(uri) => head.uri = uri,
                Err(_) => return Ok(status(400)),
            }
            let mock = mock.clone();
            let request = http::Request::from_parts(head, body);
            match tokio::spawn(async move { mock.take(request).await }).await {
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

/// Answers on the truth port, to who knows the token.
fn tell<M: Served>(mock: &M, token: &str, request: &http::Request<Bytes>) -> http::Response<Bytes> {
    let given = request.headers().get("authorization").map(http::HeaderValue::as_bytes);
    if given.and_then(|g| g.strip_prefix(b"Bearer ".as_slice())) != Some(token.as_bytes()) {
        return plain(401, "the token is missing or wrong");
    }
    mock.tell(request.method().as_str(), request.uri().path(), request.body())
}

/// What a mock tells of itself and lets be done to it.
macro_rules! served {
    ($mock:ty, $script:ty, $more:path) => {
        impl Served for $mock {
            fn take(
                self: Arc<Self>,
                request: http::Request<Bytes>,
            ) -> Pin<Box<dyn Future<Output = Wire> + Send>> {
                Box::pin(async move { self.handle(request).await })
            }

            fn tell(&self, method: &str, path: &str, body: &[u8]) -> http::Response<Bytes> {
                match (method, path) {
                    ("GET", "/truth") => json(&self.truth()),
                    ("GET", "/counters") => json(&self.counters()),
                    ("GET", "/faults") => json(&self.fault_counts()),
                    ("POST", "/faults") => match serde_json::from_slice::<$script>(body) {
                        Ok(script) => {
                            self.faults(script);
                            plain(204, "")
                        }
                        Err(e) => plain(400, &format!("not a fault script: {e}")),
                    },
                    ("POST", "/save") => match self.save() {
                        Ok(()) => plain(204, ""),
                        Err(e) => plain(500, &e),
                    },
                    ("POST", "/reset") => {
                        self.reset();
                        plain(204, "")
                    }
                    ("POST", "/revoke") => {
                        self.revoke_tokens();
                        plain(204, "")
                    }
                    (_, "/truth" | "/counters" | "/faults" | "/save" | "/reset" | "/revoke") => {
                        plain(405, "")
                    }
                    _ => $more(self, method, path),
                }
            }

            fn store(&self) -> Result<(), String> {
                self.save()
            }
        }
    };
}

served!(GraphMock, crate::mock::graph::FaultScript, more_of_graph);
served!(EwsMock, crate::mock::ews::FaultScript, more_of_ews);

/// The truth of one mailbox (all of a hundred thousand would be one answer of gigabytes), and how windows were used.
fn more_of_graph(mock: &GraphMock, method: &str, path: &str) -> http::Response<Bytes> {
    match (method, path, path.strip_prefix("/truth/")) {
        ("GET", _, Some(address)) => {
            mock.truth_of(address).map_or_else(|| plain(404, ""), |told| json(&told))
        }
        ("GET", "/pace", _) => json(&mock.pace()),
        (_, "/pace", _) | (_, _, Some(_)) => plain(405, ""),
        _ => plain(404, ""),
    }
}

fn more_of_ews(_: &EwsMock, _: &str, _: &str) -> http::Response<Bytes> {
    plain(404, "")
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
