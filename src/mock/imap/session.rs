//! One connection: reads commands, lets the fault script interfere, does them, answers.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::command::Command;
use super::fault::{Act, Due};
use super::options::Greeting;
use super::set::SequenceSet;
use super::squeeze::Squeeze;
use super::view::View;
use super::wire::{Conn, End, Out, Part, Wire};
use super::{ImapMock, LoggedIn, parse};

/// What a connection may run over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// So many malformed commands, and the connection is closed.
const MOST_BAD: u32 = 100;
/// Literals before login: nobody's name or password is longer.
const LONGEST_BEFORE_LOGIN: u64 = 64 * 1024;

pub(super) struct Session<'a, S> {
    pub mock: &'a ImapMock,
    pub conn: Conn<'a, S>,
    pub number: u64,
    pub user: Option<String>,
    pub view: Option<View>,
    /// ENABLEd.
    pub utf8: bool,
    pub condstore: bool,
    pub qresync: bool,
    /// TLS is up.
    pub secure: bool,
    /// The tag of the command that is being answered.
    pub last_tag: String,
    bad: u32,
    logged_in: Option<LoggedIn<'a>>,
}

/// A tagged answer: its status, and its text with the response code in front.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: &'static str,
    pub text: String,
}

impl Reply {
    pub fn ok(text: impl Into<String>) -> Reply {
        Reply { status: "OK", text: text.into() }
    }

    pub fn no(text: impl Into<String>) -> Reply {
        Reply { status: "NO", text: text.into() }
    }

    pub fn bad(text: impl Into<String>) -> Reply {
        Reply { status: "BAD", text: text.into() }
    }
}

impl<'a, S: Stream> Session<'a, S> {
    pub fn new(mock: &'a ImapMock, stream: S, number: u64, secure: bool) -> Session<'a, S> {
        let conn = Conn {
            wire: Wire::Plain(stream),
            input: BytesMut::new(),
            out: Out::default(),
            squeeze: None,
            trickle: None,
            world: &*mock.world,
        };
        Session {
            mock,
            conn,
            number,
            user: None,
            view: None,
            utf8: false,
            condstore: false,
            qresync: false,
            secure,
            last_tag: String::new(),
            bad: 0,
            logged_in: None,
        }
    }

    /// This connection is `user`'s from now on.
    pub fn enter(&mut self, user: &str) {
        // Counted first: who is counted keeps its mail (`LoggedIn::drop`).
        self.logged_in = Some(self.mock.logged_in(user));
        self.mock.store().add_user(user);
        self.user = Some(user.to_owned());
    }

    /// Serves the connection to its end; gives the stream back, so that a reset can be a reset.
    pub async fn run(mut self) -> (End, Option<S>) {
        let end = match self.greet().await {
            Err(end) => end,
            Ok(()) => loop {
                if let Err(end) = self.step().await {
                    break end;
                }
            },
        };
        if let Some((_, rule)) = self.conn.out.stopped {
            self.mock.script.fire(rule);
        }
        self.mock.count(|c| c.octets_sent += self.conn.out.total);
        if end == End::Orderly {
            // The peer may be gone already: then there is nothing to shut down.
            let _ = self.conn.wire.shutdown().await;
        }
        let stream = match self.conn.wire {
            Wire::Plain(stream) => Some(stream),
            Wire::Tls(tls) => Some(tls.into_inner().0),
            Wire::Gone => None,
        };
        (end, stream)
    }

    async fn greet(&mut self) -> Result<(), End> {
        self.conn.out.begin();
        let due = self.mock.script.due(self.number, "GREETING", |_| false);
        if let Some(reply) = self.before(&due, None).await? {
            self.conn.out.untagged(&format!("{} {}", reply.status, reply.text));
            self.conn.flush().await?;
            return Err(End::Orderly);
        }
        let mut greeting = self.mock.options.greeting.clone();
        if let Some(preauth) = due.iter().find(|d| d.act == Act::Preauth) {
            self.mock.script.fire(preauth.rule);
            let anyone = self.mock.store().users().into_iter().next();
            greeting = Greeting::Preauth(anyone.unwrap_or_else(|| "nobody".to_owned()));
        }
        match greeting {
            Greeting::Bye(text) => {
                self.conn.out.untagged(&format!("BYE {text}"));
                self.conn.flush().await?;
                return Err(End::Orderly);
            }
            Greeting::Preauth(user) => {
                self.enter(&user);
                let code = self.announced();
                self.conn.out.untagged(&format!("PREAUTH {code}mailwave mock ready, logged in already"));
            }
            Greeting::Ok => {
                let code = self.announced();
                self.conn.out.untagged(&format!("OK {code}mailwave mock ready"));
            }
        }
        self.extras(&due);
        self.conn.flush().await
    }

    /// `[CAPABILITY …] ` where the server announces by itself.
    pub fn announced(&self) -> String {
        if self.mock.options.announce {
            format!("[CAPABILITY {}] ", self.capabilities())
        } else {
            String::new()
        }
    }

    pub fn capabilities(&self) -> String {
        let options = &self.mock.options;
        let mut all = vec!["IMAP4rev1".to_owned()];
        if self.user.is_some() {
            let over =
                |c: &&String| self.conn.squeeze.is_none() || !c.eq_ignore_ascii_case("COMPRESS=DEFLATE");
            all.extend(options.capabilities.iter().filter(over).cloned());
            all.extend(match options.quirks.append_limit {
                Some(limit) => Some(format!("APPENDLIMIT={limit}")),
                None => options.quirks.limits_appends().then(|| "APPENDLIMIT".to_owned()),
            });
        } else {
            let early = ["LITERAL+", "LITERAL-", "SASL-IR", "ID", "ENABLE"];
            let offered =
                options.capabilities.iter().filter(|c| early.iter().any(|e| c.eq_ignore_ascii_case(e)));
            all.extend(offered.cloned());
            if options.starttls.is_some() && !self.secure {
                all.push("STARTTLS".to_owned());
            }
            if options.require_tls && !self.secure {
                all.push("LOGINDISABLED".to_owned());
            } else {
                all.extend(options.mechanisms.iter().map(|m| format!("AUTH={m}")));
            }
        }
        all.join(" ")
    }

    /// Reads and answers one command.
    async fn step(&mut self) -> Result<(), End> {
        let (mock, user, utf8) = (self.mock, &self.user, self.utf8);
        let early = |parts: &[Part], length: u64| refuse_early(mock, user.as_deref(), utf8, parts, length);
        let raw = self.conn.command(&mock.options, early).await?;
        self.conn.out.begin();
        let (tag, verb) = parse::head(raw.first_line());
        mock.hear(self.number, &verb, raw.first_line());
        mock.let_in();
        if !mock.options.latency.is_zero() {
            mock.world.sleep(mock.options.latency).await;
        }
        let Some(tag) = tag else {
            self.conn.out.untagged("BAD A command begins with its tag");
            return self.strike().await;
        };
        self.last_tag.clone_from(&tag);
        let asked = parse::asked_uids(raw.first_line());
        let top = self.view.as_ref().and_then(|v| v.uids.last().copied()).unwrap_or(0);
        let asks = |uid| asked.as_ref().is_some_and(|set: &SequenceSet| set.holds(uid, top));
        let due = mock.script.due(self.number, &verb, asks);
        let named = self.named_folder(&verb, &raw.parts);
        if let Some(reply) = self.before(&due, named).await? {
            return self.finish(&tag, reply, &due).await;
        }
        if let Some(refused) = raw.refused {
            self.conn.out.push(format!("{tag} {refused}\r\n").as_bytes());
            return self.strike().await;
        }
        let command = match raw.flaw.map_or_else(|| parse::parse(&raw.parts, &mock.options, self.utf8), Err) {
            Ok(command) => command,
            Err(flaw) => {
                self.finish(&tag, Reply::bad(flaw), &due).await?;
                return self.strike().await;
            }
        };
        drop(raw.parts);
        // RFC 3501 §7.4.1: no EXPUNGE while sequence numbers are being spoken of.
        let numbers = matches!(
            command,
            Command::Fetch { by_uid: false, .. }
                | Command::Store { by_uid: false, .. }
                | Command::Search { by_uid: false, .. }
        );
        let closing = matches!(command, Command::Logout);
        let handshake = matches!(command, Command::StartTls);
        let squeeze = matches!(command, Command::Compress);
        let reply = match self.wrong_state(&command) {
            Some(reply) => reply,
            None => self.execute(command, &due).await?,
        };
        self.report_changes(!numbers).await?;
        let go = reply.status == "OK";
        self.finish(&tag, reply, &due).await?;
        if closing && go {
            self.conn.flush().await?;
            return Err(End::Orderly);
        }
        if handshake && go {
            return self.handshake().await;
        }
        if squeeze && go {
            self.conn.flush().await?;
            self.conn.squeeze = Some(Squeeze::new());
        }
        Ok(())
    }

    /// A malformed command was answered; too many of them end it.
    async fn strike(&mut self) -> Result<(), End> {
        self.bad += 1;
        if self.bad < MOST_BAD {
            return Ok(());
        }
        self.conn.out.untagged("BYE Too many malformed commands");
        self.conn.flush().await?;
        Err(End::Orderly)
    }

    /// RFC 3501 §3: which commands are legal when.
    fn wrong_state(&self, command: &Command) -> Option<Reply> {
        let (anonymous, unselected) = (self.user.is_none(), self.view.is_none());
        let wrong = match command {
            Command::Capability | Command::Noop | Command::Logout | Command::Id => None,
            Command::StartTls if self.secure => Some("TLS is up already"),
            Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } => {
                (!anonymous).then_some("logged in already")
            }
            Command::Check
            | Command::Close
            | Command::Unselect
            | Command::Expunge(_)
            | Command::Fetch { .. }
            | Command::Store { .. }
            | Command::Copy { .. }
            | Command::Search { .. } => unselected.then_some("no folder is selected"),
            Command::Enable(_) if !unselected => Some("ENABLE comes before SELECT"),
            _ => anonymous.then_some("log in first"),
        };
        wrong.map(Reply::bad)
    }

    async fn execute(&mut self, command: Command, due: &[Due]) -> Result<Reply, End> {
        Ok(match command {
            Command::Capability => {
                let line = format!("CAPABILITY {}", self.capabilities());
                self.conn.out.untagged(&line);
                Reply::ok("done")
            }
            Command::Noop => {
                self.rescan_selected();
                Reply::ok("done")
            }
            Command::Check => Reply::ok("done"),
            Command::Logout => {
                self.view = None;
                self.conn.out.untagged("BYE Logging out");
                Reply::ok("Logout completed")
            }
            Command::StartTls if !self.conn.input.is_empty() => Reply::bad("nothing may follow STARTTLS"),
            Command::StartTls => Reply::ok("Begin TLS negotiation now"),
            Command::Compress if self.conn.squeeze.is_some() => {
                Reply::no("[COMPRESSIONACTIVE] DEFLATE is on already")
            }
            Command::Compress if !self.conn.input.is_empty() => Reply::bad("nothing may follow COMPRESS"),
            Command::Compress => Reply::ok("Compression is on from here"),
            Command::Login { user, password } => self.login(&user, &password),
            Command::Authenticate { mechanism, initial } => self.authenticate(&mechanism, initial).await?,
            Command::Id => {
                let pairs =
                    self.mock.options.id.iter().map(|(name, value)| format!("\"{name}\" \"{value}\""));
                let line = format!("ID ({})", pairs.collect::<Vec<_>>().join(" "));
                self.conn.out.untagged(&line);
                Reply::ok("done")
            }
            Command::Namespace => self.namespace(),
            Command::Enable(names) => self.enable(&names),
            Command::List(list) => self.list(&list),
            Command::Lsub { reference, pattern } => self.lsub(reference, pattern),
            Command::Subscribe(folder) => self.subscribe(&folder, true),
            Command::Unsubscribe(folder) => self.subscribe(&folder, false),
            Command::Status { folder, items } => self.status(&folder, &items),
            Command::Select { folder, read_only, condstore, qresync } => {
                self.select(&folder, read_only, condstore, qresync)
            }
            Command::Create { folder, uses } => self.create(&folder, &uses),
            Command::Delete(folder) => self.delete(&folder),
            Command::Rename { from, to } => self.rename(&from, &to),
            Command::Append { folder, messages } => self.append(&folder, messages, due)?,
            Command::Close => self.close(),
            Command::Unselect => {
                self.view = None;
                Reply::ok("done")
            }
            Command::Expunge(set) => self.expunge(set.as_ref()),
            Command::Fetch { by_uid, set, items, changed_since, vanished } => {
                self.fetch(by_uid, &set, &items, changed_since, vanished, due).await?
            }
            Command::Store { by_uid, set, change } => self.store_flags(by_uid, &set, &change),
            Command::Copy { by_uid, set, folder, take } => self.copy(by_uid, &set, &folder, take),
            Command::Search { by_uid, returns, key } => self.search(by_uid, returns.as_deref(), &key),
        })
    }

    async fn handshake(&mut self) -> Result<(), End> {
        self.conn.flush().await?;
        let config = self.mock.options.starttls.clone().ok_or(End::Closed)?;
        let Wire::Plain(stream) = std::mem::replace(&mut self.conn.wire, Wire::Gone) else {
            return Err(End::Closed);
        };
        let accepted = tokio_rustls::TlsAcceptor::from(config).accept(stream).await;
        self.conn.wire = Wire::Tls(Box::new(accepted.map_err(|_| End::Closed)?));
        self.secure = true;
        Ok(())
    }
}

/// What can be refused before the literal comes, as real servers do.
fn refuse_early(
    mock: &ImapMock,
    user: Option<&str>,
    utf8: bool,
    parts: &[Part],
    length: u64,
) -> Option<String> {
    let Some(Part::Text(first)) = parts.first() else { return None };
    let (_, verb) = parse::head(first);
    let Some(user) = user else {
        let short = length <= LONGEST_BEFORE_LOGIN && verb != "APPEND";
        return (!short).then(|| "BAD log in first".to_owned());
    };
    if verb != "APPEND" {
        return None;
    }
    let too_big = || Some("NO [TOOBIG] The message is larger than APPENDLIMIT".to_owned());
    let quirks = &mock.options.quirks;
    if quirks.append_limit.is_some_and(|limit| length > limit) {
        return too_big();
    }
    let wire = parse::append_folder(parts, &mock.options, utf8)?;
    match super::folders::resolve(mock, user, utf8, &wire) {
        Err(reply) => Some(format!("{} {}", reply.status, reply.text)),
        Ok(name) if quirks.append_limit(&name).is_some_and(|limit| length > limit) => too_big(),
        Ok(name) => {
            super::folders::missing(&mock.store(), user, &name).map(|r| format!("{} {}", r.status, r.text))
        }
    }
}
