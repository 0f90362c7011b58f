//! Files whose names and kinds others decide: confined to the directory the operator named, opened without following
//! links and without waiting for a FIFO's other end.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::{Error, Kind, Result, Scope};

/// Longest mailbox name taken from the operator's list, in bytes.
const MAX_MAILBOX_NAME: usize = 1024;
/// Longest file name Linux takes (`NAME_MAX`), in bytes.
const MAX_FILE_NAME: usize = 255;

/// Where the mailboxes of an endpoint lie: a directory, and a pattern below it that a mailbox's name is put into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    base: PathBuf,
    pattern: String,
}

impl Place {
    /// Reads a template such as `/var/mail/{domain}/{user}/Maildir`. `{mailbox}` is the name as the operator wrote it,
    /// `{user}` what stands before its last `@` (all of it if there is none), `{domain}` what stands after. Without
    /// any of them the name is joined to the path.
    ///
    /// # Errors
    /// `Kind::Config`: empty, or with an unknown placeholder.
    pub fn parse(template: &str) -> Result<Place> {
        let wrong = |what: &str| {
            Error::new(Kind::Config, Scope::Run, format!("the root of a file endpoint {what}"))
                .remedy("write a path, with {mailbox}, {user} or {domain} where the mailbox's name belongs")
        };
        if template.trim().is_empty() || template.contains('\0') {
            return Err(wrong("is empty or holds a NUL"));
        }
        let fixed_end = match template.find('{') {
            None => {
                return Ok(Place { base: PathBuf::from(template), pattern: "{mailbox}".to_owned() });
            }
            // The fixed part ends at the last slash before the first placeholder.
            Some(brace) => template[..brace].rfind('/').map_or(0, |slash| slash + 1),
        };
        let (base, pattern) = template.split_at(fixed_end);
        let known =
            ["{mailbox}", "{user}", "{domain}"].iter().fold(pattern.to_owned(), |p, k| p.replace(k, ""));
        if known.contains(['{', '}']) {
            return Err(wrong("has an unknown placeholder"));
        }
        let base = if base.is_empty() { PathBuf::from(".") } else { PathBuf::from(base) };
        Ok(Place { base, pattern: pattern.trim_end_matches('/').to_owned() })
    }

    /// The directory that holds every mailbox.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The path of a mailbox. Whatever the name is, the path lies below [`Place::base`] by its names; links are looked
    /// at by [`confined`].
    ///
    /// # Errors
    /// `Scope::Mailbox`, `Kind::Config`: the name is empty, too long, absolute, climbs (`..`), or holds control
    /// characters; or the template asks for a domain and it has none.
    pub fn resolve(&self, mailbox: &str) -> Result<PathBuf> {
        let wrong = |what: &str| {
            Error::new(Kind::Config, Scope::Mailbox, format!("the mailbox's name {what}"))
                .remedy("correct its row in the list of mailboxes")
        };
        if mailbox.is_empty() || mailbox.len() > MAX_MAILBOX_NAME {
            return Err(wrong("is empty or longer than 1024 bytes"));
        }
        if mailbox.chars().any(char::is_control) {
            return Err(wrong("holds a control character"));
        }
        let (user, domain) = match mailbox.rsplit_once('@') {
            Some((user, domain)) => (user, Some(domain)),
            None => (mailbox, None),
        };
        if self.pattern.contains("{domain}") && domain.is_none_or(str::is_empty) {
            return Err(wrong("has no domain, and the endpoint's root asks for one"));
        }
        let domain = domain.unwrap_or("");
        let single = |part: &str| !part.contains('/');
        if (self.pattern.contains("{user}") && !single(user))
            || (self.pattern.contains("{domain}") && !single(domain))
        {
            return Err(wrong("holds a slash"));
        }
        // Put in one after the other in one walk, so that a name holding `{user}` is not expanded again.
        let mut relative = String::new();
        let mut rest = self.pattern.as_str();
        while let Some(open) = rest.find('{') {
            relative.push_str(&rest[..open]);
            let (key, value) = [("{mailbox}", mailbox), ("{user}", user), ("{domain}", domain)]
                .into_iter()
                .find(|(key, _)| rest[open..].starts_with(key))
                .ok_or_else(|| wrong("cannot be put into the endpoint's root"))?;
            relative.push_str(value);
            rest = &rest[open + key.len()..];
        }
        relative.push_str(rest);
        let names_fit = relative
            .split('/')
            .all(|name| !name.is_empty() && name != "." && name != ".." && name.len() <= MAX_FILE_NAME);
        if !names_fit {
            return Err(wrong("is not a plain relative path"));
        }
        Ok(self.base.join(relative))
    }

    /// What a failure on the way to a mailbox means to a source: no base directory, no such mailbox, or something else.
    pub fn unreachable(&self, e: &io::Error) -> Error {
        if !self.base.is_dir() {
            let what = "the source's root directory is not there";
            return Error::temporary(Kind::Unreachable, Scope::Endpoint, what)
                .remedy("correct the endpoint's root, or mount it");
        }
        if e.kind() == io::ErrorKind::NotFound {
            return Error::new(Kind::NotFound, Scope::Mailbox, "no such mailbox below the source's root")
                .remedy("correct the mailbox's name in its row, or the endpoint's root");
        }
        Error::new(Kind::Io, Scope::Mailbox, format!("the mailbox cannot be opened ({})", say(e)))
            .remedy("give this program the right to read it")
    }
}

/// `path` with every link resolved, if that lies inside `base` (or is it); `None` if a link leads out.
///
/// # Errors
/// One of them does not exist or cannot be read.
pub fn confined(base: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let base = base.canonicalize()?;
    let path = path.canonicalize()?;
    Ok(path.starts_with(&base).then_some(path))
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum NotOpened {
    /// It is not there.
    Gone,
    /// It is a link, a directory, a FIFO, a device or a socket.
    NotAFile,
    /// The system said no.
    Io(io::Error),
}

impl From<io::Error> for NotOpened {
    fn from(e: io::Error) -> NotOpened {
        if e.kind() == io::ErrorKind::NotFound { NotOpened::Gone } else { NotOpened::Io(e) }
    }
}

/// Opens a regular file for reading. Follows no link, waits for nothing: a FIFO or a device in a mail store is found
/// out before and after the opening (the two must be the same file).
///
/// # Errors
/// See [`NotOpened`].
pub fn open_regular(path: &Path) -> Result<(File, Metadata), NotOpened> {
    let before = path.symlink_metadata()?;
    if !before.file_type().is_file() {
        return Err(NotOpened::NotAFile);
    }
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOFOLLOW).open(path)?;
    let after = file.metadata()?;
    if !after.is_file() || (after.dev(), after.ino()) != (before.dev(), before.ino()) {
        return Err(NotOpened::NotAFile);
    }
    Ok((file, after))
}

// open(2) flags, from the kernels' fcntl.h. The checks in `open_regular` hold without them too; they close the moment
// between looking and opening.
const O_NONBLOCK: i32 = if cfg!(target_os = "linux") { 0o4000 } else { 0x4 };
const O_NOFOLLOW: i32 = if cfg!(not(target_os = "linux")) {
    0x100
} else if cfg!(any(target_arch = "aarch64", target_arch = "arm", target_arch = "powerpc64")) {
    0o100_000
} else {
    0o400_000
};

/// A file name as text that gives the same name back ([`file_name`]): bytes that are not UTF-8, and `%`, are written
/// as `%` and two hexadecimal digits.
pub fn file_text(name: &OsStr) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        out.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// The file name [`file_text`] was made from.
pub fn file_name(text: &str) -> OsString {
    OsString::from_vec(percent_encoding::percent_decode_str(text).collect())
}

/// What the system said, without the path: safe to show.
pub fn say(e: &io::Error) -> String {
    e.kind().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_name_never_leaves_the_base() {
        let hostile =
            ["", "/etc", "..", "../x", "a/../../b", "a/./b", "a//b", "a\0b", "a\u{1b}[2J", "./a", "a/", "/"];
        for template in ["/srv/mail", "/srv/mail/{mailbox}", "/srv/mail/x-{mailbox}/Maildir"] {
            let place = Place::parse(template).expect("template");
            for name in hostile.iter().map(|s| (*s).to_owned()).chain(["x".repeat(5000), "x".repeat(300)]) {
                if let Ok(path) = place.resolve(&name) {
                    assert!(path.starts_with("/srv/mail"), "{name:?}");
                    let plain = path.components().all(|c| c != std::path::Component::ParentDir);
                    assert!(plain, "{name:?} gave {path:?}");
                }
            }
        }
        let place = Place::parse("/srv/mail").expect("template");
        for name in hostile {
            assert!(place.resolve(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn user_and_domain_are_put_in_once() {
        let place = Place::parse("/srv/{domain}/{user}/Maildir").expect("template");
        assert_eq!(place.base(), Path::new("/srv/"));
        let path = place.resolve("anna@example.org").expect("resolve");
        assert_eq!(path, Path::new("/srv/example.org/anna/Maildir"));
        let odd = place.resolve("{domain}@example.org").expect("resolve");
        assert_eq!(odd, Path::new("/srv/example.org/{domain}/Maildir"));
        assert!(place.resolve("anna").is_err());
        assert!(place.resolve("a/b@example.org").is_err());
        assert!(place.resolve("x@..").is_err());
        assert!(Place::parse("/srv/{who}").is_err());
    }

    #[test]
    fn links_fifos_and_directories_are_not_opened() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("file"), "x").expect("write");
        std::os::unix::fs::symlink(dir.path().join("file"), dir.path().join("link")).expect("link");
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        assert!(open_regular(&dir.path().join("file")).is_ok());
        for name in ["link", "fifo", "."] {
            assert!(matches!(open_regular(&dir.path().join(name)), Err(NotOpened::NotAFile)), "{name}");
        }
        assert!(matches!(open_regular(&dir.path().join("none")), Err(NotOpened::Gone)));
    }

    #[test]
    fn any_file_name_survives_being_written_as_text() {
        for name in [&b"plain"[..], b"100%", b"\xff\xfe%41", "Entwürfe".as_bytes()] {
            let name = OsStr::from_bytes(name);
            assert_eq!(file_name(&file_text(name)), name);
        }
    }
}
