//! The bench's own IMAP client: reads everything of a mailbox for the comparison, and changes the source for the delta.
//! Written against the RFC alone; it shares no code with what is measured. Clear text on loopback.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Result;
use crate::server::PASSWORD;

/// One untagged response: its text, the octets of literals taken out, and these.
#[derive(Debug, Default)]
pub struct Response {
    pub text: Vec<u8>,
    pub literals: Vec<Vec<u8>>,
}

/// A folder as LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As on the wire (modified UTF-7).
    pub name: Vec<u8>,
    pub selectable: bool,
}

/// One message as FETCH shows it.
#[derive(Debug, Default)]
pub struct Message {
    pub flags: Vec<String>,
    pub internal_date: String,
    pub octets: Vec<u8>,
}

pub struct Imap {
    stream: BufReader<TcpStream>,
    tags: u32,
}

impl Imap {
    /// A session of one mailbox.
    pub fn login(port: u16, user: &str) -> Result<Imap> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        let mut imap = Imap { stream: BufReader::with_capacity(1 << 18, stream), tags: 0 };
        let mut greeting = Vec::new();
        imap.stream.read_until(b'\n', &mut greeting)?;
        imap.run(&[format!("LOGIN {user} {PASSWORD}").as_bytes()])?;
        Ok(imap)
    }

    /// Sends a command and hands every untagged response to `take`; returns the tagged line. Not OK is an error.
    pub fn each(&mut self, parts: &[&[u8]], mut take: impl FnMut(Response) -> Result<()>) -> Result<String> {
        self.tags += 1;
        let tag = format!("t{} ", self.tags);
        let command = [tag.as_bytes(), &parts.concat(), b"\r\n"].concat();
        self.stream.get_mut().write_all(&command)?;
        let mut response = Response::default();
        loop {
            let start = response.text.len();
            if self.stream.read_until(b'\n', &mut response.text)? == 0 {
                return Err("the server closed the connection".into());
            }
            let line = &response.text[start..];
            if start == 0 && line.starts_with(tag.as_bytes()) {
                let line = String::from_utf8_lossy(line).trim_end().to_owned();
                if line[tag.len()..].starts_with("OK") {
                    return Ok(line);
                }
                let shown = String::from_utf8_lossy(&command[..command.len().min(160)]).into_owned();
                return Err(format!("{shown:?} was answered with {line:?}").into());
            }
            let literal = line.strip_suffix(b"}\r\n").and_then(|l| l.rsplit(|b| *b == b'{').next());
            let length =
                literal.and_then(|l| std::str::from_utf8(l).ok()).and_then(|l| l.parse::<usize>().ok());
            match length {
                Some(length) => {
                    let mut octets = vec![0; length];
                    self.stream.read_exact(&mut octets)?;
                    response.literals.push(octets);
                }
                None => take(std::mem::take(&mut response))?,
            }
        }
    }

    /// Sends a command; its untagged responses and the tagged line.
    pub fn run(&mut self, parts: &[&[u8]]) -> Result<(Vec<Response>, String)> {
        let mut all = Vec::new();
        let line = self.each(parts, |r| {
            all.push(r);
            Ok(())
        })?;
        Ok((all, line))
    }

    /// All folders.
    pub fn folders(&mut self) -> Result<Vec<Listed>> {
        self.list(b"LIST \"\" \"*\"")
    }

    /// The subscribed ones.
    pub fn subscribed(&mut self) -> Result<Vec<Listed>> {
        self.list(b"LSUB \"\" \"*\"")
    }

    fn list(&mut self, command: &[u8]) -> Result<Vec<Listed>> {
        let (responses, _) = self.run(&[command])?;
        responses.iter().filter_map(|r| listed(r).transpose()).collect()
    }

    /// Every message of a folder, one after the other.
    pub fn messages(&mut self, folder: &[u8], mut take: impl FnMut(Message) -> Result<()>) -> Result<()> {
        let name = literal(folder);
        // A folder that is listed and cannot be opened has no messages to show: they count as lost.
        let Ok((responses, _)) = self.run(&[b"EXAMINE ", &name]) else { return Ok(()) };
        if responses.iter().any(|r| r.text == b"* 0 EXISTS\r\n") {
            return Ok(());
        }
        self.each(&[b"UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"], |mut r| {
            let text = String::from_utf8_lossy(&r.text);
            if !text.contains(" FETCH (") {
                return Ok(());
            }
            let after = |key: &str, end: &[char]| -> Option<String> {
                text.split_once(key)?.1.split(end).next().map(str::to_owned)
            };
            let flags = after("FLAGS (", &[')']).unwrap_or_default();
            let flags = flags.split_whitespace().filter(|f| *f != "\\Recent").map(str::to_owned).collect();
            let internal_date = after("INTERNALDATE \"", &['"']).unwrap_or_default();
            let octets = r.literals.pop().unwrap_or_default();
            take(Message { flags, internal_date, octets })
        })?;
        Ok(())
    }

    /// UIDs of a folder, and it is selected for writing.
    pub fn select(&mut self, folder: &[u8]) -> Result<Vec<u32>> {
        self.run(&[b"SELECT ", &literal(folder)])?;
        let (responses, _) = self.run(&[b"UID SEARCH ALL"])?;
        let text = responses.iter().find_map(|r| r.text.strip_prefix(b"* SEARCH".as_slice()));
        let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
        Ok(text.split_whitespace().filter_map(|n| n.parse().ok()).collect())
    }

    /// Messages in a folder, by STATUS; 0 where it does not exist.
    pub fn count(&mut self, folder: &[u8]) -> u64 {
        let Ok((responses, _)) = self.run(&[b"STATUS ", &literal(folder), b" (MESSAGES)"]) else { return 0 };
        let text =
            responses.iter().map(|r| String::from_utf8_lossy(&r.text).into_owned()).collect::<String>();
        text.split_once("(MESSAGES ").and_then(|(_, n)| n.split(')').next()?.parse().ok()).unwrap_or(0)
    }

    /// Adds a message; `received` in seconds since 1970.
    pub fn append(&mut self, folder: &[u8], octets: &[u8], flags: &[&str], received: i64) -> Result<()> {
        let options = format!(" ({}) \"{}\" ", flags.join(" "), date_time(received));
        self.run(&[b"APPEND ", &literal(folder), options.as_bytes(), &literal(octets)])?;
        Ok(())
    }
}

/// A literal sent without asking first (LITERAL+).
pub fn literal(octets: &[u8]) -> Vec<u8> {
    [format!("{{{}+}}\r\n", octets.len()).as_bytes(), octets].concat()
}

/// The wire's name of a folder given by its levels.
pub fn wire_name(levels: &[&str]) -> Vec<u8> {
    let names: Vec<String> = levels.iter().map(|n| encodify::utf7::IMAP.encode(n)).collect();
    names.join("/").into_bytes()
}

fn listed(response: &Response) -> Result<Option<Listed>> {
    let text = &response.text;
    let Some(rest) = text.strip_prefix(b"* LIST (").or_else(|| text.strip_prefix(b"* LSUB (")) else {
        return Ok(None);
    };
    let end = rest.iter().position(|b| *b == b')').ok_or("a LIST without attributes")?;
    let attributes = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
    let selectable = !attributes.contains("\\noselect") && !attributes.contains("\\nonexistent");
    let rest = rest[end + 1..].strip_prefix(b" \"/\" ").ok_or("a LIST with another separator")?;
    let rest = rest.strip_suffix(b"\r\n").unwrap_or(rest);
    let name = match (response.literals.first(), rest) {
        (Some(literal), _) => literal.clone(),
        (None, [b'"', inner @ .., b'"']) => {
            let mut name = Vec::new();
            let mut octets = inner.iter();
            while let Some(octet) = octets.next() {
                name.extend(if *octet == b'\\' { octets.next() } else { Some(octet) });
            }
            name
        }
        (None, atom) => atom.to_vec(),
    };
    Ok(Some(Listed { name, selectable }))
}

/// Seconds since 1970 of an IMAP date-time (` 7-Feb-1994 21:52:25 -0800`).
pub fn seconds(date: &str) -> Option<i64> {
    let (date, zone) = date.trim().rsplit_once(' ')?;
    let parsed = jiff::civil::DateTime::strptime("%d-%b-%Y %H:%M:%S", date).ok()?;
    let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(3..5)?.parse::<i64>().ok()?;
    let offset = if zone.starts_with('-') { -minutes } else { minutes } * 60;
    Some(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() - offset)
}

fn date_time(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
    time.strftime("%d-%b-%Y %H:%M:%S +0000").to_string()
}

/// Folders by name.
pub fn by_name(folders: Vec<Listed>) -> BTreeMap<Vec<u8>, bool> {
    folders.into_iter().map(|f| (f.name, f.selectable)).collect()
}
