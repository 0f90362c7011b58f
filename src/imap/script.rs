//! A server for tests that does exactly what a script says.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::connect::connect_over;
use super::{Connection, Endpoint, Habits, Limits, Security, Session};
use crate::env::{Env, Task};
use crate::model::Result;

/// One thing the server does.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// Reads a line that begins so, after its tag.
    Expect(String),
    /// Reads a line that is exactly this, without a tag.
    Line(String),
    /// Sends this; `$ ` at the beginning of a line is the tag read last, `$2 ` the second one read.
    Send(Vec<u8>),
    /// Closes the connection.
    Close,
}

pub(crate) fn expect(command: &str) -> Script {
    Script::Expect(command.to_owned())
}

pub(crate) fn line(text: &str) -> Script {
    Script::Line(text.to_owned())
}

pub(crate) fn send(text: &str) -> Script {
    Script::Send(text.as_bytes().to_vec())
}

pub(crate) fn close() -> Script {
    Script::Close
}

pub(crate) fn on_a_runtime<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test)
}

/// Starts the server; the task panics if the client does not do as the script expects.
pub(crate) fn serve(script: Vec<Script>) -> (DuplexStream, Task<()>) {
    let (ours, theirs) = duplex(1 << 16);
    (ours, Env::system().spawn(follow(theirs, script)))
}

async fn follow(mut stream: DuplexStream, script: Vec<Script>) {
    let mut tags: Vec<String> = Vec::new();
    for step in script {
        match step {
            Script::Expect(command) => {
                let text = read_line(&mut stream).await;
                let (t, rest) = text.split_once(' ').expect("a tag and a command");
                assert!(rest.starts_with(&command), "expected {command:?}, got {rest:?}");
                tags.push(t.to_owned());
            }
            Script::Line(line) => assert_eq!(read_line(&mut stream).await, line),
            Script::Send(octets) => {
                let text: Vec<u8> =
                    octets.split_inclusive(|b| *b == b'\n').flat_map(|line| tagged(line, &tags)).collect();
                if stream.write_all(&text).await.is_err() {
                    return; // the client has hung up; what it makes of that is the test's matter
                }
            }
            Script::Close => return,
        }
    }
    // The connection stays open until the client closes it.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "not expected: {:?}", String::from_utf8_lossy(&rest));
}

fn tagged(line: &[u8], tags: &[String]) -> Vec<u8> {
    let Some(rest) = line.strip_prefix(b"$") else { return line.to_vec() };
    let blank = rest.iter().position(|b| *b == b' ').expect("a blank behind the tag");
    let tag = match &rest[..blank] {
        [] => tags.last(),
        number => String::from_utf8_lossy(number).parse::<usize>().ok().and_then(|n| tags.get(n - 1)),
    };
    [tag.expect("a command was read").as_bytes(), &rest[blank..]].concat()
}

async fn read_line(stream: &mut DuplexStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.expect("the client sends a line"));
    }
    String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
}

/// An endpoint without encryption and with short timeouts.
pub(crate) fn endpoint(security: Security) -> Endpoint {
    Endpoint {
        host: "localhost".to_owned(),
        port: 143,
        dial: None,
        security,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        limits: Limits::default(),
        habits: Habits::default(),
    }
}

/// A connection to a scripted server, as after a login.
pub(crate) fn connection(script: Vec<Script>) -> (Connection, Task<()>) {
    let (ours, peer) = serve(script);
    let connection =
        Connection::new(Box::new(ours), &Env::system(), Duration::from_secs(5), Limits::default());
    (connection, peer)
}

/// A session with a scripted server that offers `capabilities`.
pub(crate) fn session_with(capabilities: &str, script: Vec<Script>) -> (Session, Task<()>) {
    let (mut connection, peer) = connection(script);
    connection.capabilities = capabilities.split_ascii_whitespace().map(str::to_owned).collect();
    (Session::new(connection), peer)
}

/// A session with a scripted server that offers nothing.
pub(crate) fn session(script: Vec<Script>) -> (Session, Task<()>) {
    session_with("", script)
}

/// Connects to a scripted server: greeting, STARTTLS, capabilities.
pub(crate) async fn connect(security: Security, script: Vec<Script>) -> (Result<Connection>, Task<()>) {
    let (ours, peer) = serve(script);
    (connect_over(&Env::system(), &endpoint(security), Box::new(ours)).await, peer)
}
