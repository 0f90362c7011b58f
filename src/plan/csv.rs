//! Reads `mailboxes.csv`.
//!
//! The first line names the columns: `source` and `target`, and optionally `wave`, `group`, `source_endpoint`,
//! `target_endpoint`, `target_place`, `priority`, `messages` and `bytes`, in any order. Every error names the file and the line; all are
//! told at once (up to [`MOST_ERRORS`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Load, overlap};
use crate::config::{Settings, SourceKind, TargetKind, nearest};
use crate::guard::{Shown, has_control};
use crate::model::{Error, Kind, Mailbox, MailboxKey, Result, Scope};

/// Largest file, in bytes.
const LARGEST_FILE: u64 = 256 << 20;
/// Most rows: more than the largest migration known.
const MOST_ROWS: usize = 5_000_000;
/// Longest field, in bytes.
const LONGEST_FIELD: usize = 1024;
/// Errors told at once.
const MOST_ERRORS: usize = 50;

const ANOTHER_ROOT: &str = "give the target another root, or remove the row";

const COLUMNS: [&str; 10] = [
    "source",
    "target",
    "wave",
    "group",
    "source_endpoint",
    "target_endpoint",
    "target_place",
    "priority",
    "messages",
    "bytes",
];

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Mailboxes of one group must share a wave (delegates, shared mailboxes); may be empty.
    pub group: String,
    /// What it holds, if the list says so; of a row that tells one of the two numbers, the other is 0.
    pub size: Option<Load>,
    /// The line of the file it stands on, from 1.
    pub line: u64,
}

/// The mailboxes of a migration, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The rows.
    pub rows: Vec<Row>,
}

impl Plan {
    /// The mailboxes, largest priority first, else in the order of the file.
    pub fn mailboxes(&self) -> Vec<Mailbox> {
        let mut all: Vec<Mailbox> = self.rows.iter().map(|row| row.mailbox.clone()).collect();
        all.sort_by_key(|m| std::cmp::Reverse(m.priority));
        all
    }

    /// The line of each mailbox, by its pseudonym.
    pub fn lines(&self) -> BTreeMap<MailboxKey, u64> {
        self.rows.iter().map(|row| (row.mailbox.key.clone(), row.line)).collect()
    }

    /// What the list says that mailboxes hold.
    pub fn sizes(&self) -> BTreeMap<MailboxKey, Load> {
        self.rows.iter().filter_map(|row| Some((row.mailbox.key.clone(), row.size?))).collect()
    }

    /// Only the rows of a wave, or of mailboxes named by source name, pseudonym or line (`line:12`).
    ///
    /// # Errors
    /// `Kind::Config`: a name or the wave matches no row.
    pub fn select(mut self, only: &[String], wave: Option<&str>) -> Result<Plan> {
        let no = |what: String| {
            Error::new(Kind::Config, Scope::Run, what).remedy("compare with the rows of mailboxes.csv")
        };
        if let Some(wave) = wave {
            self.rows.retain(|row| row.mailbox.wave == wave);
            if self.rows.is_empty() {
                return Err(no("no mailbox belongs to the wave asked for".to_owned()));
            }
        }
        if only.is_empty() {
            return Ok(self);
        }
        let is = |row: &Row, name: &str| {
            row.mailbox.source == name
                || row.mailbox.key.as_str() == name
                || name.strip_prefix("line:").and_then(|n| n.parse().ok()) == Some(row.line)
        };
        for (n, name) in only.iter().enumerate() {
            if !self.rows.iter().any(|row| is(row, name)) {
                return Err(no(format!("mailbox {} of those asked for by --only is in no row", n + 1)));
            }
        }
        self.rows.retain(|row| only.iter().any(|name| is(row, name)));
        Ok(self)
    }
}

/// Reads the file the settings name.
///
/// # Errors
/// Everything wrong with it, in the order of its lines; never empty. `Kind::Config`, `Scope::Run`.
pub fn load(settings: &Settings) -> Result<Plan, Vec<Error>> {
    let path = &settings.mailboxes;
    let cannot = |why: String| {
        vec![
            Error::new(
                Kind::Config,
                Scope::Run,
                format!("the list of mailboxes {} cannot be read ({why})", path.display()),
            )
            .remedy("name it with `mailboxes = \"…\"`; its first line is `source,target`"),
        ]
    };
    let size = std::fs::metadata(path).map_err(|e| cannot(e.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(cannot("it is larger than 256 MiB".to_owned()));
    }
    parse(settings, &std::fs::read(path).map_err(|e| cannot(e.to_string()))?)
}

/// Reads the octets of a list of mailboxes.
///
/// # Errors
/// As [`load`].
pub fn parse<'s>(settings: &'s Settings, octets: &'s [u8]) -> Result<Plan, Vec<Error>> {
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
    let mut reader = ::csv::ReaderBuilder::new()
        .flexible(true)
        .trim(::csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(octets);
    let lines = Lines { octets, at: 0, line: 1 };
    let mut list = List { settings, lines, plan: Plan::default(), wrong: Vec::new(), seen: Seen::default() };
    let Some(columns) = list.header(reader.headers()) else { return Err(list.wrong) };
    for record in reader.records() {
        if list.wrong.len() >= MOST_ERRORS || list.plan.rows.len() >= MOST_ROWS {
            list.say(0, "more is wrong than is told here, or there are more than 5,000,000 rows", "");
            break;
        }
        match record {
            Ok(record) => list.row(&columns, &record),
            Err(e) => list.broken(&e),
        }
    }
    list.foreign_sources();
    if list.plan.rows.is_empty() && list.wrong.is_empty() {
        list.say(0, "no mailbox is named", "add a line `source,target` for each mailbox");
    }
    if list.wrong.is_empty() { Ok(list.plan) } else { Err(list.wrong) }
}

/// What was seen already, and on which line.
#[derive(Default)]
struct Seen {
    sources: BTreeMap<String, u64>,
    keys: BTreeMap<MailboxKey, u64>,
    targets: BTreeMap<(String, String, String), u64>,
    source_places: BTreeMap<PathBuf, u64>,
    target_places: Vec<(PathBuf, u64)>,
}

/// Tells lines from offsets. (The CSV reader counts lines too, but one short after a comment or a CRLF.)
struct Lines<'o> {
    octets: &'o [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first row at or after an offset; offsets never go back.
    fn of(&mut self, position: Option<&::csv::Position>) -> u64 {
        let mut begin = position.map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX));
        loop {
            match self.octets.get(begin) {
                Some(b'\r' | b'\n') => begin += 1,
                Some(b'#') => {
                    let rest = self.octets.get(begin..).unwrap_or_default();
                    begin += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                _ => break,
            }
        }
        let passed = self.octets.get(self.at..begin).unwrap_or_default();
        self.line += passed.iter().filter(|b| **b == b'\n').count() as u64;
        self.at = self.at.max(begin);
        self.line
    }
}

struct List<'s> {
    settings: &'s Settings,
    lines: Lines<'s>,
    plan: Plan,
    wrong: Vec<Error>,
    seen: Seen,
}

impl List<'_> {
    fn say(&mut self, line: u64, what: impl std::fmt::Display, remedy: impl Into<String>) {
        let file = self.settings.mailboxes.display();
        let place = if line == 0 { file.to_string() } else { format!("{file}:{line}") };
        self.wrong.push(Error::new(Kind::Config, Scope::Run, format!("{place}: {what}")).remedy(remedy));
    }

    fn broken(&mut self, e: &::csv::Error) {
        let line = self.lines.of(e.position());
        let what = if matches!(e.kind(), ::csv::ErrorKind::Utf8 { .. }) {
            "the line is not UTF-8 text"
        } else {
            "the line cannot be read as CSV"
        };
        self.say(line, what, "save the file as CSV in UTF-8");
    }

    /// Column → its place in a row.
    fn header(
        &mut self,
        header: Result<&::csv::StringRecord, ::csv::Error>,
    ) -> Option<BTreeMap<&'static str, usize>> {
        let header = match header {
            Ok(header) => header,
            Err(e) => {
                self.broken(&e);
                return None;
            }
        };
        let mut columns = BTreeMap::new();
        for (n, name) in header.iter().enumerate() {
            let Some(column) = COLUMNS.into_iter().find(|c| *c == name) else {
                let remedy = nearest(name, COLUMNS.into_iter()).map_or_else(
                    || format!("the columns are {}", COLUMNS.join(", ")),
                    |c| format!("did you mean `{c}`?"),
                );
                self.say(1, format_args!("the column \"{}\" is not known", Shown(name)), remedy);
                continue;
            };
            if columns.insert(column, n).is_some() {
                self.say(1, format_args!("the column `{column}` is there twice"), "remove one of them");
            }
        }
        // A column with a slip in its name is told once, not again as missing.
        let missing = ["source", "target"].into_iter().filter(|_| self.wrong.is_empty());
        for column in missing.collect::<Vec<_>>() {
            if !columns.contains_key(column) {
                self.say(
                    1,
                    format_args!("the column `{column}` is missing"),
                    "begin the file with the line `source,target`",
                );
            }
        }
        self.wrong.is_empty().then_some(columns)
    }

    fn row(&mut self, columns: &BTreeMap<&'static str, usize>, record: &::csv::StringRecord) {
        let line = self.lines.of(record.position());
        let before = self.wrong.len();
        let extra = columns.values().max().map_or(0, |last| last + 1);
        if record.len() > extra {
            self.say(
                line,
                "the row has more fields than the first line names",
                "quote fields that hold a comma",
            );
        }
        for (column, n) in columns {
            let field = record.get(*n).unwrap_or("");
            if field.len() > LONGEST_FIELD || has_control(field) {
                let what =
                    format!("`{column}` holds control or invisible characters, or is longer than 1024 bytes");
                self.say(line, what, "write the plain name");
            }
        }
        if self.wrong.len() > before {
            return;
        }
        let field = |column: &str| columns.get(column).and_then(|n| record.get(*n)).unwrap_or("");
        for column in ["source", "target"] {
            if field(column).is_empty() {
                self.say(line, format_args!("`{column}` is empty"), "name the mailbox, or remove the row");
            }
        }
        let priority = match field("priority") {
            "" => 0,
            text => text.parse::<i32>().unwrap_or_else(|_| {
                self.say(
                    line,
                    "`priority` is not a whole number",
                    "larger numbers go first; leave it empty for 0",
                );
                0
            }),
        };
        let mut number = |column: &str| match field(column) {
            "" => None,
            text => text.parse::<u64>().ok().or_else(|| {
                let what = format!("`{column}` is not a whole number of 0 or more");
                self.say(line, what, "leave it empty if it is not known");
                None
            }),
        };
        let size = match (number("messages"), number("bytes")) {
            (None, None) => None,
            (messages, bytes) => Some(Load { messages: messages.unwrap_or(0), bytes: bytes.unwrap_or(0) }),
        };
        let settings = self.settings;
        let source_endpoint =
            self.endpoint(line, "source", field("source_endpoint"), settings.sources.keys());
        let target_endpoint =
            self.endpoint(line, "target", field("target_endpoint"), settings.targets.keys());
        let (Some(source_endpoint), Some(target_endpoint)) = (source_endpoint, target_endpoint) else {
            return;
        };
        if self.wrong.len() > before {
            return;
        }
        let mailbox = Mailbox {
            key: MailboxKey::of(&settings.source_name, field("source")),
            source: field("source").to_owned(),
            target: field("target").to_owned(),
            source_endpoint,
            target_endpoint,
            target_place: field("target_place").to_owned(),
            wave: field("wave").to_owned(),
            priority,
        };
        self.twice(line, &mailbox);
        let (from, to) = overlap::places(settings, &mailbox);
        if let (Some(from), Some(to)) = (&from, &to)
            && let Some(what) = overlap::same_place(from, to)
        {
            self.say(line, what, ANOTHER_ROOT);
        }
        self.seen.source_places.extend(from.map(|place| (place, line)));
        self.seen.target_places.extend(to.map(|place| (place, line)));
        if self.wrong.len() == before {
            self.plan.rows.push(Row { mailbox, group: field("group").to_owned(), size, line });
        }
    }

    fn endpoint<'n>(
        &mut self,
        line: u64,
        side: &str,
        typed: &str,
        names: impl Iterator<Item = &'n String> + Clone,
    ) -> Option<String> {
        let all: Vec<&str> = names.map(String::as_str).collect();
        if typed.is_empty() {
            if let [only] = all.as_slice() {
                return Some((*only).to_owned());
            }
            self.say(
                line,
                format_args!("`{side}_endpoint` is empty and there are several"),
                format!("write one of {} into the column `{side}_endpoint`", all.join(", ")),
            );
            return None;
        }
        if all.contains(&typed) {
            return Some(typed.to_owned());
        }
        let remedy = nearest(typed, all.iter().copied())
            .map_or_else(|| format!("there are {}", all.join(", ")), |n| format!("did you mean `{n}`?"));
        self.say(line, format_args!("no `[{side}.{}]` is configured", Shown(typed)), remedy);
        None
    }

    /// A target that would write into the source of another row: sources are never written.
    fn foreign_sources(&mut self) {
        if !self.wrong.is_empty() {
            return;
        }
        for (target, line) in std::mem::take(&mut self.seen.target_places) {
            if let Some(source) = overlap::source_at(&target, &self.seen.source_places) {
                let what = format!("this target is (or is in) the source of line {source}");
                self.say(line, what, ANOTHER_ROOT);
            }
            if self.wrong.len() >= MOST_ERRORS {
                return;
            }
        }
    }

    /// A mailbox that is moved twice, or a place two mailboxes would be moved into.
    fn twice(&mut self, line: u64, m: &Mailbox) {
        // Servers compare addresses without regard to case; files do not.
        let source = match self.settings.sources.get(&m.source_endpoint) {
            Some(SourceKind::Imap(_)) => m.source.to_lowercase(),
            _ => m.source.clone(),
        };
        let target = match self.settings.targets.get(&m.target_endpoint) {
            Some(TargetKind::Ews(_) | TargetKind::Graph(_)) => m.target.to_lowercase(),
            _ => m.target.clone(),
        };
        let first = self.seen.sources.get(&source).or(self.seen.keys.get(&m.key)).copied();
        if let Some(first) = first {
            self.say(
                line,
                format_args!("this source mailbox is in line {first} already"),
                "remove one of the two rows; one mailbox is moved once",
            );
        }
        let place = (m.target_endpoint.clone(), target, m.target_place.clone());
        if let Some(first) = self.seen.targets.get(&place).copied() {
            self.say(
                line,
                format_args!("this target and place is in line {first} already"),
                "give one of the two rows another `target_place`, or remove it",
            );
        }
        self.seen.sources.entry(source).or_insert(line);
        self.seen.keys.entry(m.key.clone()).or_insert(line);
        self.seen.targets.entry(place).or_insert(line);
    }
}

#[cfg(test)]
mod tests;
