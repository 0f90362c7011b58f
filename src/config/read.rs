//! Reads TOML with a finger on each line: what is typed, where it stands, and what is wrong with it.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value;
use crate::guard::{Secret, SecretFrom, Shown};
use crate::model::{Error, Kind, Scope};

/// A file being read; collects everything that is wrong with it.
pub(super) struct Reader<'t> {
    file: String,
    dir: PathBuf,
    text: &'t str,
    wrong: RefCell<Vec<(usize, Error)>>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(path: &Path, text: &'t str) -> Reader<'t> {
        Reader {
            file: path.display().to_string(),
            dir: path.parent().map(Path::to_owned).unwrap_or_default(),
            text,
            wrong: RefCell::default(),
        }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
    }

    /// `mailwave.toml:12: source.old.host`
    fn place(&self, at: usize, key: &str) -> String {
        if key.is_empty() {
            format!("{}:{}", self.file, self.line(at))
        } else {
            format!("{}:{}: {key}", self.file, self.line(at))
        }
    }

    /// Something is wrong at an offset of the file.
    pub(super) fn wrong(
        &self,
        at: usize,
        key: &str,
        what: impl std::fmt::Display,
        remedy: impl Into<String>,
    ) {
        let error =
            Error::new(Kind::Config, Scope::Run, format!("{}: {what}", self.place(at, key))).remedy(remedy);
        self.wrong.borrow_mut().push((at, error));
    }

    /// All that was wrong, in the order of the file.
    pub(super) fn into_wrong(self) -> Vec<Error> {
        let mut wrong = self.wrong.into_inner();
        wrong.sort_by_key(|(at, _)| *at);
        wrong.into_iter().map(|(_, e)| e).collect()
    }
}

/// A table being read. What was not asked for by the time of [`Section::done`] is unknown.
pub(super) struct Section<'r, 'i> {
    reader: &'r Reader<'i>,
    /// `""` for the file itself, else `source.old`.
    name: String,
    table: &'r DeTable<'i>,
    at: usize,
    known: RefCell<Vec<&'static str>>,
}

type Value<'r, 'i> = &'r Spanned<DeValue<'i>>;

impl<'r, 'i> Section<'r, 'i> {
    pub(super) fn root(reader: &'r Reader<'i>, table: &'r DeTable<'i>) -> Section<'r, 'i> {
        Section { reader, name: String::new(), table, at: 0, known: RefCell::default() }
    }

    /// `source.old.host` for `host`.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn get(&self, key: &'static str) -> Option<Value<'r, 'i>> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Is the key there? Also makes it known.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// `mailwave.toml:12: source.old.host`, for errors found later.
    pub(super) fn place(&self, key: &'static str) -> String {
        self.reader.place(self.at_key(key), &self.key(key))
    }

    /// Where the key's value stands, else the section.
    pub(super) fn at_key(&self, key: &'static str) -> usize {
        self.get(key).map_or(self.at, |v| v.span().start)
    }

    /// Something is wrong with a key.
    pub(super) fn wrong(&self, key: &'static str, what: impl std::fmt::Display, remedy: impl Into<String>) {
        self.reader.wrong(self.at_key(key), &self.key(key), what, remedy);
    }

    fn missing(&self, key: &'static str, example: &str) {
        self.reader.wrong(self.at, &self.key(key), "this key is missing", format!("add `{key} = {example}`"));
    }

    fn of_type<T>(
        &self,
        key: &'static str,
        wanted: &str,
        found: Value<'_, '_>,
        value: Option<T>,
    ) -> Option<T> {
        if value.is_none() {
            let kind = found.get_ref().type_str();
            self.wrong(
                key,
                format_args!("wants {wanted}, found {kind}"),
                format!("write `{key} = {wanted}`"),
            );
        }
        value
    }

    /// Text.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        let found = self.get(key)?;
        let text = self.of_type(key, "\"text\"", found, found.get_ref().as_str())?;
        if crate::guard::has_control(text) || text.len() > 4096 {
            self.wrong(key, "holds control characters or is longer than 4096 bytes", "write plain text");
            return None;
        }
        Some(text.to_owned())
    }

    /// Text that must be there.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<String> {
        if !self.has(key) {
            self.missing(key, example);
            return None;
        }
        let text = self.text(key)?;
        if text.is_empty() {
            self.wrong(key, "is empty", format!("write `{key} = {example}`"));
            return None;
        }
        Some(text)
    }

    /// A path, relative to the file's directory.
    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.wrong(key, "is empty", "write a path, or leave the key out");
            return None;
        }
        Some(self.reader.dir.join(text))
    }

    /// A path that must be there.
    pub(super) fn required_path(&self, key: &'static str, example: &str) -> Option<PathBuf> {
        self.required(key, example)?;
        self.path(key)
    }

    /// A path, or a default relative to the file's directory.
    pub(super) fn path_or(&self, key: &'static str, default: &str) -> PathBuf {
        self.path(key).unwrap_or_else(|| self.reader.dir.join(default))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(found) = self.get(key) else { return default };
        self.of_type(key, "true or false", found, found.get_ref().as_bool()).unwrap_or(default)
    }

    /// A whole number.
    pub(super) fn number(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(found) = self.get(key) else { return default };
        let Some(digits) = self.of_type(key, "a whole number", found, found.get_ref().as_integer()) else {
            return default;
        };
        match i128::from_str_radix(digits.as_str(), digits.radix()).ok().and_then(|n| u64::try_from(n).ok()) {
            Some(n) if range.contains(&n) => n,
            _ => {
                let (from, to) = range.into_inner();
                self.wrong(
                    key,
                    format_args!("{digits} is out of range"),
                    format!("write a number from {from} to {to}"),
                );
                default
            }
        }
    }

    /// A duration.
    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let show = value::show_duration;
        self.unit(key, default, range, value::duration, show, "a duration with its unit (ms, s, m, h, d)")
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let show = value::show_size;
        self.unit(
            key,
            default,
            range,
            value::size,
            show,
            "a size with its unit (B, kB, MB, GB, KiB, MiB, GiB)",
        )
    }

    fn unit<T: PartialOrd + Copy>(
        &self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
        parse: fn(&str) -> Option<T>,
        show: fn(T) -> String,
        wanted: &str,
    ) -> T {
        let Some(found) = self.get(key) else { return default };
        let example = format!("write it like `{key} = \"{}\"`", show(default));
        let Some(value) = found.get_ref().as_str().and_then(parse) else {
            self.wrong(key, format_args!("wants {wanted}, in quotes"), example);
            return default;
        };
        if !range.contains(&value) {
            let (from, to) = (show(*range.start()), show(*range.end()));
            self.wrong(
                key,
                format_args!("{} is out of range", show(value)),
                format!("write from \"{from}\" to \"{to}\""),
            );
            return default;
        }
        value
    }

    /// One of several words. `None`: it is not there, or wrong (and told).
    pub(super) fn one_of<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
            let near = nearest(&text, words.iter().map(|(w, _)| *w));
            let hint = near.map_or_else(
                || format!("write one of {}", all.join(", ")),
                |n| format!("did you mean \"{n}\"? It may be {}", all.join(", ")),
            );
            self.wrong(key, format_args!("\"{}\" is not known here", Shown(&text)), hint);
        }
        found
    }

    /// One of several words, or a default.
    pub(super) fn one_of_or<T: Copy>(&self, key: &'static str, words: &[(&str, T)], default: T) -> T {
        if self.has(key) { self.one_of(key, words).unwrap_or(default) } else { default }
    }

    /// A named secret.
    pub(super) fn secret(&self, key: &'static str) -> Option<Secret> {
        const WAYS: &str = "write `{ env = \"NAME\" }`, `{ file = \"path\" }` or `{ command = [\"pass\", \"show\", \"name\"] }`";
        let found = self.get(key)?;
        let DeValue::Table(table) = found.get_ref() else {
            let what = if found.get_ref().is_str() {
                "a secret must not stand in the configuration"
            } else {
                "this is not where a secret comes from"
            };
            self.wrong(key, what, WAYS);
            return None;
        };
        let section = Section {
            reader: self.reader,
            name: self.key(key),
            table,
            at: found.span().start,
            known: RefCell::default(),
        };
        let ways = ["env", "file", "command"].into_iter().filter(|way| section.has(way)).count();
        let from = if ways != 1 {
            self.wrong(key, "wants exactly one of env, file and command", WAYS);
            None
        } else if section.has("env") {
            section.required("env", "\"NAME\"").map(SecretFrom::Env)
        } else if section.has("file") {
            section.required_path("file", "\"path\"").map(SecretFrom::File)
        } else {
            section.words("command").map(SecretFrom::Command)
        };
        section.done();
        Some(Secret { from: from?, place: self.reader.place(found.span().start, &self.key(key)) })
    }

    /// A program and its arguments.
    pub(super) fn words(&self, key: &'static str) -> Option<Vec<String>> {
        let words = self.list(key, "[\"program\", \"argument\"]")?;
        if words.first().is_none_or(String::is_empty) {
            self.wrong(key, "names no program", format!("write `{key} = [\"program\", \"argument\"]`"));
            return None;
        }
        Some(words)
    }

    /// A list of names. `None`: it is not there, or wrong (and told).
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let texts = self.list(key, "[\"one\", \"two\"]")?;
        if texts.iter().any(|t| t.is_empty() || t.len() > 4096 || crate::guard::has_control(t)) {
            self.wrong(key, "holds a name that is empty, too long or not plain text", "write plain names");
            return None;
        }
        Some(texts)
    }

    fn list(&self, key: &'static str, example: &str) -> Option<Vec<String>> {
        let found = self.get(key)?;
        let list = found.get_ref().as_array().and_then(|list| {
            list.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        self.of_type(key, example, found, list)
    }

    /// A table below this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'r, 'i>> {
        let found = self.get(key)?;
        let table = match found.get_ref() {
            DeValue::Table(table) => table,
            _ => {
                self.wrong(
                    key,
                    "wants a table",
                    format!("write `[{}]` and its keys below it", self.key(key)),
                );
                return None;
            }
        };
        Some(Section {
            reader: self.reader,
            name: self.key(key),
            table,
            at: found.span().start,
            known: RefCell::default(),
        })
    }

    /// A list of tables: `[[name.key]]`. Errors in them name them by their place, from 1 on.
    pub(super) fn tables(&self, key: &'static str) -> Option<Vec<Section<'r, 'i>>> {
        let found = self.get(key)?;
        let name = |at: usize| format!("{}.{}", self.key(key), at + 1);
        let tables = found.get_ref().as_array().and_then(|list| {
            let sections = list.iter().enumerate().map(|(at, one)| match one.get_ref() {
                DeValue::Table(table) => Some(Section {
                    reader: self.reader,
                    name: name(at),
                    table,
                    at: one.span().start,
                    known: RefCell::default(),
                }),
                _ => None,
            });
            sections.collect::<Option<Vec<_>>>()
        });
        if tables.is_none() {
            let remedy = format!("write `[[{}]]` and its keys below it", self.key(key));
            self.wrong(key, "wants a list of tables", remedy);
        }
        tables
    }

    /// Is the key there, but no table? (Told already.)
    pub(super) fn wrong_type(&self, key: &'static str) -> bool {
        self.get(key).is_some_and(|found| !found.get_ref().is_table())
    }

    /// Every table below this one: named endpoints.
    pub(super) fn sections(&self) -> Vec<(String, Section<'r, 'i>)> {
        self.below("an endpoint", "use 1 to 32 of a-z, 0-9, - and _", |name| {
            !name.is_empty()
                && name.len() <= 32
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        })
    }

    /// Every table below this one, whatever plain text names it.
    pub(super) fn named_tables(&self) -> Vec<(String, Section<'r, 'i>)> {
        self.below("a wave", "use plain text of up to 1024 bytes", |name| {
            !name.is_empty() && name.len() <= 1024 && !crate::guard::has_control(name)
        })
    }

    fn below(&self, what: &str, rule: &str, fits: fn(&str) -> bool) -> Vec<(String, Section<'r, 'i>)> {
        let mut all = Vec::new();
        for (name, found) in self.table {
            let name = name.get_ref().to_string();
            let at = found.span().start;
            if !fits(&name) {
                let what = format!("\"{}\" is not a name for {what}", Shown(&name));
                self.reader.wrong(at, &self.name, what, rule);
            }
            let DeValue::Table(table) = found.get_ref() else {
                let key = self.key(&Shown(&name).to_string());
                self.reader.wrong(
                    at,
                    &key,
                    "wants a table",
                    format!("write `[{key}]` and its keys below it"),
                );
                continue;
            };
            let section = Section {
                reader: self.reader,
                name: self.key(&Shown(&name).to_string()),
                table,
                at,
                known: RefCell::default(),
            };
            all.push((name, section));
        }
        all
    }

    /// The end of the section: whatever was not asked for is unknown.
    pub(super) fn done(self) {
        self.all_known();
    }

    /// As [`Section::done`], of a section that is only lent.
    pub(super) fn all_known(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let (typed, Range { start, .. }) = (key.get_ref().as_ref(), key.span());
            if known.contains(&typed) {
                continue;
            }
            let mut all: Vec<&str> = known.clone();
            all.sort_unstable();
            all.dedup();
            let remedy = nearest(typed, all.iter().copied()).map_or_else(
                || format!("the keys here are {}", all.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.reader.wrong(start, &self.key(&Shown(typed).to_string()), "this key is not known", remedy);
        }
    }
}

/// The word that was probably meant.
pub(crate) fn nearest<'w>(typed: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let typed: Vec<char> = typed.chars().take(64).flat_map(char::to_lowercase).collect();
    words
        .map(|word| (distance(&typed, &word.chars().collect::<Vec<_>>()), word))
        .filter(|(d, word)| *d <= 1 + word.len() / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, word)| word)
}

/// Levenshtein's distance, two neighbours swapped counting as one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let mut d = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = d;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word() {
        let words = ["host", "port", "ca_file", "max_connections"];
        for (typed, meant) in [
            ("hsot", Some("host")),
            ("Host", Some("host")),
            ("max_conections", Some("max_connections")),
            ("cafile", Some("ca_file")),
            ("zebra", None),
        ] {
            assert_eq!(nearest(typed, words.into_iter()), meant, "{typed}");
        }
    }
}
