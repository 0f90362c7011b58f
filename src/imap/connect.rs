//! From an address to a greeted, protected connection.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::dial::dial;
use super::wire::Stream;
use super::{Command, Habits, Ignore, Limits, Status, Tls, WireError};
use crate::env::Env;
use crate::model::{Error, Kind, Result, Scope};

/// How a connection is protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// TLS from the first octet (port 993).
    Implicit(Tls),
    /// TLS after STARTTLS (port 143); refused if the server does not offer it.
    StartTls(Tls),
    /// Not at all: passwords and mail are readable on the way.
    Plain,
}

/// A way to a server that is not TCP: each call gives a new stream to it. For worlds in one process, where a pipe leads to
/// a mock and time is virtual; the rest of the connection is as over TCP.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn() -> Box<dyn Stream> + Send + Sync>);

impl Dial {
    /// Every connection is a stream that `stream` gives.
    pub fn new(stream: impl Fn() -> Box<dyn Stream> + Send + Sync + 'static) -> Dial {
        Dial(Arc::new(stream))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

/// Where to connect and within which bounds.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Another way there than TCP.
    pub dial: Option<Dial>,
    /// Protection.
    pub security: Security,
    /// Bound of each of: name resolution with connecting, TLS handshake, greeting.
    pub connect_timeout: Duration,
    /// Bound of every single read and write.
    pub idle_timeout: Duration,
    /// Bounds of what the server may send.
    pub limits: Limits,
    /// What is known of the server beforehand.
    pub habits: Habits,
}

/// Connects, protects the connection, reads the greeting and the capabilities. Nobody is logged in yet.
///
/// # Errors
/// [`Scope::Endpoint`]: unreachable (temporary), or its certificate, greeting or missing STARTTLS is refused.
pub async fn connect(env: &Env, endpoint: &Endpoint) -> Result<Connection> {
    if let Some(Dial(stream)) = &endpoint.dial {
        return connect_over(env, endpoint, stream()).await;
    }
    let timeout = endpoint.connect_timeout;
    let (stream, took) = env
        .within(timeout, dial(env, &endpoint.host, endpoint.port))
        .await
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|e| unreachable(&e))?;
    let mut connection = connect_over(env, endpoint, Box::new(stream)).await?;
    connection.answered_within(took);
    Ok(connection)
}

/// The same over a stream that is there already.
pub(super) async fn connect_over(
    env: &Env,
    endpoint: &Endpoint,
    stream: Box<dyn Stream>,
) -> Result<Connection> {
    let begin = |stream| {
        Connection::new(stream, env, endpoint.idle_timeout, endpoint.limits).knowing(endpoint.habits)
    };
    let connection = match &endpoint.security {
        Security::Implicit(tls) => begin(handshake(env, endpoint, tls, stream).await?),
        Security::StartTls(_) | Security::Plain => begin(stream),
    };
    let mut connection = greeted(env, endpoint, connection).await?;
    if let Security::StartTls(tls) = &endpoint.security {
        let said = std::mem::take(&mut connection.said);
        let bare = start_tls(connection).await?;
        connection = begin(handshake(env, endpoint, tls, bare).await?);
        connection.said = said;
    }
    // Whatever was said before the encryption is asked again: it may have been changed on the way. So are greetings
    // that tell little; one that tells how to log in (RFC 4959) saves a round trip for each mailbox.
    if !connection.capabilities().has("SASL-IR") {
        connection.ask_capabilities().await.map_err(|e| e.scoped(Scope::Endpoint))?;
    }
    Ok(connection)
}

async fn handshake(
    env: &Env,
    endpoint: &Endpoint,
    tls: &Tls,
    stream: Box<dyn Stream>,
) -> Result<Box<dyn Stream>> {
    env.within(endpoint.connect_timeout, tls.wrap(&endpoint.host, stream)).await.unwrap_or_else(|| {
        Err(Error::temporary(Kind::Unreachable, Scope::Endpoint, "the TLS handshake took too long")
            .remedy("check `port` and `tls`: this port may not speak TLS at once"))
    })
}

async fn greeted(env: &Env, endpoint: &Endpoint, mut connection: Connection) -> Result<Connection> {
    let greeting = env
        .within(endpoint.connect_timeout, connection.greeting())
        .await
        .unwrap_or(Err(WireError::TimedOut))
        .map_err(|e| {
            let mut error = e.into_error().scoped(Scope::Endpoint).at("waiting for the greeting");
            error.remedy = "check `port` and `tls`: a port for TLS says nothing in clear text".to_owned();
            error
        })?;
    match greeting.status {
        Status::Ok => Ok(connection),
        // Logged in as whom? Not as the mailbox asked for; and in clear text, by whoever sits in between.
        Status::PreAuth => Err(Error::new(
            Kind::Protocol,
            Scope::Endpoint,
            "the server says we are logged in before we said who we are (PREAUTH); this is refused",
        )
        .remedy("turn PREAUTH off on the server, or connect to a port that asks for a login")),
        Status::No | Status::Bad | Status::Bye => {
            let what = "the server turned the connection away";
            Err(match greeting.backoff {
                Some(wait) => Error::throttled(Scope::Endpoint, what, Some(wait)),
                None => Error::temporary(Kind::Unreachable, Scope::Endpoint, what),
            }
            .remedy("it may be down for maintenance, or limit the connections from one address"))
        }
    }
}

/// STARTTLS up to the bare stream. Nothing may have been sent ahead of the handshake.
async fn start_tls(mut connection: Connection) -> Result<Box<dyn Stream>> {
    if connection.capabilities().is_empty() {
        connection.ask_capabilities().await.map_err(|e| e.scoped(Scope::Endpoint))?;
    }
    if !connection.capabilities().has("STARTTLS") {
        return Err(Error::new(
            Kind::Tls,
            Scope::Endpoint,
            "the server does not offer STARTTLS; nothing was sent in clear text",
        )
        .remedy("use `tls = \"implicit\"` with its TLS port (993), or turn STARTTLS on"));
    }
    let injected = |e: WireError| {
        Error::new(Kind::Tls, Scope::Endpoint, format!("STARTTLS failed: {e}"))
            .remedy("use `tls = \"implicit\"` with its TLS port (993)")
    };
    if !connection.wire.buffer.is_empty() {
        // An answer that was there before the question (CVE-2026-42246 in another client).
        return Err(injected(WireError::Framing("it answers a command that was not sent yet")));
    }
    let done = connection.run(Command::new("STARTTLS"), &mut Ignore).await.map_err(injected)?;
    if !done.ok() {
        return Err(done
            .refusal(Scope::Endpoint, "asking for STARTTLS")
            .remedy("use `tls = \"implicit\"` with its TLS port (993)"));
    }
    connection.wire.into_stream().map_err(injected)
}

fn unreachable(error: &io::Error) -> Error {
    let (what, remedy) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            ("the host refuses connections on this port", "check `port`, and that the server runs")
        }
        io::ErrorKind::TimedOut => {
            ("the host did not answer in time", "check `host`, `port` and the firewalls in between")
        }
        io::ErrorKind::ConnectionReset => ("the connection was reset", "check the firewalls in between"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            ("no way to the host", "check the network and the routes")
        }
        _ => ("the host's name cannot be resolved or reached", "check `host` and the name service"),
    };
    Error::temporary(Kind::Unreachable, Scope::Endpoint, what).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::super::Compress;
    use super::super::script::{Script, close, connect, expect, on_a_runtime, send};
    use super::*;

    fn start_tls() -> Security {
        Security::StartTls(Tls::new(None).expect("the system's authorities"))
    }

    /// Connects to a server that does as `script` says, which must not work.
    fn refused(security: Security, script: Vec<Script>) -> Error {
        on_a_runtime(async {
            let (connection, peer) = connect(security, script).await;
            let error = connection.expect_err("refused");
            peer.await.expect("the peer saw what it expected");
            error
        })
    }

    #[test]
    fn capabilities_are_asked_for_and_not_believed_from_the_greeting() {
        on_a_runtime(async {
            let script = vec![
                send("* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN] hello\r\n"),
                expect("CAPABILITY"),
                send("* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n$ OK done\r\n"),
            ];
            let (connection, _peer) = connect(Security::Plain, script).await;
            let connection = connection.expect("connected");
            assert!(connection.capabilities().has("LOGINDISABLED"));
            assert!(!connection.capabilities().has("AUTH=PLAIN"));
        });
    }

    #[test]
    fn preauth_is_refused() {
        for security in [Security::Plain, start_tls()] {
            let error = refused(security, vec![send("* PREAUTH welcome back\r\n")]);
            assert_eq!((error.kind, error.scope), (Kind::Protocol, Scope::Endpoint));
            assert!(error.what.contains("PREAUTH"));
        }
    }

    #[test]
    fn a_missing_starttls_is_refused_and_nothing_is_sent_in_clear_text() {
        let script = vec![
            send("* OK hello\r\n"),
            expect("CAPABILITY"),
            send("* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n$ OK done\r\n"),
        ];
        let error = refused(start_tls(), script);
        assert_eq!((error.kind, error.scope), (Kind::Tls, Scope::Endpoint));
        assert!(error.remedy.contains("implicit"));
    }

    #[test]
    fn octets_sent_ahead_of_the_handshake_are_refused() {
        let script = vec![
            send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n"),
            expect("STARTTLS"),
            send("$ OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"),
        ];
        let error = refused(start_tls(), script);
        assert_eq!(error.kind, Kind::Tls);
        assert!(error.what.contains("ahead of the TLS handshake"), "{error}");
    }

    #[test]
    fn a_refused_or_early_answer_to_starttls_is_the_end() {
        let greeting = send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n");
        let refusal = vec![greeting.clone(), expect("STARTTLS"), send("$ NO not today\r\n")];
        assert!(refused(start_tls(), refusal).remedy.contains("implicit"));
        // An OK for a tag that was guessed, before the command was even sent (STARTTLS stripping).
        let early = vec![send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\nm1 OK begin\r\n")];
        assert_eq!(refused(start_tls(), early).kind, Kind::Tls);
    }

    #[test]
    fn a_bye_or_silence_instead_of_a_greeting_is_temporary() {
        for script in [
            vec![send("* BYE too many connections\r\n"), close()],
            vec![close()],
            vec![send("220 smtp.example.org ESMTP\r\n")],
        ] {
            let error = refused(Security::Plain, script);
            assert!(error.may_pass() && error.scope == Scope::Endpoint, "{error}");
        }
    }

    #[test]
    fn a_connection_is_compressed_where_it_is_wanted_and_a_refusal_changes_nothing() {
        for (wanted, offer, answer) in [
            (Compress::Off, "COMPRESS=DEFLATE", None),
            (Compress::On, "", None),
            (Compress::Auto, "COMPRESS=DEFLATE", None), // answers come at once
            (Compress::On, "COMPRESS=DEFLATE", Some("$ NO not now\r\n")),
        ] {
            on_a_runtime(async {
                let mut script = vec![
                    send("* OK hello\r\n"),
                    expect("CAPABILITY"),
                    send(&format!("* CAPABILITY IMAP4rev1 {offer}\r\n$ OK done\r\n")),
                ];
                if let Some(answer) = answer {
                    script.extend([expect("COMPRESS DEFLATE"), send(answer)]);
                }
                script.extend([expect("NOOP"), send("$ OK\r\n")]);
                let (connection, peer) = connect(Security::Plain, script).await;
                let mut connection = connection.expect("connected").compress(wanted).await.expect("alive");
                connection.run(Command::new("NOOP"), &mut Ignore).await.expect("in clear text");
                drop(connection);
                peer.await.expect("the peer saw what it expected");
            });
        }
    }
}
