//! How a running process is spoken to: a Unix socket in the ledger's directory, lines of JSON.
//!
//! ```text
//! → {"v":1,"verb":"pause","wave":"pilot"}
//! ← {"v":1,"ok":{…}}            or {"v":1,"error":{"what":"…","remedy":"…"}}
//! ```
//! One line asks, one line answers, as often as wanted. A request is a verb and its fields; a field that the verb does
//! not know is refused, and so is another version: who does not understand all of a wish must not carry out a part of it.
//! A line has at most [`LONGEST_REQUEST`] bytes. The socket is 0600, in a directory that is 0700, and the process looks at
//! the user of the one who connects.

mod borrow;
mod client;
mod lend;
mod server;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Error, Kind, Result, Scope};

pub(super) use borrow::Borrower;
pub(super) use client::{ask, change};
pub(super) use lend::Sources;
pub(super) use server::{Served, serve};

/// The version of the protocol.
const VERSION: u32 = 1;
/// Longest request, in bytes with its line end.
const LONGEST_REQUEST: u64 = 4096;
/// Longest answer, in bytes with its line end: a thousand waves with names of a kilobyte.
const LONGEST_ANSWER: u64 = 4 << 20;
/// The socket's name in the ledger's directory.
const NAME: &str = "control.sock";
/// Longest path of a Unix socket, in bytes, less its end (`sun_path` of unix(7) has 108).
const LONGEST_PATH: usize = 107;

/// One line of a request.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    v: u32,
    verb: String,
    #[serde(flatten)]
    fields: serde_json::Map<String, serde_json::Value>,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    what: String,
    #[serde(default)]
    remedy: String,
}

impl Answer {
    fn of(result: Result<serde_json::Value>) -> Answer {
        match result {
            Ok(ok) => Answer { v: VERSION, ok: Some(ok), error: None },
            Err(e) => {
                Answer { v: VERSION, ok: None, error: Some(Refusal { what: e.what, remedy: e.remedy }) }
            }
        }
    }
}

/// Where the socket of a ledger is, and what must stay open while that name is used: a path too long for a socket is
/// taken through its directory.
fn place(ledger: &Path) -> std::io::Result<(Option<File>, PathBuf)> {
    let path = ledger.join(NAME);
    if path.as_os_str().len() <= LONGEST_PATH {
        return Ok((None, path));
    }
    let dir = File::open(ledger)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(NAME);
    Ok((Some(dir), path))
}

fn protocol(what: &str) -> Error {
    Error::new(Kind::Protocol, Scope::Run, what)
}
