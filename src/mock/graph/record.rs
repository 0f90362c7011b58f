//! What was asked and answered, as JSON lines: for whoever wants to hold both against a schema.
//!
//! A line has `method`, `path`, `query`, `type` and `body`, and an `answer` with `status`, `type` and `body`; no answer at
//! all where the connection failed. No header but the content types is told, no token and no secret: requests for tokens
//! are told without bodies, tokens in queries and links are left out. Long strings are cut, their lengths are told
//! under `cut` by JSON pointer; a body that is no JSON is told by its length. The rest is told as it is, subjects among it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::mock::Wire;

/// Strings longer than this are cut, but for the addresses (`url`) of a batch's parts.
const LONG: usize = 256;
/// What is left of them: of base64 a whole number of groups, so that it stays base64.
const KEPT: usize = 24;
/// Query options that are secrets, or mean nothing without the server's memory.
const SECRET: [&str; 3] = ["authtoken", "$skiptoken", "$deltatoken"];

/// Writes the lines.
#[derive(Debug)]
pub(super) struct Recorder {
    file: Mutex<File>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked(Map<String, Value>);

impl Recorder {
    /// Begins a file; what was in it is gone. Only its owner may read it.
    pub(super) fn new(path: &Path) -> std::io::Result<Recorder> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Recorder { file: Mutex::new(options.open(path)?) })
    }

    /// Writes a line. One that cannot be written is missing: the mock answers all the same.
    pub(super) fn write(&self, asked: Asked, wire: &Wire) {
        let Asked(mut line) = asked;
        if let Wire::Answered(response) = wire {
            let mut answer = Map::new();
            answer.insert("status".into(), json!(response.status().as_u16()));
            let secret = line.get("token").is_some();
            tell(response.headers(), response.body(), secret, &mut answer);
            line.insert("answer".into(), Value::Object(answer));
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
    }
}

impl Asked {
    /// Notes what a request is, before it is taken.
    pub(super) fn read(request: &http::Request<Bytes>) -> Asked {
        let mut line = Map::new();
        line.insert("method".into(), json!(request.method().as_str()));
        line.insert("path".into(), json!(request.uri().path()));
        let query: Vec<&str> =
            request.uri().query().unwrap_or("").split('&').filter(|p| !p.is_empty()).collect();
        let open: Vec<&str> = query.into_iter().filter(|p| !is_secret(p)).collect();
        line.insert("query".into(), json!(open.join("&")));
        let secret = request.uri().path().ends_with("/token");
        if secret {
            line.insert("token".into(), json!(true));
        }
        tell(request.headers(), request.body(), secret, &mut line);
        Asked(line)
    }
}

fn is_secret(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or("").replace("%24", "$");
    SECRET.iter().any(|s| name.eq_ignore_ascii_case(s))
}

/// A body, its type, and what was cut out of it.
fn tell(headers: &http::HeaderMap, body: &Bytes, secret: bool, out: &mut Map<String, Value>) {
    let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).map(str::to_owned);
    out.insert("octets".into(), json!(body.len()));
    if let Some(kind) = kind {
        out.insert("type".into(), json!(kind));
    }
    if secret || body.is_empty() {
        return;
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
        let mut cut = Map::new();
        shorten(&mut value, &mut String::new(), &mut cut);
        out.insert("body".into(), value);
        if !cut.is_empty() {
            out.insert("cut".into(), Value::Object(cut));
        }
    }
}

fn shorten(value: &mut Value, at: &mut String, cut: &mut Map<String, Value>) {
    let before = at.len();
    match value {
        Value::String(text) => {
            // Links hold tokens.
            if let Some(begin) = SECRET.iter().find_map(|s| text.find(&format!("{s}="))) {
                text.truncate(begin);
            } else if text.len() > LONG && !at.ends_with("/url") {
                cut.insert(at.clone(), json!(text.len()));
                let end = text.char_indices().map(|(i, _)| i).take_while(|i| *i <= KEPT).last().unwrap_or(0);
                text.truncate(end);
            }
        }
        Value::Array(list) => {
            for (n, one) in list.iter_mut().enumerate() {
                at.push_str(&format!("/{n}"));
                shorten(one, at, cut);
                at.truncate(before);
            }
        }
        Value::Object(members) => {
            for (name, one) in members.iter_mut() {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                shorten(one, at, cut);
                at.truncate(before);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_long_strings_are_cut_with_their_lengths() {
        let body = json!({
            "a/b": [{"contentBytes": "QUJD".repeat(1000)}],
            "uploadUrl": "https://h/x?authtoken=SECRET",
            "ümlaut": "ü".repeat(400),
        });
        let request = http::Request::post("http://h/v1.0/x?$top=5&%24skiptoken=SECRET&authtoken=SECRET")
            .header("authorization", "Bearer SECRET")
            .header("content-type", "application/json")
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let Asked(line) = Asked::read(&request);
        let line = Value::Object(line);
        assert!(!line.to_string().contains("SECRET"), "{line}");
        assert_eq!(line["query"], "$top=5");
        assert_eq!(line["body"]["a/b"][0]["contentBytes"], "QUJD".repeat(6));
        assert_eq!(line["cut"]["/a~1b/0/contentBytes"], 4000);
        assert_eq!(line["cut"]["/ümlaut"], 800);
        let request = http::Request::post("http://h/t/oauth2/v2.0/token")
            .body(Bytes::from_static(b"client_secret=SECRET"))
            .unwrap();
        let Asked(line) = Asked::read(&request);
        assert!(!Value::Object(line).to_string().contains("SECRET"));
    }
}
