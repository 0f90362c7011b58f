//! LOGIN and AUTHENTICATE.

use super::fault::too_many;
use super::names::{base64, unbase64};
use super::options::Users;
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
        let text = String::from_utf8_lossy(&answer);
        let mut fields = text.split('\x01');
        let user = fields.next().and_then(|f| f.strip_prefix("user="));
        let token = fields.next().and_then(|f| f.strip_prefix("auth=Bearer "));
        let ended = fields.next() == Some("") && fields.next() == Some("") && fields.next().is_none();
        let (Some(user), Some(token), true) = (user, token, ended) else {
            return Ok(Reply::bad("Invalid XOAUTH2 message"));
        };
        if self.knows(user, token) {
            return Ok(self.admit(user));
        }
        // The reason comes as a challenge, and the client answers with nothing.
        let reason = br#"{"status":"400","schemes":"Bearer","scope":"https://mail.example/"}"#;
        self.conn.out.push(format!("+ {}\r\n", base64(reason)).as_bytes());
        self.conn.line(LONGEST_ANSWER).await?;
        Ok(Reply::no("[AUTHENTICATIONFAILED] Invalid credentials"))
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
        match &self.mock.options.users {
            Users::Any => !user.is_empty(),
            Users::Listed(users) => users.get(user).is_some_and(|s| s == secret),
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
