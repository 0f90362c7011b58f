//! The grammar of commands (RFC 3501 §9), strictly: one space where it says SP, nothing left at the end.

use super::command::{
    Appended, Command, FetchItem, FlagChange, How, List, Qresync, SearchKey, Section, StatusItem,
};
use super::date::{InternalDate, search_day};
use super::options::ImapOptions;
use super::set::SequenceSet;
use super::wire::Part;

/// What is wrong with a command, for the text of BAD.
pub(super) type Parsed<T> = Result<T, &'static str>;

/// NOT, OR and parentheses may nest so deep.
const DEEPEST_SEARCH: usize = 32;
/// So many members may a list have.
const LONGEST_LIST: usize = 10_000;

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

struct Cursor<'a> {
    parts: &'a [Part],
    part: usize,
    at: usize,
    utf8: bool,
    options: &'a ImapOptions,
}

fn is_atom(b: u8) -> bool {
    (0x21..0x7f).contains(&b) && !b"(){%*\"\\]".contains(&b)
}

fn is_astring(b: u8) -> bool {
    is_atom(b) || b == b']'
}

fn is_tag(b: u8) -> bool {
    is_astring(b) && b != b'+'
}

fn is_pattern(b: u8) -> bool {
    is_astring(b) || b == b'%' || b == b'*'
}

fn is_set(b: u8) -> bool {
    b.is_ascii_digit() || b",:*".contains(&b)
}

impl Cursor<'_> {
    fn text(&self) -> &[u8] {
        match self.parts.get(self.part) {
            Some(Part::Text(text)) => text.get(self.at..).unwrap_or_default(),
            _ => &[],
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text().first().copied()
    }

    fn eat(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, wanted: u8) -> Parsed<()> {
        self.eat(wanted).then_some(()).ok_or("unexpected character or end of line")
    }

    fn space(&mut self) -> Parsed<()> {
        self.need(b' ')
    }

    fn word(&mut self, allowed: fn(u8) -> bool) -> Parsed<String> {
        let text = self.text();
        let length = text.iter().position(|&b| !allowed(b)).unwrap_or(text.len());
        let word = String::from_utf8_lossy(&text[..length]).into_owned();
        self.at += length;
        if word.is_empty() { Err("a word is missing") } else { Ok(word) }
    }

    /// The next word if it is this one.
    fn keyword(&mut self, wanted: &str) -> bool {
        let text = self.text();
        let found = text.get(..wanted.len()).is_some_and(|t| t.eq_ignore_ascii_case(wanted.as_bytes()))
            && !text.get(wanted.len()).is_some_and(|&b| is_atom(b));
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    fn literal(&mut self) -> Option<bytes::Bytes> {
        if !self.text().is_empty() {
            return None;
        }
        let Some(Part::Literal(octets)) = self.parts.get(self.part + 1) else { return None };
        let octets = octets.clone();
        self.part += 2;
        self.at = 0;
        Some(octets)
    }

    fn quoted(&mut self) -> Parsed<Vec<u8>> {
        self.need(b'"')?;
        let mut value = Vec::new();
        loop {
            let b = self.peek().ok_or("a quoted string does not end")?;
            self.at += 1;
            match b {
                b'"' => return Ok(value),
                b'\\' => {
                    let escaped = self.peek().filter(|b| b"\"\\".contains(b));
                    value.push(escaped.ok_or("only \" and \\ may be escaped")?);
                    self.at += 1;
                }
                0x80.. if !self.utf8 => return Err("8-bit octets in a quoted string"),
                b => value.push(b),
            }
        }
    }

    fn string(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            _ => self.literal().map(|l| l.to_vec()).ok_or("a string is missing"),
        }
    }

    fn astring(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b) if is_astring(b) => self.word(is_astring).map(String::into_bytes),
            _ => self.string(),
        }
    }

    fn list_pattern(&mut self) -> Parsed<Vec<u8>> {
        match self.peek() {
            Some(b) if is_pattern(b) => self.word(is_pattern).map(String::into_bytes),
            _ => self.string(),
        }
    }

    fn number(&mut self) -> Parsed<u64> {
        let text = self.word(|b| b.is_ascii_digit())?;
        text.parse::<u64>().ok().filter(|&n| n < 1 << 63).ok_or("a number is too large")
    }

    fn set(&mut self) -> Parsed<SequenceSet> {
        let text = self.word(is_set)?;
        SequenceSet::parse(text.as_bytes()).ok_or("not a sequence set")
    }

    fn list<T>(&mut self, mut member: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.need(b'(')?;
        let mut members = Vec::new();
        if self.eat(b')') {
            return Ok(members);
        }
        loop {
            members.push(member(self)?);
            if self.eat(b')') {
                return Ok(members);
            }
            if members.len() >= LONGEST_LIST {
                return Err("a list is too long");
            }
            self.space()?;
        }
    }

    fn flag(&mut self) -> Parsed<String> {
        if !self.eat(b'\\') {
            return self.word(is_atom);
        }
        let name = self.word(is_atom)?;
        let known = ["Seen", "Answered", "Flagged", "Deleted", "Draft"];
        known.iter().find(|k| k.eq_ignore_ascii_case(&name)).map(|k| format!("\\{k}")).ok_or("no such flag")
    }

    fn offers(&self, capability: &str) -> bool {
        self.options.offers(capability)
    }

    fn condstore(&self) -> bool {
        self.offers("CONDSTORE") || self.offers("QRESYNC")
    }

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
            "CREATE" => Command::Create(argument(self)?),
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

    fn status_items(&mut self) -> Parsed<Vec<StatusItem>> {
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
            let octets = self.literal().ok_or("the message must be a literal")?;
            messages.push(Appended { flags, date, octets });
            if self.peek().is_none() {
                return Ok(Command::Append { folder, messages });
            }
            if !self.offers("MULTIAPPEND") {
                return Err("one message at a time: MULTIAPPEND is not offered");
            }
        }
    }

    fn fetch(&mut self, by_uid: bool, set: SequenceSet) -> Parsed<Command> {
        let mut items = match self.peek() {
            Some(b'(') => self.list(Self::fetch_item)?,
            _ if self.keyword("FAST") => vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size],
            _ if self.keyword("ALL") || self.keyword("FULL") => vec![FetchItem::Unserved],
            _ => vec![self.fetch_item()?],
        };
        if items.is_empty() {
            return Err("an empty item list");
        }
        let (mut changed_since, mut vanished) = (None, false);
        if self.peek().is_some() {
            self.space()?;
            self.list(|c| {
                if c.condstore() && c.keyword("CHANGEDSINCE") {
                    c.space()?;
                    changed_since = Some(c.number()?);
                } else if c.offers("QRESYNC") && by_uid && c.keyword("VANISHED") {
                    vanished = true;
                } else {
                    return Err("unknown modifier");
                }
                Ok(())
            })?;
            if vanished && changed_since.is_none() {
                return Err("VANISHED needs CHANGEDSINCE");
            }
        }
        if by_uid && !items.contains(&FetchItem::Uid) {
            items.insert(0, FetchItem::Uid);
        }
        if changed_since.is_some() && !items.contains(&FetchItem::Modseq) {
            items.push(FetchItem::Modseq);
        }
        Ok(Command::Fetch { by_uid, set, items, changed_since, vanished })
    }

    fn fetch_item(&mut self) -> Parsed<FetchItem> {
        let word = self.word(|b| is_atom(b) && b != b'[' && b != b'<')?.to_ascii_uppercase();
        let body = |name: &str, section, peek| FetchItem::Body {
            name: name.to_owned(),
            section,
            peek,
            partial: None,
        };
        Ok(match word.as_str() {
            "UID" => FetchItem::Uid,
            "FLAGS" => FetchItem::Flags,
            "INTERNALDATE" => FetchItem::InternalDate,
            "RFC822.SIZE" => FetchItem::Size,
            "MODSEQ" if self.condstore() => FetchItem::Modseq,
            "EMAILID" if self.offers("OBJECTID") => FetchItem::EmailId,
            "THREADID" if self.offers("OBJECTID") => FetchItem::ThreadId,
            "RFC822" => body("RFC822", Section::All, false),
            "RFC822.HEADER" => body("RFC822.HEADER", Section::Header, true),
            "RFC822.TEXT" => body("RFC822.TEXT", Section::Text, false),
            "BODY" | "BODY.PEEK" if self.peek() == Some(b'[') => self.section(word == "BODY.PEEK")?,
            "ENVELOPE" | "BODYSTRUCTURE" | "BODY" => FetchItem::Unserved,
            _ => return Err("unknown fetch item"),
        })
    }

    fn section(&mut self, peek: bool) -> Parsed<FetchItem> {
        self.need(b'[')?;
        let mut name = "BODY[".to_owned();
        let mut served = true;
        let section = if self.peek() == Some(b']') {
            Section::All
        } else {
            let word = self.word(is_atom)?.to_ascii_uppercase();
            name.push_str(&word);
            match word.as_str() {
                "HEADER" => Section::Header,
                "TEXT" => Section::Text,
                "HEADER.FIELDS" | "HEADER.FIELDS.NOT" => {
                    self.space()?;
                    let names = self.list(Self::astring)?;
                    if names.is_empty() {
                        return Err("an empty field list");
                    }
                    let names: Vec<String> =
                        names.iter().map(|n| String::from_utf8_lossy(n).to_ascii_uppercase()).collect();
                    name.push_str(&format!(" ({})", names.join(" ")));
                    Section::Fields { names, except: word.ends_with("NOT") }
                }
                part if part.starts_with(|c: char| ('1'..='9').contains(&c)) => {
                    served = false;
                    Section::All
                }
                _ => return Err("unknown section"),
            }
        };
        self.need(b']')?;
        name.push(']');
        let mut partial = None;
        if self.eat(b'<') {
            let offset = self.number()?;
            self.need(b'.')?;
            let length = self.number()?;
            self.need(b'>')?;
            if length == 0 || offset > u64::from(u32::MAX) || length > u64::from(u32::MAX) {
                return Err("not a partial range");
            }
            name.push_str(&format!("<{offset}>"));
            partial = Some((offset, length));
        }
        Ok(if served { FetchItem::Body { name, section, peek, partial } } else { FetchItem::Unserved })
    }

    fn store(&mut self, by_uid: bool, set: SequenceSet) -> Parsed<Command> {
        let mut unchanged_since = None;
        if self.peek() == Some(b'(') {
            self.need(b'(')?;
            if !self.condstore() || !self.keyword("UNCHANGEDSINCE") {
                return Err("unknown modifier");
            }
            self.space()?;
            unchanged_since = Some(self.number()?);
            self.need(b')')?;
            self.space()?;
        }
        let (how, silent) = match self.word(is_atom)?.to_ascii_uppercase().as_str() {
            "FLAGS" => (How::Set, false),
            "FLAGS.SILENT" => (How::Set, true),
            "+FLAGS" => (How::Add, false),
            "+FLAGS.SILENT" => (How::Add, true),
            "-FLAGS" => (How::Remove, false),
            "-FLAGS.SILENT" => (How::Remove, true),
            _ => return Err("unknown store item"),
        };
        self.space()?;
        let flags = if self.peek() == Some(b'(') {
            self.list(Self::flag)?
        } else {
            let mut flags = vec![self.flag()?];
            while self.eat(b' ') {
                flags.push(self.flag()?);
            }
            flags
        };
        Ok(Command::Store { by_uid, set, change: FlagChange { how, silent, flags, unchanged_since } })
    }

    fn search(&mut self, by_uid: bool) -> Parsed<Command> {
        let mut returns = None;
        if self.offers("ESEARCH") && self.keyword("RETURN") {
            self.space()?;
            let mut options = self.list(|c| {
                let word = c.word(is_atom)?.to_ascii_uppercase();
                let known = ["MIN", "MAX", "ALL", "COUNT"].contains(&word.as_str());
                known.then_some(word).ok_or("unknown return option")
            })?;
            if options.is_empty() {
                options.push("ALL".to_owned());
            }
            returns = Some(options);
            self.space()?;
        }
        if self.keyword("CHARSET") {
            self.space()?;
            let charset = self.astring()?.to_ascii_uppercase();
            if charset != b"UTF-8" && charset != b"US-ASCII" {
                return Err("[BADCHARSET (US-ASCII UTF-8)] unknown charset");
            }
            self.space()?;
        }
        let mut keys = vec![self.search_key(0)?];
        while self.eat(b' ') {
            keys.push(self.search_key(0)?);
            if keys.len() > LONGEST_LIST {
                return Err("too many search keys");
            }
        }
        Ok(Command::Search { by_uid, returns, key: SearchKey::And(keys) })
    }

    fn search_key(&mut self, depth: usize) -> Parsed<SearchKey> {
        if depth > DEEPEST_SEARCH {
            return Err("search keys nest too deep");
        }
        match self.peek() {
            Some(b'(') => {
                let keys = self.list(|c| c.search_key(depth + 1))?;
                return if keys.is_empty() { Err("an empty search key") } else { Ok(SearchKey::And(keys)) };
            }
            Some(b'0'..=b'9' | b'*') => return self.set().map(SearchKey::Numbers),
            _ => {}
        }
        let word = self.word(is_atom)?.to_ascii_uppercase();
        let flag = |name: &str| SearchKey::Flag(name.to_owned());
        let not = |key| SearchKey::Not(Box::new(key));
        Ok(match word.as_str() {
            "ALL" => SearchKey::All,
            "ANSWERED" => flag("\\Answered"),
            "DELETED" => flag("\\Deleted"),
            "DRAFT" => flag("\\Draft"),
            "FLAGGED" => flag("\\Flagged"),
            "SEEN" => flag("\\Seen"),
            "UNANSWERED" => not(flag("\\Answered")),
            "UNDELETED" => not(flag("\\Deleted")),
            "UNDRAFT" => not(flag("\\Draft")),
            "UNFLAGGED" => not(flag("\\Flagged")),
            "UNSEEN" => not(flag("\\Seen")),
            "RECENT" => SearchKey::Recent,
            "OLD" => not(SearchKey::Recent),
            "NEW" => SearchKey::And(vec![SearchKey::Recent, not(flag("\\Seen"))]),
            _ => {
                self.space()?;
                self.search_argument(&word, depth)?
            }
        })
    }

    fn search_argument(&mut self, word: &str, depth: usize) -> Parsed<SearchKey> {
        let day = |c: &mut Self| {
            let text = c.astring()?;
            std::str::from_utf8(&text).ok().and_then(search_day).ok_or("not a date")
        };
        let header = |field: &str, value| SearchKey::Header { field: field.to_owned(), value };
        Ok(match word {
            "UID" => SearchKey::Uids(self.set()?),
            "NOT" => SearchKey::Not(Box::new(self.search_key(depth + 1)?)),
            "OR" => {
                let first = self.search_key(depth + 1)?;
                self.space()?;
                SearchKey::Or(Box::new((first, self.search_key(depth + 1)?)))
            }
            "KEYWORD" => SearchKey::Flag(self.word(is_atom)?),
            "UNKEYWORD" => SearchKey::Not(Box::new(SearchKey::Flag(self.word(is_atom)?))),
            "BEFORE" => SearchKey::Before(day(self)?),
            "ON" => SearchKey::On(day(self)?),
            "SINCE" => SearchKey::Since(day(self)?),
            "LARGER" => SearchKey::Larger(self.number()?),
            "SMALLER" => SearchKey::Smaller(self.number()?),
            "HEADER" => {
                let field = self.astring()?;
                self.space()?;
                header(&String::from_utf8_lossy(&field), self.astring()?)
            }
            "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => header(word, self.astring()?),
            "BODY" => SearchKey::Body(self.astring()?),
            "TEXT" => SearchKey::Text(self.astring()?),
            "MODSEQ" if self.condstore() => SearchKey::Modseq(self.number()?),
            "EMAILID" if self.offers("OBJECTID") => SearchKey::EmailId(self.word(is_atom)?),
            _ => return Err("unknown search key"),
        })
    }
}
