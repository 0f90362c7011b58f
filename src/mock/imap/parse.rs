//! The grammar of commands (RFC 3501 §9), strictly: one space where it says SP, nothing left at the end.

use super::command::{Appended, Command, List, Qresync, StatusItem};
use super::cursor::{Cursor, Parsed, is_atom, is_tag};
use super::date::InternalDate;
use super::options::ImapOptions;
use super::set::SequenceSet;
use super::wire::Part;

/// Tag and verb (`UID FETCH` is one verb) of a line, as far as they can be told.
pub(super) fn head(line: &[u8]) -> (Option<String>, String) {
    let mut words = line.split(|&b| b == b' ');
    let tag = words.next().filter(|t| !t.is_empty() && t.len() <= 100 && t.iter().all(|&b| is_tag(b)));
    let tag = tag.map(|t| String::from_utf8_lossy(t).into_owned());
    let upper = |w: &[u8]| String::from_utf8_lossy(&w[..w.len().min(40)]).to_ascii_uppercase();
    let mut verb = words.next().map(upper).unwrap_or_default();
    if verb == "UID" {
        verb = format!("UID {}", words.next().map(upper).unwrap_or_default());
    }
    (tag, verb)
}

/// The UID set of a `UID …` command, for rules that wait for one UID.
pub(super) fn asked_uids(line: &[u8]) -> Option<SequenceSet> {
    let mut words = line.split(|&b| b == b' ').skip(1);
    if !words.next()?.eq_ignore_ascii_case(b"UID") {
        return None;
    }
    SequenceSet::parse(words.nth(1)?)
}

/// Reads a whole command. `utf8` allows 8-bit octets in quoted strings (RFC 6855, after ENABLE).
pub(super) fn parse(parts: &[Part], options: &ImapOptions, utf8: bool) -> Parsed<Command> {
    let mut c = Cursor { parts, part: 0, at: 0, utf8, options };
    c.word(is_tag)?;
    c.space()?;
    let verb = c.word(is_atom)?.to_ascii_uppercase();
    let command = c.command(&verb)?;
    if c.peek().is_some() || c.part + 1 < parts.len() {
        return Err("more than the command takes");
    }
    Ok(command)
}

/// The folder of an APPEND whose message is still to come, if it can be told yet.
pub(super) fn append_folder(parts: &[Part], options: &ImapOptions, utf8: bool) -> Option<Vec<u8>> {
    let mut c = Cursor { parts, part: 0, at: 0, utf8, options };
    c.word(is_tag).ok()?;
    c.space().ok()?;
    (c.keyword("APPEND") && c.eat(b' ')).then(|| c.astring().ok())?
}

impl Cursor<'_> {
    /// The command after its verb.
    fn command(&mut self, verb: &str) -> Parsed<Command> {
        let argument = |c: &mut Self| {
            c.space()?;
            c.astring()
        };
        Ok(match verb {
            "CAPABILITY" => Command::Capability,
            "NOOP" => Command::Noop,
            "LOGOUT" => Command::Logout,
            "STARTTLS" if self.options.starttls.is_some() => Command::StartTls,
            "COMPRESS" if self.offers("COMPRESS=DEFLATE") => {
                self.space()?;
                if !self.keyword("DEFLATE") {
                    return Err("unknown way to compress");
                }
                Command::Compress
            }
            "CHECK" => Command::Check,
            "CLOSE" => Command::Close,
            "UNSELECT" if self.offers("UNSELECT") => Command::Unselect,
            "EXPUNGE" => Command::Expunge(None),
            "NAMESPACE" if self.offers("NAMESPACE") => Command::Namespace,
            "LOGIN" => Command::Login { user: argument(self)?, password: argument(self)? },
            "AUTHENTICATE" => self.authenticate()?,
            "ID" if self.offers("ID") => self.id()?,
            "ENABLE" if self.offers("ENABLE") => {
                let mut names = Vec::new();
                while names.is_empty() || self.peek().is_some() {
                    self.space()?;
                    names.push(self.word(is_atom)?.to_ascii_uppercase());
                }
                Command::Enable(names)
            }
            "LIST" => self.list_command()?,
            "LSUB" => {
                let reference = argument(self)?;
                self.space()?;
                Command::Lsub { reference, pattern: self.list_pattern()? }
            }
            "SUBSCRIBE" => Command::Subscribe(argument(self)?),
            "UNSUBSCRIBE" => Command::Unsubscribe(argument(self)?),
            "STATUS" => {
                let folder = argument(self)?;
                self.space()?;
                Command::Status { folder, items: self.status_items()? }
            }
            "SELECT" => self.select(false)?,
            "EXAMINE" => self.select(true)?,
            "CREATE" => Command::Create { folder: argument(self)?, uses: self.uses()? },
            "DELETE" => Command::Delete(argument(self)?),
            "RENAME" => Command::Rename { from: argument(self)?, to: argument(self)? },
            "APPEND" => self.append()?,
            "UID" => {
                self.space()?;
                let verb = self.word(is_atom)?.to_ascii_uppercase();
                if verb == "EXPUNGE" && self.offers("UIDPLUS") {
                    self.space()?;
                    return Ok(Command::Expunge(Some(self.set()?)));
                }
                self.on_messages(&verb, true)?
            }
            _ => self.on_messages(verb, false)?,
        })
    }

    /// `(USE (\Sent))` (RFC 6154 §3).
    fn uses(&mut self) -> Parsed<Vec<String>> {
        if self.peek().is_none() || !self.offers("CREATE-SPECIAL-USE") {
            return Ok(Vec::new());
        }
        self.space()?;
        self.need(b'(')?;
        if !self.keyword("USE") {
            return Err("unknown parameter");
        }
        self.space()?;
        let uses = self.list(|c| {
            c.need(b'\\')?;
            c.word(is_atom).map(|name| format!("\\{name}"))
        })?;
        self.need(b')')?;
        Ok(uses)
    }

    fn on_messages(&mut self, verb: &str, by_uid: bool) -> Parsed<Command> {
        let known = match verb {
            "FETCH" | "STORE" | "COPY" | "SEARCH" => true,
            "MOVE" => self.offers("MOVE"),
            _ => false,
        };
        if !known {
            return Err("unknown command");
        }
        self.space()?;
        if verb == "SEARCH" {
            return self.search(by_uid);
        }
        let set = self.set()?;
        self.space()?;
        match verb {
            "FETCH" => self.fetch(by_uid, set),
            "STORE" => self.store(by_uid, set),
            _ => Ok(Command::Copy { by_uid, set, folder: self.astring()?, take: verb == "MOVE" }),
        }
    }

    fn authenticate(&mut self) -> Parsed<Command> {
        self.space()?;
        let mechanism = self.word(is_atom)?.to_ascii_uppercase();
        let initial = if self.peek().is_some() {
            if !self.offers("SASL-IR") {
                return Err("SASL-IR is not offered");
            }
            self.space()?;
            Some(self.word(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))?.into_bytes())
        } else {
            None
        };
        Ok(Command::Authenticate { mechanism, initial })
    }

    fn id(&mut self) -> Parsed<Command> {
        self.space()?;
        if !self.keyword("NIL") {
            let fields = self.list(|c| if c.keyword("NIL") { Ok(Vec::new()) } else { c.string() })?;
            if fields.len() % 2 != 0 || fields.len() > 60 {
                return Err("ID takes pairs, thirty at most");
            }
        }
        Ok(Command::Id)
    }

    fn select(&mut self, read_only: bool) -> Parsed<Command> {
        self.space()?;
        let folder = self.astring()?;
        let (mut condstore, mut qresync) = (false, None);
        if self.peek().is_some() {
            self.space()?;
            let read = self.list(|c| {
                if c.condstore() && c.keyword("CONDSTORE") {
                    condstore = true;
                } else if c.offers("QRESYNC") && c.keyword("QRESYNC") {
                    c.space()?;
                    qresync = Some(c.qresync()?);
                } else {
                    return Err("unknown parameter");
                }
                Ok(())
            })?;
            if read.is_empty() {
                return Err("an empty parameter list");
            }
        }
        Ok(Command::Select { folder, read_only, condstore, qresync })
    }

    fn qresync(&mut self) -> Parsed<Qresync> {
        self.need(b'(')?;
        let uid_validity = u32::try_from(self.number()?).map_err(|_| "a number is too large")?;
        self.space()?;
        let modseq = self.number()?;
        let mut known = None;
        while self.eat(b' ') {
            // The second, parenthesised argument (sequence match data) is only a hint: read and left.
            if self.eat(b'(') {
                self.set()?;
                self.space()?;
                self.set()?;
                self.need(b')')?;
            } else {
                known = Some(self.set()?);
            }
        }
        self.need(b')')?;
        Ok(Qresync { uid_validity, modseq, known })
    }

    fn list_command(&mut self) -> Parsed<Command> {
        let extended = self.offers("LIST-EXTENDED");
        let special = self.offers("SPECIAL-USE");
        let mut list = List::default();
        self.space()?;
        if self.peek() == Some(b'(') && (extended || special) {
            self.list(|c| {
                match c.word(is_atom)?.to_ascii_uppercase().as_str() {
                    "SUBSCRIBED" if extended => list.only_subscribed = true,
                    "REMOTE" | "RECURSIVEMATCH" if extended => {}
                    "SPECIAL-USE" if special => list.only_special = true,
                    _ => return Err("unknown selection option"),
                }
                Ok(())
            })?;
            self.space()?;
        }
        list.reference = self.astring()?;
        self.space()?;
        if self.peek() == Some(b'(') && extended {
            list.patterns = self.list(Self::list_pattern)?;
        } else {
            list.patterns.push(self.list_pattern()?);
        }
        if self.peek().is_some() {
            self.space()?;
            if !self.keyword("RETURN") {
                return Err("more than the command takes");
            }
            self.space()?;
            self.list(|c| {
                match c.word(is_atom)?.to_ascii_uppercase().as_str() {
                    "SPECIAL-USE" if special => {}
                    "CHILDREN" if extended => {}
                    "SUBSCRIBED" if extended => list.return_subscribed = true,
                    "STATUS" if c.offers("LIST-STATUS") => {
                        c.space()?;
                        list.return_status = Some(c.status_items()?);
                    }
                    _ => return Err("unknown return option"),
                }
                Ok(())
            })?;
        }
        Ok(Command::List(list))
    }

    pub(super) fn status_items(&mut self) -> Parsed<Vec<StatusItem>> {
        let items = self.list(|c| {
            Ok(match c.word(is_atom)?.to_ascii_uppercase().as_str() {
                "MESSAGES" => StatusItem::Messages,
                "RECENT" => StatusItem::Recent,
                "UIDNEXT" => StatusItem::UidNext,
                "UIDVALIDITY" => StatusItem::UidValidity,
                "UNSEEN" => StatusItem::Unseen,
                "HIGHESTMODSEQ" if c.condstore() => StatusItem::HighestModseq,
                "SIZE" if c.offers("STATUS=SIZE") => StatusItem::Size,
                "MAILBOXID" if c.offers("OBJECTID") => StatusItem::MailboxId,
                "APPENDLIMIT" if c.options.quirks.limits_appends() => StatusItem::AppendLimit,
                _ => return Err("unknown status item"),
            })
        })?;
        if items.is_empty() { Err("an empty item list") } else { Ok(items) }
    }

    fn append(&mut self) -> Parsed<Command> {
        self.space()?;
        let folder = self.astring()?;
        let mut messages = Vec::new();
        loop {
            self.space()?;
            let mut flags = Vec::new();
            if self.peek() == Some(b'(') {
                flags = self.list(Self::flag)?;
                self.space()?;
            }
            let mut date = None;
            if self.peek() == Some(b'"') {
                let text = self.quoted()?;
                let text = std::str::from_utf8(&text).map_err(|_| "not a date")?;
                date = Some(InternalDate::parse(text).ok_or("not a date")?);
                self.space()?;
            }
            let utf8 = self.utf8 && self.keyword("UTF8");
            if utf8 {
                self.space()?;
                self.need(b'(')?;
            }
            let binary = (utf8 || self.offers("BINARY")) && self.eat(b'~');
            if utf8 && !binary {
                return Err("UTF8 data is a literal8");
            }
            let octets = self.literal().ok_or("the message must be a literal")?;
            if utf8 {
                self.need(b')')?;
            }
            messages.push(Appended { flags, date, octets, binary, utf8 });
            if self.peek().is_none() {
                return Ok(Command::Append { folder, messages });
            }
            if !self.offers("MULTIAPPEND") {
                return Err("one message at a time: MULTIAPPEND is not offered");
            }
        }
    }
}
