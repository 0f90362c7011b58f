//! A small IMAP client to fill real servers and to look into them.
//!
//! It is written against the RFCs alone and shares no code with the crate under test.
#![allow(dead_code)] // each test module uses a part

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A literal that is sent without asking first (LITERAL+).
pub fn literal(octets: &[u8]) -> Vec<u8> {
    [format!("{{{}+}}\r\n", octets.len()).as_bytes(), octets].concat()
}

/// A plain client. Folders are named by their levels in Unicode; `["INBOX"]` is the inbox.
pub struct Client {
    stream: BufReader<TcpStream>,
    tags: u32,
    prefix: String,
    separator: char,
}

impl Client {
    /// Connects without logging in.
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
        let mut client =
            Client { stream: BufReader::new(stream), tags: 0, prefix: String::new(), separator: '/' };
        assert!(client.line().starts_with(b"* OK"), "a greeting");
        client
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("a line");
        assert!(line.ends_with(b"\r\n"), "the server closed the connection");
        line
    }

    /// Connects and logs in. Folders have names below `prefix`, levels are divided by `separator`.
    pub fn login(port: u16, user: &str, password: &str, prefix: &str, separator: char) -> Client {
        let mut client = Client::connect(port);
        client.run(&[b"LOGIN ", &literal(user.as_bytes()), b" ", &literal(password.as_bytes())]);
        prefix.clone_into(&mut client.prefix);
        client.separator = separator;
        client
    }

    /// Sends one command and returns the untagged octets and the tagged line. Panics unless it is OK.
    pub fn run(&mut self, parts: &[&[u8]]) -> (Vec<u8>, String) {
        match self.attempt(parts) {
            Ok(answer) => answer,
            Err(refusal) => {
                let command = parts.concat();
                panic!("{} -> {refusal}", String::from_utf8_lossy(&command[..command.len().min(200)]));
            }
        }
    }

    /// Sends one command; the tagged line is the error unless it is OK.
    pub fn attempt(&mut self, parts: &[&[u8]]) -> Result<(Vec<u8>, String), String> {
        self.tags += 1;
        let tag = format!("t{} ", self.tags);
        let command = [tag.as_bytes(), &parts.concat(), b"\r\n"].concat();
        self.stream.get_mut().write_all(&command).expect("send");
        let mut untagged = Vec::new();
        loop {
            let line = self.line();
            if line.starts_with(tag.as_bytes()) {
                let line = String::from_utf8_lossy(&line).into_owned();
                return if line.starts_with(&format!("{tag}OK")) { Ok((untagged, line)) } else { Err(line) };
            }
            let literal = line.strip_suffix(b"}\r\n").and_then(|l| l.rsplit(|b| *b == b'{').next());
            let len = literal.and_then(|l| std::str::from_utf8(l).ok()).and_then(|l| l.parse::<usize>().ok());
            untagged.extend_from_slice(&line);
            if let Some(len) = len {
                let mut octets = vec![0; len];
                self.stream.read_exact(&mut octets).expect("a literal");
                untagged.extend_from_slice(&octets);
            }
        }
    }

    /// The name of a folder on the wire.
    pub fn wire(&self, folder: &[&str]) -> Vec<u8> {
        if folder == ["INBOX"] {
            return b"INBOX".to_vec();
        }
        let names: Vec<String> = folder.iter().map(|n| encodify::utf7::IMAP.encode(n)).collect();
        format!("{}{}", self.prefix, names.join(&self.separator.to_string())).into_bytes()
    }

    /// The levels of a folder that has this name on the wire.
    pub fn levels(&self, wire: &[u8]) -> Vec<String> {
        let name = String::from_utf8_lossy(wire).into_owned();
        if name.eq_ignore_ascii_case("INBOX") {
            return vec!["INBOX".to_owned()];
        }
        let below = name.strip_prefix(&self.prefix).unwrap_or(&name);
        below
            .split(self.separator)
            .map(|n| encodify::utf7::IMAP.decode(n).expect("modified UTF-7").to_string())
            .collect()
    }

    /// The folders there are, by their levels.
    pub fn folders(&mut self) -> Vec<Vec<String>> {
        super::holding::Holding::names(self).into_keys().collect()
    }

    fn name(&self, folder: &[&str]) -> Vec<u8> {
        literal(&self.wire(folder))
    }

    /// Makes a folder.
    pub fn create(&mut self, folder: &[&str]) {
        let name = self.name(folder);
        self.run(&[b"CREATE ", &name]);
    }

    /// Renames a folder.
    pub fn rename(&mut self, from: &[&str], to: &[&str]) {
        let (from, to) = (self.name(from), self.name(to));
        self.run(&[b"RENAME ", &from, b" ", &to]);
    }

    /// Subscribes to a folder, or takes the subscription back.
    pub fn subscribe(&mut self, folder: &[&str], on: bool) {
        let name = self.name(folder);
        self.run(&[if on { &b"SUBSCRIBE "[..] } else { b"UNSUBSCRIBE " }, &name]);
    }

    /// Removes a folder.
    pub fn delete(&mut self, folder: &[&str]) {
        let name = self.name(folder);
        self.run(&[b"DELETE ", &name]);
    }

    /// Adds a message: `flags` as `\Seen work`, `date` as `21-Nov-2026 08:00:00 +0100`. Returns its UID.
    pub fn append(&mut self, folder: &[&str], octets: &[u8], flags: &str, date: Option<&str>) -> u32 {
        self.offer(folder, octets, flags, date).unwrap_or_else(|refusal| panic!("APPEND -> {refusal}"))
    }

    /// As [`append`](Self::append), to a server that may refuse the message: then its answer.
    pub fn offer(
        &mut self,
        folder: &[&str],
        octets: &[u8],
        flags: &str,
        date: Option<&str>,
    ) -> Result<u32, String> {
        let name = self.name(folder);
        let date = date.map_or(String::new(), |d| format!(" \"{d:>26}\""));
        let options = format!(" ({flags}){date} ");
        let (_, line) = self.attempt(&[b"APPEND ", &name, options.as_bytes(), &literal(octets)])?;
        let uid = line.split("APPENDUID ").nth(1).and_then(|rest| rest.split([' ', ']']).nth(1));
        Ok(uid.and_then(|u| u.parse().ok()).expect("APPENDUID"))
    }

    fn select(&mut self, folder: &[&str]) -> Vec<u8> {
        let name = self.name(folder);
        self.run(&[b"SELECT ", &name]).0
    }

    /// Opens a folder for reading; its UIDVALIDITY and its count of messages.
    pub fn examine(&mut self, folder: &[&str]) -> (u32, usize) {
        let name = self.name(folder);
        let (text, _) = self.run(&[b"EXAMINE ", &name]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let number = text.split("[UIDVALIDITY ").nth(1).and_then(|rest| rest.split(']').next());
        let count = text.lines().find_map(|l| l.strip_prefix("* ")?.strip_suffix(" EXISTS"));
        (
            number.and_then(|n| n.parse().ok()).expect("UIDVALIDITY"),
            count.and_then(|n| n.parse().ok()).expect("EXISTS"),
        )
    }

    /// Replaces a message's flags.
    pub fn set_flags(&mut self, folder: &[&str], uid: u32, flags: &str) {
        self.select(folder);
        self.run(&[format!("UID STORE {uid} FLAGS ({flags})").as_bytes()]);
    }

    /// A message's flags, as the server shows them.
    pub fn flags(&mut self, folder: &[&str], uid: u32) -> String {
        self.select(folder);
        let (text, _) = self.run(&[format!("UID FETCH {uid} (FLAGS)").as_bytes()]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let flags = text.split("FLAGS (").nth(1).and_then(|rest| rest.split(')').next());
        flags.expect("flags").to_owned()
    }

    /// Removes a message for good.
    pub fn expunge(&mut self, folder: &[&str], uid: u32) {
        self.select(folder);
        self.run(&[format!("UID STORE {uid} +FLAGS (\\Deleted)").as_bytes()]);
        self.run(&[format!("UID EXPUNGE {uid}").as_bytes()]);
    }

    /// Moves a message (RFC 6851).
    pub fn move_to(&mut self, folder: &[&str], uid: u32, to: &[&str]) {
        self.select(folder);
        let to = self.name(to);
        self.run(&[format!("UID MOVE {uid} ").as_bytes(), &to]);
    }

    /// Copies a message.
    pub fn copy_to(&mut self, folder: &[&str], uid: u32, to: &[&str]) {
        self.select(folder);
        let to = self.name(to);
        self.run(&[format!("UID COPY {uid} ").as_bytes(), &to]);
    }

    /// The UIDs of the messages with this Message-ID.
    pub fn find(&mut self, folder: &[&str], message_id: &str) -> Vec<u32> {
        self.select(folder);
        let (text, _) = self.run(&[b"UID SEARCH HEADER Message-ID ", &literal(message_id.as_bytes())]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("* SEARCH")).unwrap_or_default();
        line.split_whitespace().map(|n| n.parse().expect("a UID")).collect()
    }

    /// All that the server tells of a folder without touching it: counts (those of new messages too), UIDVALIDITY,
    /// UIDNEXT, HIGHESTMODSEQ, and the flags of every UID.
    pub fn state(&mut self, folder: &[&str]) -> String {
        let name = self.name(folder);
        let (mut seen, _) = self.run(&[b"EXAMINE ", &name, b" (CONDSTORE)"]);
        seen.extend(self.run(&[b"UID FETCH 1:* (FLAGS)"]).0);
        self.run(&[b"CLOSE"]);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// A folder's UIDVALIDITY, without opening it.
    pub fn uid_validity(&mut self, folder: &[&str]) -> u32 {
        let name = self.name(folder);
        let (text, _) = self.run(&[b"STATUS ", &name, b" (UIDVALIDITY)"]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let number = text.rsplit_once("(UIDVALIDITY ").and_then(|(_, rest)| rest.split(')').next());
        number.and_then(|n| n.parse().ok()).expect("UIDVALIDITY")
    }

    /// The UIDs of a folder.
    pub fn uids(&mut self, folder: &[&str]) -> Vec<u32> {
        self.select(folder);
        let (text, _) = self.run(&[b"UID SEARCH ALL"]);
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("* SEARCH")).unwrap_or_default();
        line.split_whitespace().map(|n| n.parse().expect("a UID")).collect()
    }
}
