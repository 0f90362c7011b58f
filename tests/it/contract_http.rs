//! What every HTTP client promises: one request, one answer, and an honest word on whether it was sent. Over TCP and
//! TLS and without a wire.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailwave::env::Env;
use mailwave::http::{Delivery, Exchange, HttpClient, HttpError, HttpsClient, HttpsOptions, InProcess};
use mailwave::mock::graph::{GraphMock, GraphOptions};
use mailwave::mock::server::{RealWorld, serve_graph, tls_acceptor};
use mailwave::model::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the other side does with a request.
#[derive(Debug, Clone)]
enum Does {
    /// Answers.
    Answers(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// Is not there.
    Refuses,
    /// Reads it and hangs up.
    HangsUp,
    /// Reads it and says nothing.
    SaysNothing,
}

/// A client, where it is to go, and what arrived there.
struct Stage {
    client: Box<dyn HttpClient>,
    base: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

/// Method, path with query, body.
type Arrived = (String, String, Vec<u8>);

#[async_trait]
trait HttpHarness {
    async fn stage(&self, does: Does) -> Stage;
}

const BODY: &[u8] = b"{\"subject\":\"private\"}";

fn request(url: String) -> http::Request<Bytes> {
    http::Request::post(url).header("authorization", "Bearer s3cret").body(Bytes::from_static(BODY)).unwrap()
}

async fn exchange(stage: &Stage, max_response: usize, ms: u64) -> Result<http::Response<Bytes>, HttpError> {
    let exchange = Exchange { deadline: Duration::from_millis(ms), max_response };
    stage.client.execute(request(format!("{}/s3cret?q=s3cret", stage.base)), &exchange).await
}

fn once(stage: &Stage) {
    let arrived = stage.arrived.lock().unwrap();
    let meant = ("POST".to_owned(), "/s3cret?q=s3cret".to_owned(), BODY.to_vec());
    assert_eq!(*arrived, [meant], "it arrived once, as it was given");
}

fn quiet(error: &HttpError) {
    assert!(!format!("{error} {error:?}").contains("s3cret"), "an error tells no address: {error:?}");
}

/// The contract.
async fn suite(harness: &impl HttpHarness) {
    for (status, headers) in [
        (200, &[][..]),
        (307, &[("location", "http://127.0.0.1:9/elsewhere")]),
        (429, &[("retry-after", "7")]),
        (503, &[("retry-after", "0")]),
        (401, &[("www-authenticate", "Bearer")]),
        (408, &[("connection", "close")]),
    ] {
        let stage = harness.stage(Does::Answers(status, headers, b"0123456789".to_vec())).await;
        let answer = exchange(&stage, 10, 5000).await.expect("an answer is an answer, whatever its status");
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (status, &b"0123456789"[..]));
        for (name, value) in headers.iter().filter(|(n, _)| *n != "connection") {
            assert_eq!(answer.headers()[*name], *value);
        }
        once(&stage);
    }

    let stage = harness.stage(Does::Answers(201, &[], vec![b'x'; 100_001])).await;
    let error = exchange(&stage, 100_000, 5000).await.expect_err("one octet too many");
    assert!(matches!(error, HttpError::MayHaveBeenSent(_)), "{error:?}");
    once(&stage);

    let stage = harness.stage(Does::Refuses).await;
    let error = exchange(&stage, 10, 5000).await.expect_err("nobody is there");
    assert!(
        matches!(&error, HttpError::NotSent(e) if e.kind == Kind::Unreachable && e.may_pass()),
        "{error:?}"
    );
    quiet(&error);
    assert!(stage.arrived.lock().unwrap().is_empty());

    for (does, ms) in [(Does::HangsUp, 5000), (Does::SaysNothing, 150)] {
        let stage = harness.stage(does).await;
        let error = exchange(&stage, 10, ms).await.expect_err("no answer");
        assert!(matches!(&error, HttpError::MayHaveBeenSent(e) if e.may_pass()), "{error:?}");
        quiet(&error);
        once(&stage);
    }
}

/// Calls a handler in this process.
struct WithoutWire;

#[async_trait]
impl HttpHarness for WithoutWire {
    async fn stage(&self, does: Does) -> Stage {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let seen = arrived.clone();
        let client = InProcess::new(&Env::system(), move |request: http::Request<Bytes>| {
            let (does, seen) = (does.clone(), seen.clone());
            async move {
                if matches!(does, Does::Refuses) {
                    return Delivery::NeverArrived;
                }
                let path = request.uri().path_and_query().unwrap().to_string();
                seen.lock().unwrap().push((request.method().to_string(), path, request.body().to_vec()));
                match does {
                    Does::Answers(status, headers, body) => {
                        let mut response = http::Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(*name, *value);
                        }
                        Delivery::Answered(response.body(Bytes::from(body)).unwrap())
                    }
                    Does::SaysNothing => std::future::pending().await,
                    Does::Refuses | Does::HangsUp => Delivery::NoAnswer,
                }
            }
        });
        Stage { client: Box::new(client), base: "https://graph.test".to_owned(), arrived }
    }
}

fn client() -> HttpsClient {
    HttpsClient::new(&Env::system(), &HttpsOptions::default()).expect("a client")
}

/// Reads one request octet by octet off a connection; `None` at its end.
async fn read(socket: &mut TcpStream) -> Option<Arrived> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(octet) => head.push(octet),
            Err(_) => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let length =
        head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let mut body = vec![0; length.map_or(0, |l| l.trim().parse().unwrap())];
    socket.read_exact(&mut body).await.ok()?;
    Some((method, path, body))
}

fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Plain TCP, and a server that knows nothing but what it shall do.
struct OverTcp;

#[async_trait]
impl HttpHarness for OverTcp {
    async fn stage(&self, does: Does) -> Stage {
        let arrived = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stage = Stage { client: Box::new(client()), base, arrived: arrived.clone() };
        if matches!(does, Does::Refuses) {
            return stage; // the listener goes, nobody is there
        }
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                while let Some(request) = read(&mut socket).await {
                    arrived.lock().unwrap().push(request);
                    match &does {
                        Does::Answers(status, headers, body) => {
                            // A client that has had enough hangs up: that is its right.
                            let _ = socket.write_all(&response(*status, headers, body)).await;
                        }
                        Does::SaysNothing => break,
                        Does::Refuses | Does::HangsUp => {
                            let _ = socket.set_zero_linger();
                            break;
                        }
                    }
                }
                if matches!(does, Does::SaysNothing) {
                    silent.push(socket);
                }
            }
        });
        stage
    }
}

#[tokio::test]
async fn the_client_without_a_wire_keeps_the_contract() {
    suite(&WithoutWire).await;
}

#[tokio::test]
async fn the_client_over_tcp_keeps_the_contract() {
    suite(&OverTcp).await;
}

#[tokio::test]
async fn a_request_that_met_no_server_to_trust_was_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let acceptor = tls_acceptor(&dir.path().join("ca.pem")).unwrap();
    let mock = GraphMock::new(GraphOptions::default(), Arc::new(RealWorld));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = serve_graph(mock, any, Some(acceptor)).await.unwrap();
    // One that speaks, but no TLS; and one that says nothing at all.
    let (loud, silent) = (TcpListener::bind(any).await.unwrap(), TcpListener::bind(any).await.unwrap());
    let port = |l: &TcpListener| l.local_addr().unwrap().port();
    let (loud_url, silent_url) =
        (format!("https://127.0.0.1:{}", port(&loud)), format!("https://127.0.0.1:{}", port(&silent)));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = loud.accept().await {
            let _ = socket.write_all(b"220 mail.example.org ESMTP\r\n").await;
        }
    });
    let options = HttpsOptions { ca_file: None, connect_timeout: Some(Duration::from_millis(500)) };
    let client = HttpsClient::new(&Env::system(), &options).expect("a client");
    for (url, kind) in [
        (server.base_url(), Kind::Tls),
        (loud_url, Kind::Tls),
        (silent_url, Kind::Unreachable),
        ("https://nobody.invalid".to_owned(), Kind::Unreachable),
    ] {
        let exchange = Exchange { deadline: Duration::from_secs(10), max_response: 10 };
        let error =
            client.execute(request(format!("{url}/s3cret")), &exchange).await.expect_err("no such server");
        let HttpError::NotSent(e) = &error else { panic!("{url}: {error:?}") };
        assert_eq!(e.kind, kind, "{url}: {e}");
        assert!(!e.remedy.is_empty());
        quiet(&error);
    }
    assert_eq!(server.mock().counters().requests, 0);
}

/// How a server treats a connection it has answered on before.
#[derive(Debug, Clone, Copy)]
enum Reused {
    /// Reads the next request and resets the connection.
    ResetsAfterRequest,
    /// Reads the next request and closes in good order, without an answer.
    ClosesAfterRequest,
    /// Closes right after its first answer, at a moment that hits the client on its way.
    ClosesIdle(Duration),
}

/// Serves connections that answer once and then fail; counts every request by its body.
async fn faulty(reused: Reused) -> (String, Arc<Mutex<Vec<Vec<u8>>>>, Arc<AtomicUsize>) {
    let arrived: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let connections: Arc<AtomicUsize> = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (log, count) = (arrived.clone(), connections.clone());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let log = log.clone();
            tokio::spawn(async move {
                let Some((_, _, body)) = read(&mut socket).await else { return };
                log.lock().unwrap().push(body);
                if socket.write_all(&response(200, &[], b"ok")).await.is_err() {
                    return;
                }
                match reused {
                    Reused::ResetsAfterRequest => {
                        let Some((_, _, body)) = read(&mut socket).await else { return };
                        log.lock().unwrap().push(body);
                        let _ = socket.set_zero_linger();
                    }
                    Reused::ClosesAfterRequest => {
                        let Some((_, _, body)) = read(&mut socket).await else { return };
                        log.lock().unwrap().push(body);
                        let _ = socket.shutdown().await;
                    }
                    Reused::ClosesIdle(after) => {
                        // What arrives before the end counts, read or not.
                        let last = tokio::time::timeout(after, read(&mut socket)).await;
                        if let Ok(Some((_, _, body))) = last {
                            log.lock().unwrap().push(body);
                        }
                    }
                }
            });
        }
    });
    (url, arrived, connections)
}

#[tokio::test]
async fn a_request_on_a_reused_connection_that_broke_is_never_sent_again() {
    for reused in [Reused::ResetsAfterRequest, Reused::ClosesAfterRequest] {
        for method in [http::Method::POST, http::Method::GET, http::Method::PUT] {
            let (url, arrived, connections) = faulty(reused).await;
            let client = client();
            let send = |n: &'static [u8]| {
                let request = http::Request::builder()
                    .method(method.clone())
                    .uri(&url)
                    .body(Bytes::from_static(n))
                    .unwrap();
                let client = &client;
                async move { client.execute(request, &Exchange::default()).await }
            };
            send(b"1").await.expect("answered");
            let error = send(b"2").await.expect_err("the connection broke");
            assert!(matches!(error, HttpError::MayHaveBeenSent(_)), "{reused:?} {method}: {error:?}");
            assert_eq!(
                connections.load(Ordering::SeqCst),
                1,
                "{reused:?} {method}: the connection was reused"
            );
            assert_eq!(*arrived.lock().unwrap(), [b"1", b"2"], "{reused:?} {method}: each was sent once");
            send(b"3").await.expect("a new connection serves");
            assert_eq!(arrived.lock().unwrap().len(), 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_server_closes_idle_connections_no_post_arrives_twice() {
    let (mut lost, mut answered) = (0, 0);
    for micros in [0, 20, 50, 100, 200, 400] {
        let (url, arrived, _) = faulty(Reused::ClosesIdle(Duration::from_micros(micros))).await;
        let client = Arc::new(client());
        let senders: Vec<_> = (0..4u32)
            .map(|lane| {
                let (client, url) = (client.clone(), url.clone());
                tokio::spawn(async move {
                    let mut results = Vec::new();
                    for n in 0..100u32 {
                        let body = Bytes::from(format!("{lane}/{n}"));
                        let request = http::Request::post(&url).body(body.clone()).unwrap();
                        results.push((body, client.execute(request, &Exchange::default()).await));
                    }
                    results
                })
            })
            .collect();
        for sender in senders {
            for (body, result) in sender.await.unwrap() {
                let times = arrived.lock().unwrap().iter().filter(|b| **b == body).count();
                match result {
                    Ok(_) => {
                        answered += 1;
                        assert_eq!(times, 1, "an answered request arrived once");
                    }
                    Err(HttpError::MayHaveBeenSent(_)) => {
                        lost += 1;
                        assert!(times <= 1, "a lost request arrived {times} times");
                    }
                    Err(HttpError::NotSent(_)) => assert_eq!(times, 0, "what was not sent did not arrive"),
                }
            }
        }
    }
    println!("{answered} answered, {lost} lost on the way");
    assert!(answered > 0);
}

/// The protocols offered in a TLS ClientHello (RFC 8446 §4.1.2; ALPN is RFC 7301).
fn protocols(hello: &[u8]) -> Vec<String> {
    let number = |at: usize| (usize::from(hello[at]) << 8) | usize::from(hello[at + 1]);
    // Record and handshake headers, version, random.
    let mut at = 5 + 4 + 2 + 32;
    at += 1 + usize::from(hello[at]); // session
    at += 2 + number(at); // cipher suites
    at += 1 + usize::from(hello[at]); // compressions
    let end = at + 2 + number(at);
    at += 2;
    while at < end {
        let (kind, length) = (number(at), number(at + 2));
        at += 4;
        if kind == 16 {
            let (mut all, mut at, end) = (Vec::new(), at + 2, at + length);
            while at < end {
                let name = &hello[at + 1..at + 1 + usize::from(hello[at])];
                all.push(String::from_utf8_lossy(name).into_owned());
                at += 1 + name.len();
            }
            return all;
        }
        at += length;
    }
    Vec::new()
}

#[tokio::test]
async fn nothing_but_http_1_1_is_offered_to_a_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let hello = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        socket.read_exact(&mut head).await.unwrap();
        let mut rest = vec![0; (usize::from(head[3]) << 8) | usize::from(head[4])];
        socket.read_exact(&mut rest).await.unwrap();
        [&head[..], &rest].concat()
    });
    let error = client().execute(request(url), &Exchange::default()).await.expect_err("it hung up");
    assert!(matches!(error, HttpError::NotSent(_)), "{error:?}");
    let offered = protocols(&hello.await.unwrap());
    assert!(
        offered.iter().all(|name| name == "http/1.1"),
        "no GOAWAY and no RST_STREAM can come: {offered:?}"
    );
}

/// A server that answers each request with these octets, a piece at a time; ends when its reader has had enough. Tells how
/// much it was rid of.
async fn slow(
    pieces: Vec<Vec<u8>>,
    pause: Duration,
) -> (String, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (ended, gone) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (pieces, ended) = (pieces.clone(), ended.clone());
            tokio::spawn(async move {
                read(&mut socket).await;
                let mut sent = 0;
                for piece in pieces {
                    if socket.write_all(&piece).await.is_err() {
                        break;
                    }
                    sent += piece.len();
                    tokio::time::sleep(pause).await;
                }
                let _ = ended.send(sent);
            });
        }
    });
    (url, gone)
}

#[tokio::test]
async fn an_answer_that_trickles_ends_at_the_deadline_and_its_connection_is_given_up() {
    let whole = response(201, &[], &[b'x'; 100_000]);
    let pieces: Vec<Vec<u8>> = whole.chunks(1).map(<[u8]>::to_vec).collect();
    let (url, mut gone) = slow(pieces, Duration::from_millis(10)).await;
    let exchange = Exchange { deadline: Duration::from_millis(300), max_response: 1 << 20 };
    let began = std::time::Instant::now();
    let error = client().execute(request(url), &exchange).await.expect_err("it takes too long");
    assert!(matches!(&error, HttpError::MayHaveBeenSent(e) if e.may_pass()), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "the deadline is for all of it: {:?}", began.elapsed());
    let sent = gone.recv().await.expect("the server noticed");
    assert!(sent < whole.len(), "{sent}: the connection was closed before its end");
}

#[tokio::test]
async fn an_answer_that_would_unpack_into_gigabytes_is_neither_asked_for_nor_unpacked() {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..64).for_each(|_| packer.write_all(&zeros).unwrap());
    let bomb = packer.finish().unwrap();
    assert!(bomb.len() < 100_000, "{} octets unpack into 64 MiB", bomb.len());
    // As it is, it comes as it is; nobody asked for it packed.
    let packed = response(201, &[("content-encoding", "gzip")], &bomb);
    let (url, mut gone) = slow(vec![packed], Duration::ZERO).await;
    let exchange = Exchange { deadline: Duration::from_secs(10), max_response: 1 << 20 };
    let answer = client().execute(request(url), &exchange).await.expect("an answer");
    assert_eq!(answer.body().len(), bomb.len(), "not unpacked");
    gone.recv().await;
    let stage = OverTcp.stage(Does::Answers(201, &[("content-encoding", "gzip")], bomb.clone())).await;
    let error =
        super::contract_http::exchange(&stage, bomb.len() - 1, 5000).await.expect_err("too much of it");
    assert!(matches!(error, HttpError::MayHaveBeenSent(_)), "{error:?}");
    // And one without end is left when the limit is reached.
    let mut pieces = vec![b"HTTP/1.1 200 X\r\n\r\n".to_vec()];
    pieces.extend((0..512).map(|_| zeros.clone()));
    let (url, mut gone) = slow(pieces, Duration::ZERO).await;
    let error = client().execute(request(url), &exchange).await.expect_err("it does not end");
    assert!(matches!(error, HttpError::MayHaveBeenSent(_)), "{error:?}");
    let sent = gone.recv().await.expect("the server noticed");
    assert!(sent < 64 << 20, "{sent}: the connection was closed soon after the limit of 1 MiB");
}
