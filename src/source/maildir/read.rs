//! The octets of one message file.

use std::io::{self, Read, Write};

use crate::guard::files::{NotOpened, file_text, open_regular, say};
use crate::model::{Bodies, Error, Kind, Result, Scope, SourceId, Timestamp};
use crate::source::Fetched;
use crate::transform::line_ends::ToCrlf;

use super::scan::{Scan, received};
use super::{MaildirSettings, name};

/// Reads a message as the scan has it.
///
/// # Errors
/// The spool cannot be written: that is nobody's message.
pub(super) fn fetch(
    scan: &Scan,
    id: &SourceId,
    settings: &MaildirSettings,
    bodies: &Bodies,
) -> Result<Fetched> {
    let Some(entry) = scan.find(id) else { return Ok(Fetched::Gone) };
    let (mut file, seen) = match open_regular(&scan.path(entry)) {
        Ok(opened) => opened,
        Err(NotOpened::Gone) => return Ok(Fetched::Gone),
        Err(NotOpened::NotAFile) => {
            return Ok(Fetched::Failed(
                Error::new(
                    Kind::Denied,
                    Scope::Message,
                    "the message is no plain file (a link, FIFO or device), which is not opened",
                )
                .remedy("replace it by the file it stands for, or remove it"),
            ));
        }
        Err(NotOpened::Io(e)) => return Ok(Fetched::Failed(unreadable(&e))),
    };
    let mut writer = ToCrlf::new(bodies.begin(seen.len()).map_err(|e| spool(&e))?);
    let mut piece = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let n = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Fetched::Failed(unreadable(&e))),
        };
        total += n as u64;
        match writer.write_all(&piece[..n]) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                return Ok(Fetched::Failed(Error::new(
                    Kind::TooLarge,
                    Scope::Message,
                    "the message is larger than the largest one allowed",
                )));
            }
            Err(e) => return Err(spool(&e)),
        }
    }
    if total != seen.len() {
        return Ok(Fetched::Failed(Error::temporary(
            Kind::Conflict,
            Scope::Message,
            "the message's file changed while it was read",
        )));
    }
    let body = writer.into_inner().finish().map_err(|e| spool(&e))?;
    Ok(Fetched::Message {
        body,
        flags: Some(name::flags(name::letters(&file_text(&entry.file)), &scan.keywords)),
        received: Some(Timestamp::utc(received(entry, settings))),
    })
}

fn unreadable(e: &io::Error) -> Error {
    // A denied right stays denied; a failing disk or network mount may recover.
    let what = format!("the message's file cannot be read ({})", say(e));
    let error = match e.kind() {
        io::ErrorKind::PermissionDenied => Error::new(Kind::Denied, Scope::Message, what),
        _ => Error::temporary(Kind::Io, Scope::Message, what),
    };
    error.remedy("give this program the right to read it, and check the disk")
}

fn spool(e: &io::Error) -> Error {
    Error::temporary(Kind::Io, Scope::Run, format!("the spool cannot be written ({})", say(e)))
        .remedy("free space in the spool directory, or name another one")
}
