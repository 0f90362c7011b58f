//! LOGIN and AUTHENTICATE.

use super::fault::too_many;
use super::lock;
use super::names::{base64, unbase64};
use super::options::Users;
use super::scram::Scram;
use super::session::{Reply, Session, Stream};
use super::wire::End;

/// Longest answer to a SASL challenge, in octets.
const LONGEST_ANSWER: usize = 64 * 1024;

const FAILED: &str = "[AUTHENTICATIONFAILED] Authentication failed.";

impl<S: Stream> Session<'_, S> {
    pub(super) fn login(&mut self, user: &[u8], password: &[u8]) -> Reply {
        if let Some(reply) = self.needs_tls() {
            return reply;
        }
        let (Ok(user), Ok(password)) = (std::str::from_utf8(user), std::str::from_utf8(password)) else {
            return Reply::no(FAILED);
        };
        match user.split_once('*') {
            Some((user, master)) if self.mock.options.master.is_some() => self.plain(user, master, password),
            _ => self.plain("", user, password),
        }
    }

    pub(super) async fn authenticate(
        &mut self,
        mechanism: &str,
        initial: Option<Vec<u8>>,
    ) -> Result<Reply, End> {
        if let Some(reply) = self.needs_tls() {
            return Ok(reply);
        }
        if !self.mock.options.mechanisms.iter().any(|m| m.eq_ignore_ascii_case(mechanism)) {
            return Ok(Reply::no("[CANNOT] Unsupported authentication mechanism"));
        }
        let answer = match initial {
            // RFC 4959: "=" is the empty answer.
            Some(initial) if initial == b"=" => Vec::new(),
            Some(initial) => initial,
            None => {
                self.conn.out.push(b"+ \r\n");
                self.conn.line(LONGEST_ANSWER).await?.0
            }
        };
        if answer == b"*" {
            return Ok(Reply::bad("Authentication aborted"));
        }
        let Some(answer) = unbase64(&answer) else { return Ok(Reply::bad("Invalid base64")) };
        if mechanism == "PLAIN" {
            let mut fields = answer.split(|&b| b == 0).map(std::str::from_utf8);
            return Ok(match (fields.next(), fields.next(), fields.next(), fields.next()) {
                (Some(Ok(user)), Some(Ok(login)), Some(Ok(password)), None) if !login.is_empty() => {
                    self.plain(user, login, password)
                }
                _ => Reply::bad("Invalid PLAIN message"),
            });
        }
        if mechanism == "SCRAM-SHA-256" {
            return self.scram(&answer).await;
        }
        let text = String::from_utf8_lossy(&answer);
        let mut fields = text.split('\x01');
        let standard = mechanism == "OAUTHBEARER";
        let user = fields.next().and_then(|f| match standard {
            true => f.strip_prefix("n,a=").and_then(|f| f.strip_suffix(',')),
            false => f.strip_prefix("user="),
        });
        let mut field = fields.next();
        while standard && field.is_some_and(|f| f.starts_with("host=") || f.starts_with("port=")) {
            field = fields.next();
        }
        let token = field.and_then(|f| f.strip_prefix("auth=Bearer "));
        let ended = fields.next() == Some("") && fields.next() == Some("") && fields.next().is_none();
        let (Some(user), Some(token), true) = (user, token, ended) else {
            return Ok(Reply::bad(format!("Invalid {mechanism} message")));
        };
        if self.knows(user, token) {
            return Ok(self.admit(user));
        }
        // The reason comes as a challenge, and the client answers it.
        let (reason, wanted) = match standard {
            true => (&br#"{"status":"invalid_token","scope":"mail"}"#[..], &b"AQ=="[..]),
            false => {
                (&br#"{"status":"400","schemes":"Bearer","scope":"https://mail.example/"}"#[..], &b""[..])
            }
        };
        self.conn.out.push(format!("+ {}\r\n", base64(reason)).as_bytes());
        if self.conn.line(LONGEST_ANSWER).await?.0 != wanted {
            return Ok(Reply::bad("The reason was not acknowledged"));
        }
        Ok(Reply::no("[AUTHENTICATIONFAILED] Invalid credentials"))
    }

    /// Only users whose password is known have a verifier.
    async fn scram(&mut self, first: &[u8]) -> Result<Reply, End> {
        let mock = self.mock;
        let quirks = &mock.options.quirks;
        let Some(scram) = Scram::begin(first) else { return Ok(Reply::bad("Invalid SCRAM message")) };
        let password = match &mock.options.master {
            Some((master, password)) if *master == scram.user => Some(password.clone()),
            _ => self.password(&scram.user),
        };
        let Some(password) = password.filter(|_| !quirks.no_verifiers) else { return Ok(Reply::no(FAILED)) };
        let rounds = if quirks.scram_rounds == 0 { 4096 } else { quirks.scram_rounds };
        let challenge = base64(scram.challenge(rounds).as_bytes());
        self.conn.out.push(format!("+ {challenge}\r\n").as_bytes());
        let last = self.conn.line(LONGEST_ANSWER).await?.0;
        if last == b"*" {
            return Ok(Reply::bad("Authentication aborted"));
        }
        // A client may ask for any number; a server derives no more than it would for itself.
        let proof = unbase64(&last).and_then(|last| scram.finish(&last, &password, rounds, quirks.impostor));
        let Some(proof) = proof else { return Ok(Reply::no(FAILED)) };
        self.conn.out.push(format!("+ {}\r\n", base64(proof.as_bytes())).as_bytes());
        match self.conn.line(LONGEST_ANSWER).await?.0.as_slice() {
            b"" => Ok(self.plain(&scram.act_as, &scram.user, &password)),
            _ => Ok(Reply::bad("Authentication aborted")),
        }
    }

    fn password(&self, user: &str) -> Option<String> {
        if let Some(changed) = lock(&self.mock.secrets).get(user) {
            return Some(changed.clone());
        }
        match &self.mock.options.users {
            Users::Any => None,
            Users::Listed(users) => users.get(user).cloned(),
        }
    }

    fn needs_tls(&self) -> Option<Reply> {
        (self.mock.options.require_tls && !self.secure).then(|| {
            Reply::no("[PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure connections.")
        })
    }

    /// `login` with its password wants to be `user` (empty: itself).
    fn plain(&mut self, user: &str, login: &str, password: &str) -> Reply {
        if let Some((master, secret)) = &self.mock.options.master
            && master == login
        {
            let exists = self.exists(user);
            return if secret == password && exists { self.admit(user) } else { Reply::no(FAILED) };
        }
        if !self.knows(login, password) {
            return Reply::no(FAILED);
        }
        if !user.is_empty() && user != login {
            return Reply::no("[AUTHORIZATIONFAILED] Not allowed to act for another user");
        }
        self.admit(login)
    }

    fn exists(&self, user: &str) -> bool {
        match &self.mock.options.users {
            Users::Any => !user.is_empty(),
            Users::Listed(users) => users.contains_key(user),
        }
    }

    fn knows(&self, user: &str, secret: &str) -> bool {
        match (self.password(user), &self.mock.options.users) {
            (Some(known), _) => known == secret,
            (None, Users::Any) => !user.is_empty(),
            (None, Users::Listed(_)) => false,
        }
    }

    fn admit(&mut self, user: &str) -> Reply {
        let limit = self.mock.options.max_connections_per_user;
        if let Some(limit) = limit.filter(|&limit| self.mock.connections_of(user) >= limit) {
            return Reply::no(too_many(limit));
        }
        self.enter(user);
        Reply::ok(format!("{}Logged in", self.announced()))
    }
}
