//! Secrets: named in the configuration, loaded when they are needed, shown nowhere.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::model::{Error, Kind, Result, Scope};

/// Longest secret, in bytes. A token is some kilobytes at most; a larger file is not a secret.
const LONGEST: u64 = 64 << 10;
/// How long a secret command may take: it may ask a person.
const COMMAND_TIME: Duration = Duration::from_secs(120);

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// An environment variable.
    Env(String),
    /// A file; one line end at its end is not part of the secret.
    File(PathBuf),
    /// The output of a command (no shell); one line end at its end is not part of the secret.
    Command(Vec<String>),
}

/// A secret as the configuration names it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where it comes from.
    pub from: SecretFrom,
    /// Where it is named, for errors: `mailwave.toml:12: source.old.password`.
    pub place: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A command's arguments may hold a secret themselves.
        f.write_str(match self.from {
            SecretFrom::Env(_) => "Secret(env)",
            SecretFrom::File(_) => "Secret(file)",
            SecretFrom::Command(_) => "Secret(command)",
        })
    }
}

impl Secret {
    /// Loads the secret. Blocks: a command may take up to two minutes (it may ask a person).
    ///
    /// # Errors
    /// `Kind::Config`: it is not there, empty, too long, not text, or the command failed. The text of the error says
    /// where the secret was looked for, never what was found.
    pub fn load(&self) -> Result<SecretString> {
        let found = self.found()?;
        let text = found.strip_suffix('\n').map_or(found.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
        if text.is_empty() {
            return Err(self.error("the secret is empty").remedy("check where it is taken from"));
        }
        if text.contains(['\0', '\n', '\r']) {
            return Err(self
                .error("the secret has more than one line or a NUL in it")
                .remedy("keep the secret alone on one line"));
        }
        Ok(SecretString::from(text))
    }

    /// Loads a secret of several lines (PEM), as it is. Blocks, as [`Secret::load`].
    ///
    /// # Errors
    /// As [`Secret::load`].
    pub fn load_lines(&self) -> Result<Zeroizing<String>> {
        let found = self.found()?;
        if found.trim().is_empty() {
            return Err(self.error("the secret is empty").remedy("check where it is taken from"));
        }
        Ok(found)
    }

    fn found(&self) -> Result<Zeroizing<String>> {
        match &self.from {
            SecretFrom::Env(name) => self.by_env(name),
            SecretFrom::File(path) => self.by_file(path),
            SecretFrom::Command(words) => self.by_command(words, COMMAND_TIME),
        }
    }

    /// A warning if others than its owner may read the secret's file.
    pub fn warning(&self) -> Option<String> {
        let SecretFrom::File(path) = &self.from else { return None };
        open_to_others(path, &self.place)
    }

    fn error(&self, what: &str) -> Error {
        Error::new(Kind::Config, Scope::Run, format!("{}: {what}", self.place))
    }

    fn by_env(&self, name: &str) -> Result<Zeroizing<String>> {
        match std::env::var(name) {
            Ok(text) => Ok(Zeroizing::new(text)),
            Err(std::env::VarError::NotPresent) => {
                Err(self.error(&format!("the environment variable {name} is not set")).remedy(format!(
                    "set {name}, or take the secret from a file (`{{ file = \"…\" }}`) or a command (`{{ command = [\"…\"] }}`)"
                )))
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(self.error(&format!("the environment variable {name} is not UTF-8 text")))
            }
        }
    }

    fn by_file(&self, path: &Path) -> Result<Zeroizing<String>> {
        let shown = path.display();
        let read = std::fs::File::open(path).and_then(limited);
        match read {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err(self.error(&format!("{shown} is longer than a secret can be (64 KiB)"))),
            Err(e) => Err(self
                .error(&format!("the secret's file {shown} cannot be read ({e})"))
                .remedy("make the file readable for the user who runs this, and for nobody else")),
        }
    }

    fn by_command(&self, words: &[String], time: Duration) -> Result<Zeroizing<String>> {
        let Some((program, args)) = words.split_first() else {
            return Err(self
                .error("the command is empty")
                .remedy("write it as `command = [\"pass\", \"show\", \"mail\"]`"));
        };
        let failed = |why: String| {
            self.error(&format!("the command {program} gave no secret ({why})"))
                .remedy("run the command by hand as the same user; it must print the secret alone")
        };
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let Some(out) = child.stdout.take() else { return Err(failed("no output".to_owned())) };
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || say.send(limited(out)));
        let answer = hear.recv_timeout(time);
        let ended = if answer.is_ok() { ended(&mut child, time) } else { Ok(None) };
        let Some(status) = ended.map_err(|e| failed(e.to_string()))? else {
            // Best effort: it may have ended meanwhile.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("it did not end within {} s", time.as_secs())));
        };
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        match answer {
            Ok(Ok(Some(text))) => Ok(text),
            Ok(Ok(None)) => Err(failed("more than 64 KiB".to_owned())),
            Ok(Err(e)) => Err(failed(e.to_string())),
            Err(e) => Err(failed(e.to_string())),
        }
    }
}

/// Waits for a command that has said all it had to say; `None`: it does not end.
fn ended(child: &mut Child, time: Duration) -> std::io::Result<Option<ExitStatus>> {
    const LOOK: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || waited >= time {
            return Ok(status);
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

/// A CSV file with a password for each mailbox: the first line is `mailbox,password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordFile {
    /// The file.
    pub path: PathBuf,
    /// Where it is named, for errors.
    pub place: String,
}

impl PasswordFile {
    /// Loads every password.
    ///
    /// # Errors
    /// `Kind::Config`: the file cannot be read, a line of it is wrong, or a mailbox is there twice. The text names the
    /// line, never what is in it.
    pub fn load(&self) -> Result<BTreeMap<String, SecretString>> {
        let wrong = |what: String| {
            Error::new(Kind::Config, Scope::Run, format!("{}: {what}", self.place))
                .remedy("the first line is `mailbox,password`; then one line a mailbox, in UTF-8, quoted where it holds a comma")
        };
        let octets = Zeroizing::new(
            std::fs::read(&self.path)
                .map_err(|e| wrong(format!("{} cannot be read ({e})", self.path.display())))?,
        );
        let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&octets);
        let mut reader = ::csv::Reader::from_reader(octets);
        if !reader.headers().is_ok_and(|header| header == ["mailbox", "password"].as_slice()) {
            return Err(wrong("the file's first line is not `mailbox,password`".to_owned()));
        }
        let mut all = BTreeMap::new();
        for (n, row) in reader.records().enumerate() {
            let row = row.map_err(|_| wrong(format!("row {} of the file cannot be read", n + 1)))?;
            let (Some(mailbox), Some(password)) = (row.get(0), row.get(1)) else { continue };
            if mailbox.is_empty() || password.is_empty() {
                return Err(wrong(format!("row {} of the file lacks a mailbox or a password", n + 1)));
            }
            if all.insert(mailbox.to_owned(), SecretString::from(password)).is_some() {
                return Err(wrong(format!("row {} of the file names a mailbox again", n + 1)));
            }
        }
        Ok(all)
    }

    /// A warning if others than its owner may read the file.
    pub fn warning(&self) -> Option<String> {
        open_to_others(&self.path, &self.place)
    }
}

fn open_to_others(path: &Path, place: &str) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0)
        .then(|| format!("{place}: others may read this secret's file (mode {mode:04o}) — chmod 600 it"))
}

/// Reads text of at most [`LONGEST`] bytes; `None` if there is more.
fn limited(from: impl Read) -> std::io::Result<Option<Zeroizing<String>>> {
    let mut text = Zeroizing::new(String::new());
    from.take(LONGEST + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= LONGEST).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn secret(from: SecretFrom) -> Secret {
        Secret { from, place: "mailwave.toml:3: source.old.password".to_owned() }
    }

    #[test]
    fn a_secret_is_taken_from_a_file_without_its_line_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pw");
        std::fs::write(&path, "s3cret \r\n").expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("set");
        let s = secret(SecretFrom::File(path.clone()));
        assert_eq!(s.load().expect("loaded").expose_secret(), "s3cret ");
        assert!(s.warning().expect("a warning").contains("chmod 600"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("set");
        assert_eq!(s.warning(), None);
    }

    #[test]
    fn a_secret_is_taken_from_a_command() {
        let s = secret(SecretFrom::Command(vec!["printf".into(), "abc\\n".into()]));
        assert_eq!(s.load().expect("loaded").expose_secret(), "abc");
        let s = secret(SecretFrom::Command(vec!["false".into()]));
        assert!(s.load().expect_err("fails").what.contains("gave no secret"));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_and_its_words_are_in_no_error() {
        for script in [
            "sleep 60 # hunter2",
            "echo hunter2; exec >&-; sleep 60",
            "printf 'hunter2\\377'",
            "echo hunter2; exit 3",
        ] {
            let words: Vec<String> = ["sh", "-c", script].map(str::to_owned).to_vec();
            let s = secret(SecretFrom::Command(words.clone()));
            let e = s.by_command(&words, Duration::from_millis(300)).expect_err("no secret");
            assert!(
                e.what.starts_with("mailwave.toml:3: source.old.password: the command sh gave no secret ("),
                "{e}"
            );
            assert!(e.remedy.starts_with("run the command by hand"), "{e}");
            assert!(!e.to_string().contains("hunter2"), "{e}");
        }
    }

    #[test]
    fn a_missing_secret_names_the_place_and_the_ways_out() {
        let e = secret(SecretFrom::Env("MAILWAVE_NO_SUCH_VARIABLE".into())).load().expect_err("not set");
        assert_eq!(
            e.what,
            "mailwave.toml:3: source.old.password: the environment variable MAILWAVE_NO_SUCH_VARIABLE is not set"
        );
        assert!(e.remedy.starts_with("set MAILWAVE_NO_SUCH_VARIABLE, or"));
    }

    #[test]
    fn empty_long_and_many_lined_secrets_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for (content, why) in [
            ("\n".to_owned(), "empty"),
            ("a\nb\n".to_owned(), "more than one line"),
            ("x".repeat(70_000), "longer"),
        ] {
            let path = dir.path().join("pw");
            std::fs::write(&path, &content).expect("written");
            let e = secret(SecretFrom::File(path)).load().expect_err("refused");
            assert!(e.what.contains(why), "{}", e.what);
        }
    }

    #[test]
    fn a_file_gives_each_mailbox_its_password() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = PasswordFile {
            path: dir.path().join("p.csv"),
            place: "mailwave.toml:3: source.old.passwords".into(),
        };
        let load = |text: &str| {
            std::fs::write(&file.path, text).expect("written");
            file.load()
        };
        let all = load("mailbox,password\nann@x,\"a,b\"\nbob@x,c\n").expect("loaded");
        assert_eq!(all["ann@x"].expose_secret(), "a,b");
        for bad in [
            "ann@x,a\n",
            "mailbox,password\nann@x\n",
            "mailbox,password\nann@x,\n",
            "mailbox,password\na,b\na,c\n",
        ] {
            let e = load(bad).expect_err("refused");
            assert!(
                e.what.starts_with("mailwave.toml:3: source.old.passwords: ")
                    && !e.to_string().contains("ann@x")
            );
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_command() {
        let s = secret(SecretFrom::Command(vec!["echo".into(), "hunter2".into()]));
        assert_eq!(format!("{s:?}"), "Secret(command)");
    }
}
