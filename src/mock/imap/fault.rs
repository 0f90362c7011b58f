//! The fault script: ordered rules, each a match and an act, each counting how often it really acted.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;

/// When something goes wrong, and what. Build it with [`Rule::on`].
#[derive(Debug, Clone)]
pub struct Rule {
    verb: String,
    connection: Option<u64>,
    nth: u64,
    times: u64,
    uid: Option<u32>,
    act: Act,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Tagged NO with this text (a response code may lead it) instead of doing it.
    No(String),
    /// Tagged BAD with this text instead of doing it.
    Bad(String),
    /// `* BYE` with this text and the end, instead of doing it.
    Bye(String),
    /// All untagged answers are sent, then a tagged NO: some messages could not be fetched.
    NoAtEnd(String),
    /// All untagged answers are sent, then a tagged BAD.
    BadAtEnd(String),
    /// All untagged answers are sent, then `* BYE` in place of the tagged OK, and the end.
    ByeAtEnd(String),
    /// The command is done; its answer is cut after so many octets by a reset (RST on TCP).
    ResetAt(u64),
    /// The command is done; its answer is cut after so many octets by a silent close (FIN, no TLS close_notify).
    CloseAt(u64),
    /// The command is not done, and no answer ever comes.
    Hang,
    /// The answer comes octet by octet, so long apart.
    Trickle(Duration),
    /// The answer comes so much later.
    Delay(Duration),
    /// The literal is announced longer (or, negative, shorter) than it is.
    LiteralOff(i64),
    /// The literal is announced with this text as its length, such as `18446744073709551616` or `-1`.
    LiteralAnnounced(String),
    /// RFC822.SIZE is off by so much.
    SizeOff(i64),
    /// Something unasked before the answer.
    Noise(Noise),
    /// The rule's UID (the first one, if it names none) gets no FETCH answer; the command still ends well.
    DropUid,
    /// The FETCH answer of the rule's UID (or the first) comes twice.
    Duplicate,
    /// The FETCH answer of the rule's UID (or the first) comes without the UID.
    WithoutUid,
    /// A FETCH answer for this UID, which nobody asked for, comes too.
    Unasked(u32),
    /// Another client expunges this UID right before the command.
    ExpungeBefore(u32),
    /// The folder of this SELECT, EXAMINE or STATUS has a new UIDVALIDITY and new UIDs from now on.
    NewUidValidity,
    /// At the greeting: `* PREAUTH` instead of OK.
    Preauth,
    /// These octets follow the tagged answer in the same write (STARTTLS injection).
    ExtraAfter(Vec<u8>),
    /// After the answer (or greeting) a tagged OK for this tag, a command that was not sent yet; `None` guesses the
    /// tag by counting on.
    OkEarly(Option<String>),
    /// The tagged answer comes without its response code (no APPENDUID, no COPYUID).
    WithoutCode,
    /// Tagged NO with this text, then BYE, instead of doing it.
    NoAndBye(String),
    /// The connection breaks after the last octet of an APPEND, before its answer.
    LoseAppend(Fate),
    /// An APPEND is answered OK, without APPENDUID; its messages are there after so many further commands, of whomever.
    StoreLater(u64),
    /// Another client renames this folder and all below it right before the command.
    RenameBefore(String, String),
    /// The message with this X-GM-MSGID has exactly these labels from right before the command on.
    LabelBefore(u64, Vec<String>),
    /// Another client deletes this folder right before the command.
    DeleteBefore(String),
    /// Another client makes this folder right before the command.
    CreateBefore(String),
    /// This folder is a container without messages (`\Noselect`) from right before the command on.
    NoSelectBefore(String),
    /// This folder has a new UIDVALIDITY and new UIDs from right before the command on.
    RenumberBefore(String),
    /// The FETCH answer of the rule's UID (or the first) is there and empty: `* 1 FETCH ()`.
    EmptyFetch,
    /// The message of the rule's UID (or the first) is NIL instead of a literal.
    NilBody,
    /// The message of the rule's UID (or the first) comes without its header.
    WithoutHeader,
    /// `BAD Request is throttled. Suggested Backoff Time: N milliseconds`, then BYE, as Exchange does.
    Throttled(u64),
}

/// What becomes of messages whose APPEND was never answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They were stored.
    Stored,
    /// They were not.
    NotStored,
    /// They are, after so many further commands, of whomever.
    StoredAfter(u64),
}

/// Untagged answers nobody asked for, and odd spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noise {
    /// So many `* n EXISTS`.
    Exists(u64),
    /// Untagged answers that no standard knows, unknown response codes, flags and lists.
    Unknown,
    /// One line of so many octets.
    LongLine(u64),
    /// Empty lines.
    EmptyLines,
    /// Two spaces for each one in untagged lines of this answer.
    DoubleSpaces,
    /// Exactly these octets.
    Raw(Vec<u8>),
}

impl Act {
    /// A wrong password.
    pub fn authentication_failed() -> Act {
        Act::No("[AUTHENTICATIONFAILED] Authentication failed.".to_owned())
    }

    /// The authentication service is down.
    pub fn unavailable() -> Act {
        Act::No("[UNAVAILABLE] Temporary authentication failure.".to_owned())
    }

    /// Exchange: the login was accepted, and opens no mailbox.
    pub fn not_connected() -> Act {
        Act::Bad("User is authenticated but not connected.".to_owned())
    }

    /// Exchange: the token's life ended in the middle of the session.
    pub fn token_expired() -> Act {
        Act::Bye("Session invalidated - AccessTokenExpired".to_owned())
    }

    /// Dovecot's refusal of one connection too many.
    pub fn too_many_connections() -> Act {
        Act::No(too_many(10))
    }
}

pub(super) fn too_many(limit: usize) -> String {
    format!(
        "[UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections={limit})"
    )
}

impl Rule {
    /// A rule for a verb: `LOGIN`, `UID FETCH`, …; `GREETING` for the greeting; `*` for any command. It acts once, on
    /// the first match, unless told otherwise.
    pub fn on(verb: &str, act: Act) -> Rule {
        Rule { verb: verb.to_ascii_uppercase(), connection: None, nth: 1, times: 1, uid: None, act }
    }

    /// Only on this connection (the first is 1).
    pub fn connection(mut self, number: u64) -> Rule {
        self.connection = Some(number);
        self
    }

    /// Not before the nth match (the first is 1).
    pub fn nth(mut self, nth: u64) -> Rule {
        self.nth = nth;
        self
    }

    /// So many times in a row.
    pub fn times(mut self, times: u64) -> Rule {
        self.times = times;
        self
    }

    /// Every time.
    pub fn always(self) -> Rule {
        self.times(u64::MAX)
    }

    /// Only commands whose set holds this UID; acts on one message act on it. Cuts count from its answer on.
    pub fn uid(mut self, uid: u32) -> Rule {
        self.uid = Some(uid);
        self
    }
}

/// The rules of a server and their counts.
#[derive(Debug, Default)]
pub(super) struct Script(Mutex<Vec<Scripted>>);

#[derive(Debug)]
struct Scripted {
    rule: Rule,
    matched: u64,
    fired: u64,
}

/// A rule that matched this command: its place in the script, its act and its UID.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub rule: usize,
    pub act: Act,
    pub uid: Option<u32>,
}

impl Script {
    pub fn add(&self, rules: impl IntoIterator<Item = Rule>) {
        let scripted = rules.into_iter().map(|rule| Scripted { rule, matched: 0, fired: 0 });
        lock(&self.0).extend(scripted);
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }

    /// How often each rule acted, in the order they were added.
    pub fn fired(&self) -> Vec<(String, u64)> {
        let rules = lock(&self.0);
        rules.iter().map(|s| (format!("{} {:?}", s.rule.verb, s.rule.act), s.fired)).collect()
    }

    pub fn fire(&self, rule: usize) {
        if let Some(scripted) = lock(&self.0).get_mut(rule) {
            scripted.fired += 1;
        }
    }

    /// What shall go wrong with this command; `asks` says whether it asks for a UID.
    pub fn due(&self, connection: u64, verb: &str, asks: impl Fn(u32) -> bool) -> Vec<Due> {
        let mut due = Vec::new();
        for (index, scripted) in lock(&self.0).iter_mut().enumerate() {
            let rule = &scripted.rule;
            let fits = (rule.verb == verb || (rule.verb == "*" && verb != "GREETING"))
                && rule.connection.is_none_or(|c| c == connection)
                && rule.uid.is_none_or(&asks);
            if fits {
                scripted.matched += 1;
                if scripted.matched >= rule.nth && scripted.matched - rule.nth < rule.times {
                    due.push(Due { rule: index, act: rule.act.clone(), uid: rule.uid });
                }
            }
        }
        due
    }
}
