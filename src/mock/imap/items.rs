//! The grammar of FETCH, STORE and SEARCH (RFC 3501 §9; RFC 7162, RFC 4731, RFC 8474).

use super::command::{Command, FetchItem, FlagChange, How, SearchKey, Section};
use super::cursor::{Cursor, LONGEST_LIST, Parsed, is_atom};
use super::date::search_day;
use super::set::SequenceSet;

/// NOT, OR and parentheses may nest so deep.
const DEEPEST_SEARCH: usize = 32;

impl Cursor<'_> {
    pub(super) fn fetch(&mut self, by_uid: bool, set: SequenceSet) -> Parsed<Command> {
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
            "X-GM-LABELS" if self.offers("X-GM-EXT-1") => FetchItem::GmLabels,
            "X-GM-MSGID" if self.offers("X-GM-EXT-1") => FetchItem::GmMessageId,
            "X-GM-THRID" if self.offers("X-GM-EXT-1") => FetchItem::GmThreadId,
            "BINARY.SIZE" if self.offers("BINARY") => {
                self.need(b'[')?;
                self.need(b']')?;
                FetchItem::BinarySize
            }
            "BINARY" | "BINARY.PEEK" if self.offers("BINARY") && self.peek() == Some(b'[') => {
                match self.section(word == "BINARY.PEEK")? {
                    FetchItem::Body { name, section: Section::All, peek, partial } => FetchItem::Body {
                        name: name.replacen("BODY", "BINARY", 1),
                        section: Section::All,
                        peek,
                        partial,
                    },
                    _ => FetchItem::Unserved,
                }
            }
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

    pub(super) fn store(&mut self, by_uid: bool, set: SequenceSet) -> Parsed<Command> {
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

    pub(super) fn search(&mut self, by_uid: bool) -> Parsed<Command> {
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
            "X-GM-MSGID" if self.offers("X-GM-EXT-1") => SearchKey::GmailId(self.number()?),
            "EMAILID" if self.offers("OBJECTID") => SearchKey::EmailId(self.word(is_atom)?),
            _ => return Err("unknown search key"),
        })
    }
}
