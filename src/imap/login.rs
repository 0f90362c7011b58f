//! Logging in: LOGIN, AUTHENTICATE PLAIN (RFC 4616) with an authorisation id, XOAUTH2.
//!
//! LOGIN runs on async-imap over a lent wire (see `lend`); its tagged answer is judged by our own grammar, because
//! async-imap's error texts hold what the server sent. Names or passwords outside printable ASCII go as literals,
//! which async-imap cannot send: they take our own writer. Beware when a `log` backend is installed: at trace level
//! async-imap logs what it sends, passwords included. This crate installs none.
//!
//! A password is tried once. Whoever tries it again gets the account locked.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::lend::Lent;
use super::response::{Response, read};
use super::scan::Raw;
use super::{Code, Command, Connection, Done, Ignore, Status, Untagged, WireError};
use crate::model::{Error, Kind, Result, Scope};

/// How a name and a password are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mechanism {
    /// LOGIN where the server allows it and the strings are plain ASCII, else AUTHENTICATE PLAIN.
    #[default]
    Auto,
    /// LOGIN only.
    Login,
    /// AUTHENTICATE PLAIN only.
    Plain,
}

/// Who logs in, as whom.
pub enum Login<'a> {
    /// With a password.
    Password {
        /// The name whose password it is.
        user: &'a str,
        /// The mailbox to act as, if it is another (a master user): the authorisation id of AUTHENTICATE PLAIN.
        act_as: Option<&'a str>,
        /// The password.
        password: &'a SecretString,
        /// How it is sent. With `act_as` always AUTHENTICATE PLAIN.
        mechanism: Mechanism,
    },
    /// With an OAuth access token (XOAUTH2).
    Token {
        /// The mailbox.
        user: &'a str,
        /// The token.
        token: &'a SecretString,
    },
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::Password { .. } => "Login::Password",
            Login::Token { .. } => "Login::Token",
        })
    }
}

/// Logs in and asks for the capabilities of the session.
///
/// # Errors
/// [`Kind::Auth`] and [`Scope::Mailbox`] if the server refuses the login; [`Scope::Endpoint`] if it offers no way to
/// log in as asked; else the connection failed.
pub async fn login(connection: &mut Connection, login: &Login<'_>) -> Result<()> {
    let done = match *login {
        Login::Token { user, token } => xoauth2(connection, user, token).await?,
        Login::Password { user, act_as: Some(act_as), password, .. } => {
            plain(connection, act_as, user, password).await?
        }
        Login::Password { user, act_as: None, password, mechanism } => {
            let can_login = !connection.capabilities().has("LOGINDISABLED");
            let can_plain = connection.capabilities().has("AUTH=PLAIN");
            let simple = quotable(user) && quotable(password.expose_secret());
            let by_login = match mechanism {
                Mechanism::Login => true,
                Mechanism::Plain => false,
                Mechanism::Auto => can_login && (simple || !can_plain),
            };
            if !by_login {
                plain(connection, "", user, password).await?
            } else if !can_login {
                return Err(Error::new(
                    Kind::Denied,
                    Scope::Endpoint,
                    "the server does not take LOGIN on this connection (LOGINDISABLED); no password was sent",
                )
                .remedy("use TLS (`tls = \"implicit\"` or \"starttls\"), or another way to log in"));
            } else if simple {
                by_async_imap(connection, user, password).await.map_err(WireError::into_error)?
            } else {
                let command =
                    Command::new("LOGIN").string(user.as_bytes()).string(password.expose_secret().as_bytes());
                connection.run(command, &mut Ignore).await.map_err(WireError::into_error)?
            }
        }
    };
    if !done.ok() {
        return Err(refused(&done));
    }
    // The OK may carry them, but seldom all of them.
    connection.ask_capabilities().await.map_err(|e| e.scoped(Scope::Mailbox))
}

fn quotable(text: &str) -> bool {
    text.len() <= 512 && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

async fn plain(
    connection: &mut Connection,
    act_as: &str,
    user: &str,
    password: &SecretString,
) -> Result<Done> {
    offered(connection, "AUTH=PLAIN", "AUTHENTICATE PLAIN")?;
    let mut message = Zeroizing::new(Vec::new());
    for (n, part) in [act_as, user, password.expose_secret()].into_iter().enumerate() {
        if part.contains('\0') {
            return Err(WireError::Unsendable.into_error());
        }
        if n > 0 {
            message.push(0);
        }
        message.extend_from_slice(part.as_bytes());
    }
    let command = if connection.capabilities().has("SASL-IR") {
        Command::new("AUTHENTICATE PLAIN").base64(&message)
    } else {
        Command::new("AUTHENTICATE PLAIN").answer(&message)
    };
    connection.run(command, &mut Ignore).await.map_err(WireError::into_error)
}

async fn xoauth2(connection: &mut Connection, user: &str, token: &SecretString) -> Result<Done> {
    offered(connection, "AUTH=XOAUTH2", "AUTHENTICATE XOAUTH2")?;
    if [user, token.expose_secret()].iter().any(|s| s.bytes().any(|b| b < b' ')) {
        return Err(Error::new(
            Kind::Config,
            Scope::Mailbox,
            "the mailbox's name or the token holds a control character",
        )
        .remedy("check the line ends of the file or command the token comes from"));
    }
    let message =
        Zeroizing::new(format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose_secret()).into_bytes());
    let command = if connection.capabilities().has("SASL-IR") {
        Command::new("AUTHENTICATE XOAUTH2").base64(&message)
    } else {
        Command::new("AUTHENTICATE XOAUTH2").answer(&message)
    };
    // A refusal comes as one more challenge (an error in JSON), to be answered by an empty line; only then comes the
    // NO. Who does not answer waits for ever.
    let command = command.answer(b"");
    connection.run(command, &mut Ignore).await.map_err(WireError::into_error)
}

fn offered(connection: &Connection, capability: &str, name: &str) -> Result<()> {
    if connection.capabilities().has(capability) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Denied,
        Scope::Endpoint,
        format!("the server does not offer {name} on this connection; nothing secret was sent"),
    )
    .remedy("turn it on at the server (many offer it over TLS only), or choose another way to log in"))
}

async fn by_async_imap(
    connection: &mut Connection,
    user: &str,
    password: &SecretString,
) -> Result<Done, WireError> {
    if connection.broken {
        return Err(WireError::Broken);
    }
    connection.broken = true;
    let (env, idle) = (connection.env.clone(), connection.idle);
    let mut lent = Lent::new(&mut connection.wire);
    let accepted = {
        let client = async_imap::Client::new(&mut lent);
        match env.within(idle, client.login_with_capabilities(user, password.expose_secret())).await {
            None => return Err(WireError::TimedOut),
            Some(Ok(_)) => Some(true),
            Some(Err((async_imap::error::Error::No(_) | async_imap::error::Error::Bad(_), _))) => Some(false),
            Some(Err(_)) => None,
        }
    };
    let last = Raw { text: std::mem::take(&mut lent.last), literals: Vec::new() };
    match (accepted, read(&last)) {
        (Some(accepted), Ok(Response::Tagged(_, done))) if done.ok() == accepted => {
            connection.broken = false;
            Ok(done)
        }
        (_, Ok(Response::Untagged(Untagged::Status(Done { status: Status::Bye, backoff, .. })))) => {
            Err(WireError::Bye(backoff))
        }
        _ => Err(lent.failure.unwrap_or(WireError::Framing("the answer to the login cannot be read"))),
    }
}

/// A refused login in the operator's words.
fn refused(done: &Done) -> Error {
    let name = match &done.code {
        Code::Named(name) => name.as_str(),
        _ => "",
    };
    let auth = |what: &str, remedy: &str| Error::new(Kind::Auth, Scope::Mailbox, what).remedy(remedy);
    match name {
        "UNAVAILABLE" | "SERVERBUG" | "INUSE" => {
            done.refusal(Scope::Mailbox, "logging in").remedy("the server's log tells why")
        }
        "LIMIT" | "THROTTLED" => done
            .refusal(Scope::Mailbox, "logging in")
            .remedy("lower `max_connections`, or raise the server's limit of connections for this address"),
        "AUTHORIZATIONFAILED" => auth(
            "the password is right, but this account may not act as the mailbox",
            "give the master user the right to this mailbox",
        ),
        "EXPIRED" => auth("the password or token has expired", "renew it"),
        "PRIVACYREQUIRED" => Error::new(
            Kind::Tls,
            Scope::Endpoint,
            "the server takes this login over an encrypted connection only",
        )
        .remedy("set `tls = \"implicit\"` or \"starttls\""),
        _ if done.backoff.is_some() => done.refusal(Scope::Mailbox, "logging in"),
        _ if done.status == Status::Bad => {
            auth("the server does not understand the login", "choose another `mechanism`")
        }
        _ => auth(
            "the server refused the login: wrong name or password",
            "check the mailbox's name and the password (master user: that the master may log in as this mailbox); it is tried once only, so that no account gets locked",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Security;
    use super::super::script::{Script, close, connect, expect, line, on_a_runtime, send};
    use super::*;

    /// Logs in to a server of these capabilities that goes on as `script` says.
    fn log_in(capabilities: &str, who: &Login<'_>, script: Vec<Script>) -> Result<bool> {
        let mut all = vec![
            send("* OK hello\r\n"),
            expect("CAPABILITY"),
            send(&format!("* CAPABILITY IMAP4rev1 {capabilities}\r\n$ OK done\r\n")),
        ];
        all.extend(script);
        on_a_runtime(async {
            let (connection, peer) = connect(Security::Plain, all).await;
            let mut connection = connection.expect("connected");
            let end = login(&mut connection, who).await;
            let extended = connection.capabilities().has("NAMESPACE");
            drop(connection);
            peer.await.expect("the peer saw what it expected");
            end.map(|()| extended)
        })
    }

    fn logged_in() -> Vec<Script> {
        vec![
            send("* 5 EXISTS\r\n$ OK [CAPABILITY IMAP4rev1] Logged in\r\n"),
            expect("CAPABILITY"),
            send("* CAPABILITY IMAP4rev1 NAMESPACE\r\n$ OK done\r\n"),
        ]
    }

    fn password<'a>(user: &'a str, password: &'a SecretString) -> Login<'a> {
        Login::Password { user, act_as: None, password, mechanism: Mechanism::Auto }
    }

    #[test]
    fn login_quotes_what_it_sends_and_asks_for_the_sessions_capabilities() {
        let secret = SecretString::from("p\"w\\d {5}");
        let mut script = vec![expect("LOGIN \"anna\" \"p\\\"w\\\\d {5}\"")];
        script.extend(logged_in());
        assert_eq!(log_in("", &password("anna", &secret), script), Ok(true));
    }

    #[test]
    fn what_comes_right_behind_the_answer_is_not_lost() {
        let secret = SecretString::from("x");
        let script = vec![
            expect("LOGIN"),
            // The answer to a question not asked yet must not be dropped: it would be missing, or half of it.
            send("$ OK Logged in\r\n* 7 EXISTS\r\n* CAPABIL"),
            expect("CAPABILITY"),
            send("ITY IMAP4rev1 NAMESPACE\r\n$ OK done\r\n"),
        ];
        assert_eq!(log_in("", &password("anna", &secret), script), Ok(true));
    }

    #[test]
    fn names_outside_ascii_go_as_literals() {
        let secret = SecretString::from("pä");
        let mut script = vec![
            expect("LOGIN {5}"),
            send("+ go on\r\n"),
            line("jürg {3}"),
            send("* 1 EXISTS\r\n+\r\n"),
            line("pä"),
        ];
        script.extend(logged_in());
        assert_eq!(log_in("", &password("jürg", &secret), script), Ok(true));
    }

    #[test]
    fn a_refused_password_is_an_error_of_the_mailbox_and_tells_no_secret() {
        let secret = SecretString::from("hunter2");
        for answer in [
            "$ NO [AUTHENTICATIONFAILED] no such user anna@example.org hunter2\r\n",
            "$ NO wrong\r\n",
            "$ BAD what?\r\n",
        ] {
            let script = vec![expect("LOGIN"), send(answer)];
            let error = log_in("", &password("anna", &secret), script).expect_err(answer);
            assert_eq!((error.kind, error.scope, error.may_pass()), (Kind::Auth, Scope::Mailbox, false));
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2") && !text.contains("anna"), "{text}");
        }
        let script = vec![expect("LOGIN"), send("$ NO [UNAVAILABLE] backend is down\r\n")];
        assert!(log_in("", &password("anna", &secret), script).is_err_and(|e| e.may_pass()));
    }

    #[test]
    fn a_login_that_ends_in_bye_silence_or_a_literal_is_no_login() {
        let secret = SecretString::from("x");
        for (answer, kind) in [
            ("* BYE too many\r\n", Kind::Unreachable),
            ("", Kind::Unreachable),
            ("* LIST () \"/\" {500000000}\r\n", Kind::Protocol),
            ("A99 OK Logged in\r\n", Kind::Unreachable),
        ] {
            let script = vec![expect("LOGIN"), send(answer), close()];
            let error = log_in("", &password("anna", &secret), script).expect_err(answer);
            assert_eq!(error.kind, kind, "{answer}");
            assert!(error.may_pass(), "{answer}");
        }
    }

    #[test]
    fn logindisabled_is_honoured() {
        let secret = SecretString::from("x");
        let error = log_in("LOGINDISABLED", &password("anna", &secret), vec![]).expect_err("refused");
        assert_eq!((error.kind, error.scope), (Kind::Denied, Scope::Endpoint));
        let mut script = vec![expect("AUTHENTICATE PLAIN"), send("+ \r\n"), line("AGFubmEAeA==")];
        script.extend(logged_in());
        let end = log_in("LOGINDISABLED AUTH=PLAIN", &password("anna", &secret), script);
        assert_eq!(end, Ok(true));
    }

    #[test]
    fn a_master_user_names_the_mailbox_as_authorisation_id() {
        let secret = SecretString::from("pw");
        let who = Login::Password {
            user: "master",
            act_as: Some("anna"),
            password: &secret,
            mechanism: Mechanism::Auto,
        };
        let mut script = vec![expect("AUTHENTICATE PLAIN YW5uYQBtYXN0ZXIAcHc=")];
        script.extend(logged_in());
        assert_eq!(log_in("AUTH=PLAIN SASL-IR", &who, script), Ok(true));
        let error = log_in("SASL-IR", &who, vec![]).expect_err("not offered");
        assert_eq!((error.kind, error.scope), (Kind::Denied, Scope::Endpoint));
        let script = vec![expect("AUTHENTICATE PLAIN"), send("$ NO [AUTHORIZATIONFAILED] no\r\n")];
        let error = log_in("AUTH=PLAIN SASL-IR", &who, script).expect_err("refused");
        assert!(error.kind == Kind::Auth && error.remedy.contains("master"));
    }

    #[test]
    fn the_error_challenge_of_xoauth2_is_answered_by_an_empty_line() {
        let secret = SecretString::from("tok");
        let who = Login::Token { user: "anna", token: &secret };
        let initial = "dXNlcj1hbm5hAWF1dGg9QmVhcmVyIHRvawEB";
        for (offer, begin) in [
            ("AUTH=XOAUTH2 SASL-IR", vec![expect(&format!("AUTHENTICATE XOAUTH2 {initial}"))]),
            ("AUTH=XOAUTH2", vec![expect("AUTHENTICATE XOAUTH2"), send("+ \r\n"), line(initial)]),
        ] {
            let mut refused = begin.clone();
            refused.extend([
                send("+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"),
                line(""),
                send("$ NO [AUTHENTICATIONFAILED] bad token\r\n"),
            ]);
            let error = log_in(offer, &who, refused).expect_err("refused");
            assert_eq!(error.kind, Kind::Auth);
            let mut accepted = begin;
            accepted.extend(logged_in());
            assert_eq!(log_in(offer, &who, accepted), Ok(true));
        }
        let error = log_in("AUTH=PLAIN", &who, vec![]).expect_err("not offered");
        assert_eq!(error.kind, Kind::Denied);
    }
}
