//! Where the floor sends what it has read: a server that takes octets over TLS and throws them away.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Serves until it is killed. `http`: requests, answered with 201; else octets, and a single one back at their end.
pub fn run(ca: &PathBuf, http: bool) {
    let acceptor = mailwave::mock::server::tls_acceptor(ca).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        println!("listening {}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if http {
                    let service = service_fn(answer);
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                } else {
                    let mut buffer = vec![0; 256 << 10];
                    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                    let _ = stream.write_all(b".").await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        drop(frame?);
    }
    let mut response = http::Response::new(Full::new(Bytes::from_static(b"{\"id\":\"stored\"}")));
    *response.status_mut() = http::StatusCode::CREATED;
    Ok(response)
}
