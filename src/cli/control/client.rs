//! The one who speaks to a running process: `mailwave pause`, `resume`, `drain`, and `status`.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::super::args::ControlArgs;
use super::super::exit::Exit;
use super::super::talk::Talk;
use super::super::{Failure, settings_and_plan};
use super::{Answer, LONGEST_ANSWER, LONGEST_REQUEST, Request, VERSION, place, protocol};
use crate::env::Env;
use crate::model::{Error, Kind, Result, Scope};

/// A process that has not answered by then does not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the process that uses this ledger. `None`: there is none (a socket that nobody listens at was left behind).
///
/// # Errors
/// What it answered, or that it did not.
pub(in crate::cli) async fn ask(
    env: &Env,
    ledger: &Path,
    verb: &str,
    fields: serde_json::Map<String, serde_json::Value>,
) -> Result<Option<serde_json::Value>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let cannot = |e: std::io::Error| {
        Error::new(Kind::Unreachable, Scope::Run, format!("the running process cannot be spoken to ({e})"))
            .remedy("be the user it runs as; signals stop it as ever")
    };
    let stream = match place(ledger) {
        Ok((_dir, address)) => UnixStream::connect(address).await,
        Err(e) => Err(e),
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ConnectionRefused | NotFound) => return Ok(None),
        Err(e) => return Err(cannot(e)),
    };
    let request = Request { v: VERSION, verb: verb.to_owned(), fields };
    let mut line = serde_json::to_vec(&request).map_err(|_| protocol("the request cannot be written"))?;
    line.push(b'\n');
    if line.len() as u64 > LONGEST_REQUEST {
        return Err(protocol("the request is longer than 4096 bytes").remedy("name less at once"));
    }
    let (from, mut to) = stream.into_split();
    let spoken = env.within(PATIENCE, async {
        to.write_all(&line).await?;
        let mut answer = Vec::new();
        BufReader::new(from).take(LONGEST_ANSWER).read_until(b'\n', &mut answer).await?;
        Ok(answer)
    });
    let answer = spoken.await.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into())).map_err(cannot)?;
    if answer.is_empty() {
        return Err(protocol("the running process hung up without an answer")
            .remedy("it may be ending; look at its result"));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| protocol("the running process answered what cannot be read"))?;
    match (answer.ok, answer.error) {
        (Some(ok), None) => Ok(Some(ok)),
        (_, Some(refusal)) => Err(Error::new(Kind::Refused, Scope::Run, refusal.what).remedy(refusal.remedy)),
        (None, None) => Err(protocol("the running process answered neither ok nor error")),
    }
}

/// `mailwave pause`, `resume` and `drain`.
pub(in crate::cli) async fn change(
    verb: &str,
    args: &ControlArgs,
    env: &Env,
    talk: &Talk,
) -> std::result::Result<Exit, Failure> {
    let (settings, plan) = settings_and_plan(&args.config, talk)?;
    let mut fields = serde_json::Map::new();
    let mut whom = "the run".to_owned();
    if let Some(wave) = &args.wave {
        fields.insert("wave".to_owned(), wave.as_str().into());
        whom = "the wave".to_owned();
    }
    if let Some(mailbox) = &args.mailbox {
        let plan = plan.select(std::slice::from_ref(mailbox), None)?;
        let key = plan.rows.first().map(|row| row.mailbox.key.to_string()).unwrap_or_default();
        whom = format!("mailbox {key}");
        fields.insert("mailbox".to_owned(), key.into());
    }
    let Some(state) = ask(env, &settings.ledger, verb, fields).await? else {
        return Err(Error::new(Kind::NotFound, Scope::Run, "no run of this configuration is going on")
            .remedy(format!("mailwave run {} begins one", args.config.display()))
            .into());
    };
    let does = match verb {
        "pause" => "pauses: what is under way is recorded, nothing new is begun; `mailwave resume` goes on",
        "resume" => "goes on",
        _ => "drains: what is under way is finished and recorded",
    };
    talk.say(&format!("{whom} {does} (process {})", state["pid"]));
    if args.json {
        talk.data(&state.to_string());
    }
    Ok(Exit::Done)
}
