//! A small IMAP server with one mailbox, which offers what it is told to and refuses what it is told to. It keeps what
//! it stores and every command it read. Written against the RFCs alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub uid: u32,
    pub flags: String,
    pub date: String,
    pub octets: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Folder {
    pub validity: u32,
    pub next: u32,
    pub mail: Vec<Mail>,
}

/// What an APPEND is answered instead of being obeyed: `NO [TOOBIG] no`, `BYE` (and the end) …
type Judge = dyn Fn(&str, &[Mail]) -> Option<String> + Send + Sync;

/// What it offers.
pub struct Manner {
    pub capabilities: String,
    pub permanent: String,
    pub judge: Box<Judge>,
    /// It tells where messages went, if it offers UIDPLUS.
    pub tells: bool,
    /// Of several messages it refuses it stores so many first, against the rule.
    pub keeps_of_refused: usize,
}

impl Manner {
    pub fn offering(capabilities: &str) -> Manner {
        Manner {
            capabilities: format!("IMAP4rev1 SASL-IR AUTH=PLAIN UNSELECT {capabilities}"),
            permanent: "\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*".to_owned(),
            judge: Box::new(|_, _| None),
            tells: true,
            keeps_of_refused: 0,
        }
    }

    pub fn judging(self, judge: impl Fn(&str, &[Mail]) -> Option<String> + Send + Sync + 'static) -> Manner {
        Manner { judge: Box::new(judge), ..self }
    }
}

pub struct State {
    manner: Manner,
    pub folders: BTreeMap<String, Folder>,
    /// Verbs, with their arguments up to the first literal.
    pub commands: Vec<String>,
}

#[derive(Clone)]
pub struct Peer {
    pub port: u16,
    pub state: Arc<Mutex<State>>,
}

impl Peer {
    pub fn start(manner: Manner) -> Peer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let folder = Folder { validity: 7, next: 1, mail: Vec::new() };
        let folders = BTreeMap::from([("INBOX".to_owned(), folder)]);
        let state = Arc::new(Mutex::new(State { manner, folders, commands: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || drop(Conversation::hold(stream, state)));
            }
        });
        Peer { port, state }
    }

    pub fn mail(&self, folder: &str) -> Vec<Mail> {
        self.state.lock().expect("state").folders[folder].mail.clone()
    }

    /// Commands that begin so.
    pub fn count(&self, verb: &str) -> usize {
        self.state.lock().expect("state").commands.iter().filter(|c| c.starts_with(verb)).count()
    }
}

struct Conversation {
    stream: BufReader<TcpStream>,
    state: Arc<Mutex<State>>,
    open: Option<String>,
}

/// A command: its text with literals cut out, and those.
struct Heard {
    tag: String,
    texts: Vec<String>,
    literals: Vec<Vec<u8>>,
}

impl Conversation {
    fn hold(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut this = Conversation { stream: BufReader::new(stream), state, open: None };
        let capabilities = this.state.lock().expect("state").manner.capabilities.clone();
        this.say(&format!("* OK [CAPABILITY {capabilities}] ready"))?;
        while let Some(heard) = this.hear()? {
            let answers = this.obey(&heard);
            let end = answers.iter().any(|a| a.starts_with(b"* BYE"));
            for answer in answers {
                this.stream.get_mut().write_all(&answer)?;
                this.stream.get_mut().write_all(b"\r\n")?;
            }
            if end {
                break;
            }
        }
        Ok(())
    }

    fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes())
    }

    fn hear(&mut self) -> std::io::Result<Option<Heard>> {
        let mut heard = Heard { tag: String::new(), texts: Vec::new(), literals: Vec::new() };
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let literal = line.strip_suffix('}').and_then(|l| l.rsplit_once('{')).and_then(|(text, n)| {
                let free = n.ends_with('+');
                Some((
                    text.trim_end_matches('~').to_owned(),
                    n.trim_end_matches('+').parse::<usize>().ok()?,
                    free,
                ))
            });
            let Some((text, len, free)) = literal else {
                heard.texts.push(line);
                break;
            };
            heard.texts.push(text);
            if !free {
                self.say("+ go on")?;
            }
            let mut octets = vec![0; len];
            self.stream.read_exact(&mut octets)?;
            heard.literals.push(octets);
        }
        let (tag, rest) =
            heard.texts[0].split_once(' ').map(|(t, r)| (t.to_owned(), r.to_owned())).expect("a tag");
        heard.tag = tag;
        self.state.lock().expect("state").commands.push(rest.clone());
        heard.texts[0] = rest;
        Ok(Some(heard))
    }

    /// What is said to a command; the last line is its tagged answer.
    fn obey(&mut self, heard: &Heard) -> Vec<Vec<u8>> {
        let shared = self.state.clone();
        let mut state = shared.lock().expect("state");
        let text = heard.texts[0].clone();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let (verb, rest) = match verb {
            "UID" => rest.split_once(' ').map(|(v, r)| (format!("UID {v}"), r)).expect("a verb"),
            verb => (verb.to_owned(), rest),
        };
        let mut said: Vec<Vec<u8>> = Vec::new();
        let name = || first_string(rest).0;
        let no_folder = || "NO [NONEXISTENT] no such folder".to_owned();
        let end = match verb.as_str() {
            "CAPABILITY" => {
                said.push(format!("* CAPABILITY {}", state.manner.capabilities).into_bytes());
                "OK".to_owned()
            }
            "NAMESPACE" => {
                said.push(b"* NAMESPACE ((\"\" \"/\")) NIL NIL".to_vec());
                "OK".to_owned()
            }
            "LIST" => {
                let pattern = first_string(first_string(rest).1.trim()).0;
                for name in state.folders.keys().filter(|n| pattern == "*" || **n == pattern) {
                    said.push(format!("* LIST () \"/\" \"{name}\"").into_bytes());
                }
                "OK".to_owned()
            }
            "STATUS" => match state.folders.get(&name()) {
                Some(f) => {
                    let told = format!(
                        "* STATUS \"{}\" (MESSAGES {} UIDNEXT {} UIDVALIDITY {})",
                        name(),
                        f.mail.len(),
                        f.next,
                        f.validity
                    );
                    said.push(told.into_bytes());
                    "OK".to_owned()
                }
                None => no_folder(),
            },
            "CREATE" => {
                state.folders.entry(name()).or_insert(Folder { validity: 9, next: 1, mail: Vec::new() });
                "OK".to_owned()
            }
            "SELECT" | "EXAMINE" => {
                self.open = None;
                match state.folders.get(&name()) {
                    Some(f) => {
                        said.push(format!("* {} EXISTS", f.mail.len()).into_bytes());
                        said.push(format!("* OK [UIDVALIDITY {}] .", f.validity).into_bytes());
                        said.push(format!("* OK [UIDNEXT {}] .", f.next).into_bytes());
                        said.push(
                            format!("* OK [PERMANENTFLAGS ({})] .", state.manner.permanent).into_bytes(),
                        );
                        self.open = Some(name());
                        "OK [READ-WRITE]".to_owned()
                    }
                    None => no_folder(),
                }
            }
            "APPEND" => append(&mut state, heard, rest),
            "LOGOUT" => {
                said.push(b"* BYE".to_vec());
                "OK".to_owned()
            }
            verb if verb.starts_with("UID ") => {
                let (set, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let open = self.open.clone().expect("a folder is open");
                by_uid(&mut state, &open, verb, set, rest, &mut said)
            }
            _ => "OK".to_owned(),
        };
        if let Some(bye) = end.strip_prefix("BYE") {
            said.push(format!("* BYE{bye}").into_bytes());
        } else {
            said.push(format!("{} {end} .", heard.tag).into_bytes());
        }
        said
    }
}

fn append(state: &mut State, heard: &Heard, rest: &str) -> String {
    let (name, mut text) = first_string(rest);
    let mut mail = Vec::new();
    for (octets, next) in heard.literals.iter().zip(heard.texts.iter().skip(1)) {
        let inner = text.trim().trim_start_matches('(');
        let (flags, date) = inner.split_once(')').expect("flags");
        let date = date.trim().trim_matches('"').to_owned();
        mail.push(Mail { uid: 0, flags: flags.to_owned(), date, octets: octets.clone() });
        text = next;
    }
    let refusal = (state.manner.judge)(&name, &mail);
    if refusal.is_some() {
        mail.truncate(if mail.len() > 1 { state.manner.keeps_of_refused } else { 0 });
    }
    let tells = state.manner.tells && state.manner.capabilities.contains("UIDPLUS");
    let Some(folder) = state.folders.get_mut(&name) else {
        if let Some(answer) = refusal {
            return answer;
        }
        return "NO [TRYCREATE] no such folder".to_owned();
    };
    let first = folder.next;
    for one in mail {
        folder.mail.push(Mail { uid: folder.next, ..one });
        folder.next += 1;
    }
    let last = folder.next - 1;
    if let Some(answer) = refusal {
        return answer;
    }
    if tells { format!("OK [APPENDUID {} {first}:{last}]", folder.validity) } else { "OK".to_owned() }
}

fn by_uid(
    state: &mut State,
    open: &str,
    verb: &str,
    set: &str,
    rest: &str,
    said: &mut Vec<Vec<u8>>,
) -> String {
    let tells = state.manner.tells && state.manner.capabilities.contains("UIDPLUS");
    let folder = state.folders.get_mut(open).expect("open");
    let ranges = if verb == "UID SEARCH" {
        rest.split(' ').next().unwrap_or("1:*").to_owned()
    } else {
        set.to_owned()
    };
    let inside = |uid: u32| {
        ranges.split(',').any(|range| {
            let (a, b) = range.split_once(':').unwrap_or((range, range));
            let number = |t: &str| if t == "*" { u32::MAX } else { t.parse().expect("a UID") };
            (number(a)..=number(b)).contains(&uid)
        })
    };
    match verb {
        "UID SEARCH" => {
            let found: Vec<String> =
                folder.mail.iter().filter(|m| inside(m.uid)).map(|m| m.uid.to_string()).collect();
            said.push(format!("* SEARCH {}", found.join(" ")).into_bytes());
        }
        "UID FETCH" => {
            for (n, mail) in folder.mail.iter().enumerate().filter(|(_, m)| inside(m.uid)) {
                let mut line = format!(
                    "* {} FETCH (UID {} FLAGS ({}) INTERNALDATE \"{}\" RFC822.SIZE {}",
                    n + 1,
                    mail.uid,
                    mail.flags,
                    mail.date,
                    mail.octets.len()
                )
                .into_bytes();
                if rest.contains("BODY.PEEK[]") {
                    line.extend(format!(" BODY[] {{{}}}\r\n", mail.octets.len()).into_bytes());
                    line.extend(&mail.octets);
                }
                line.push(b')');
                said.push(line);
            }
        }
        "UID STORE" => {
            let (how, flags) = rest.split_once(' ').expect("flags");
            let flags = flags.trim_matches(['(', ')']);
            for mail in folder.mail.iter_mut().filter(|m| inside(m.uid)) {
                let mut now: Vec<&str> = mail.flags.split(' ').filter(|f| !f.is_empty()).collect();
                now.retain(|f| !flags.split(' ').any(|g| g == *f));
                if how.starts_with('+') {
                    now.extend(flags.split(' '));
                }
                mail.flags = now.join(" ");
            }
        }
        "UID EXPUNGE" => folder.mail.retain(|m| !(inside(m.uid) && m.flags.contains("\\Deleted"))),
        "UID COPY" | "UID MOVE" => {
            let copied: Vec<Mail> = folder.mail.iter().filter(|m| inside(m.uid)).cloned().collect();
            if verb == "UID MOVE" {
                folder.mail.retain(|m| !inside(m.uid));
            }
            let Some(to) = state.folders.get_mut(&first_string(rest).0) else {
                return "NO [TRYCREATE] no such folder".to_owned();
            };
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for mail in copied {
                old.push(mail.uid.to_string());
                new.push(to.next.to_string());
                to.mail.push(Mail { uid: to.next, ..mail });
                to.next += 1;
            }
            if tells && !old.is_empty() {
                return format!("OK [COPYUID {} {} {}]", to.validity, old.join(","), new.join(","));
            }
        }
        verb => panic!("unexpected: {verb}"),
    }
    "OK".to_owned()
}

/// A quoted string and what follows.
fn first_string(text: &str) -> (String, &str) {
    let Some(rest) = text.trim_start().strip_prefix('"') else { return (String::new(), text) };
    let end = rest.find('"').expect("an end");
    (rest[..end].to_owned(), &rest[end + 1..])
}
