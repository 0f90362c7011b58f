//! AUTHENTICATE (RFC 3501 §6.2.2, RFC 4959): challenges and answers, and the mechanisms that need no arithmetic.

use encodify::base64::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::refusal::Refused;
use crate::imap::response::{Response, read};
use crate::imap::scan::Raw;
use crate::imap::{Code, Connection, Done, Status, Untagged, WireError};
use crate::model::{Error, Kind, Scope};

/// Challenges in one exchange.
const MOST_ROUNDS: usize = 8;
/// Text a login may take, in bytes.
const BUDGET: usize = 256 << 10;

/// One side of an exchange: ours. Octets are before base64.
pub(super) trait Sasl: Send {
    /// The mechanism.
    fn name(&self) -> &'static str;

    /// What is said first. Every mechanism here begins with the client.
    fn first(&mut self) -> Zeroizing<Vec<u8>>;

    /// The answer to a challenge. An error ends the exchange: it is aborted with `*`.
    fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused>;

    /// The server says OK: may it be believed?
    fn accepted(&mut self) -> Result<(), Refused> {
        Ok(())
    }

    /// What a challenge told of a refusal that follows.
    fn told(&mut self) -> Option<Refused> {
        None
    }
}

/// How an exchange ended.
pub(super) struct Exchanged {
    pub done: Done,
    /// Challenges answered after what was said first.
    pub rounds: usize,
    pub told: Option<Refused>,
}

/// Runs an exchange to its tagged answer.
pub(super) async fn exchange(connection: &mut Connection, mut sasl: impl Sasl) -> Result<Exchanged, Refused> {
    if connection.broken {
        return Err(WireError::Broken.into());
    }
    let tag = connection.next_tag();
    let first = encode(&sasl.first());
    let mut line = Zeroizing::new(format!("{tag} AUTHENTICATE {}", sasl.name()).into_bytes());
    let mut first = if connection.capabilities().has("SASL-IR") {
        line.push(b' ');
        line.extend_from_slice(if first.is_empty() { b"=" } else { &first });
        None
    } else {
        Some(first)
    };
    line.extend_from_slice(b"\r\n");
    // Until the tagged answer is in, nobody else may use this connection.
    connection.broken = true;
    connection.send(line).await?;
    let (mut rounds, mut left, mut failed, mut capabilities) = (0, BUDGET, None, None);
    loop {
        let line = connection.wire.line().await?;
        if line.literal.is_some() {
            return Err(WireError::Limit("a literal during login").into());
        }
        left = left.checked_sub(line.text.len()).ok_or(WireError::Limit("the answer to a login"))?;
        if let Some(challenge) = line.text.strip_prefix(b"+") {
            let mut text = match (first.take(), failed.is_some()) {
                // After an abort the server has nothing more to ask.
                (_, true) => {
                    return Err(WireError::Framing("it goes on with a login that was aborted").into());
                }
                (Some(first), false) => first,
                (None, false) => {
                    rounds += 1;
                    if rounds > MOST_ROUNDS {
                        return Err(WireError::Limit("challenges in one login").into());
                    }
                    let answer = STANDARD
                        .decode(challenge.trim_ascii())
                        .map_err(|_| broken("a challenge is not base64"))
                        .and_then(|challenge| sasl.answer(&challenge));
                    match answer {
                        Ok(answer) => encode(&answer),
                        Err(error) => {
                            failed = Some(error);
                            Zeroizing::new(b"*".to_vec())
                        }
                    }
                }
            };
            text.extend_from_slice(b"\r\n");
            connection.send(text).await?;
            continue;
        }
        let mut response = read(&Raw { text: line.text.to_vec(), literals: Vec::new() })?;
        connection.judge(&mut response, &line.text);
        match response {
            Response::Tagged(t, mut done) if t == tag => {
                connection.broken = false;
                if let Some(error) = failed {
                    return Err(error);
                }
                if done.ok() {
                    if first.is_some() {
                        connection.broken = true;
                        return Err(WireError::Framing("it answers a command that was not sent yet").into());
                    }
                    if let Err(refused) = sasl.accepted() {
                        connection.broken = true;
                        return Err(refused);
                    }
                    // Gmail tells them just before the OK, others within it.
                    if let (Code::None, Some(told)) = (&done.code, capabilities) {
                        done.code = Code::Capability(told);
                    }
                    connection.learn(&done.code);
                }
                return Ok(Exchanged { done, rounds, told: sasl.told() });
            }
            Response::Untagged(Untagged::Status(Done { status: Status::Bye, backoff, .. })) => {
                return Err(WireError::Bye(backoff).into());
            }
            Response::Tagged(..) => return Err(WireError::Framing("it answers a command nobody sent").into()),
            Response::Untagged(Untagged::Capability(told)) => capabilities = Some(told),
            Response::Continue | Response::Untagged(_) => {}
        }
    }
}

fn encode(octets: &[u8]) -> Zeroizing<Vec<u8>> {
    // Room for the line end: a buffer that grows leaves its octets behind.
    let mut text = Zeroizing::new(Vec::with_capacity(octets.len().div_ceil(3) * 4 + 2));
    text.extend_from_slice(Zeroizing::new(STANDARD.encode(octets)).as_bytes());
    text
}

/// The exchange makes no sense.
pub(super) fn broken(what: &str) -> Refused {
    Error::temporary(
        Kind::Protocol,
        Scope::Mailbox,
        format!("the server broke the protocol of the login: {what}"),
    )
    .into()
}

/// AUTHENTICATE PLAIN (RFC 4616): authorisation id, name and password.
pub(super) struct Plain(Zeroizing<Vec<u8>>);

impl Plain {
    pub fn new(act_as: &str, user: &str, password: &SecretString) -> Result<Plain, Refused> {
        let parts = [act_as, user, password.expose_secret()];
        if parts.iter().any(|p| p.contains('\0')) {
            return Err(WireError::Unsendable.into());
        }
        Ok(Plain(Zeroizing::new(parts.join("\0").into_bytes())))
    }
}

impl Sasl for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn first(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.0)
    }

    fn answer(&mut self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        Err(broken("PLAIN has no second challenge"))
    }
}

/// A bearer token: OAUTHBEARER (RFC 7628) or its elder, XOAUTH2.
pub(super) struct Bearer {
    standard: bool,
    message: Zeroizing<Vec<u8>>,
    told: Option<Refused>,
}

impl Bearer {
    pub fn new(user: &str, token: &SecretString, standard: bool) -> Result<Bearer, Refused> {
        let token = token.expose_secret();
        if [user, token].iter().any(|s| s.bytes().any(|b| b < b' ')) {
            return Err(Error::new(
                Kind::Config,
                Scope::Mailbox,
                "the mailbox's name or the token holds a control character",
            )
            .remedy("check the line ends of the file or command the token comes from")
            .into());
        }
        let text = if standard {
            format!("n,a={},\x01auth=Bearer {token}\x01\x01", sasl_name(user))
        } else {
            format!("user={user}\x01auth=Bearer {token}\x01\x01")
        };
        Ok(Bearer { standard, message: Zeroizing::new(text.into_bytes()), told: None })
    }
}

impl Sasl for Bearer {
    fn name(&self) -> &'static str {
        if self.standard { "OAUTHBEARER" } else { "XOAUTH2" }
    }

    fn first(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.message)
    }

    /// A refusal comes as one more challenge (an error in JSON), to be answered; only then comes the NO. Who does not
    /// answer waits for ever.
    fn answer(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.told = Some(token_refused(challenge));
        Ok(Zeroizing::new(if self.standard { b"\x01".to_vec() } else { Vec::new() }))
    }

    fn told(&mut self) -> Option<Refused> {
        self.told.take()
    }
}

/// A name as RFC 5801 §4 wants it: `=` and `,` are escaped.
pub(super) fn sasl_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The error challenge in the operator's words. XOAUTH2 has HTTP statuses, OAUTHBEARER words (RFC 6750 §3.1).
fn token_refused(challenge: &[u8]) -> Refused {
    #[derive(Deserialize)]
    struct Told {
        status: String,
    }
    let status = serde_json::from_slice::<Told>(challenge).map(|t| t.status).unwrap_or_default();
    match status.as_str() {
        "insufficient_scope" | "403" => Refused {
            why: super::Why::Rights,
            error: Error::new(
                Kind::Auth,
                Scope::Mailbox,
                "the token does not give the right to this mailbox",
            )
            .remedy(
                "give the app the permission for IMAP, granted for this mailbox, and ask for its `scope`",
            ),
        },
        "invalid_request" => Refused::credentials(
            "the server does not understand the token's login",
            "choose another `mechanism` (\"xoauth2\" or \"oauthbearer\")",
        ),
        _ => Refused::credentials(
            "the server refused the token: it is not valid, has expired, or does not reach this mailbox",
            "check that the token is for IMAP at this service, and that the app may open this mailbox",
        ),
    }
}
