//! The process that is spoken to.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::lend::{self, Sources};
use super::{Answer, LONGEST_REQUEST, NAME, Request, VERSION, place, protocol};
use crate::engine::{Bell, RunState, Which, Wish};
use crate::env::{Env, Task};
use crate::guard::Shown;
use crate::limit::Limits;
use crate::model::{Error, Kind, MailboxKey, Result, Scope};

/// Connections at once; more are closed as they come.
const MOST: usize = 16;
/// Who says nothing for that long is hung up on.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is served: the run, and how far it is.
pub(in crate::cli) trait Served: Send + Sync + 'static {
    /// All that the run says of itself in this state.
    fn tell(&self, state: &RunState) -> serde_json::Value;

    /// Its limits, to lend of.
    fn limits(&self) -> &Arc<Limits>;

    /// Its sources, to lend places of.
    fn sources(&self) -> &Sources;
}

/// The socket, served until this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Socket {
    path: PathBuf,
    task: Task<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves the run of the ledger in this directory. Whoever calls this holds the ledger's lock: a socket that is there
/// already was left by a process that is gone.
///
/// # Errors
/// `Kind::Io`: the socket cannot be made.
pub(in crate::cli) fn serve(env: &Env, ledger: &Path, bell: Bell, served: Arc<dyn Served>) -> Result<Socket> {
    let path = ledger.join(NAME);
    let cannot = |e: std::io::Error| {
        Error::new(
            Kind::Io,
            Scope::Run,
            format!("the control socket {} cannot be made ({e})", path.display()),
        )
        .remedy("the run goes on without it; signals stop it as ever")
    };
    match path.symlink_metadata() {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(&path).map_err(cannot)?,
        Ok(_) => return Err(cannot(std::io::Error::other("something else has its name"))),
        Err(_) => {}
    }
    let (dir, address) = place(ledger).map_err(cannot)?;
    let listener = UnixListener::bind(address).map_err(cannot)?;
    drop(dir);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    let desk = Arc::new(FrontDesk { env: env.clone(), bell, served });
    let task = env.spawn(listen(listener, desk));
    Ok(Socket { path, task })
}

struct FrontDesk {
    env: Env,
    bell: Bell,
    served: Arc<dyn Served>,
}

async fn listen(listener: UnixListener, desk: Arc<FrontDesk>) {
    let places = Arc::new(Semaphore::new(MOST));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: the run itself needs them more.
            desk.env.sleep(Duration::from_millis(200)).await;
            continue;
        };
        let ours = stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0);
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        if !ours {
            tracing::warn!("somebody of another user spoke to the control socket and was not heard");
            continue;
        }
        let desk = desk.clone();
        desk.env.clone().spawn(async move {
            converse(&desk, stream).await;
            drop(place);
        });
    }
}

/// Answers one request after the other, until the other side goes, is silent for too long or says what cannot be read.
async fn converse(desk: &FrontDesk, stream: UnixStream) {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than allowed is enough to know.
        let mut limited = (&mut from).take(LONGEST_REQUEST + 1);
        match desk.env.within(PATIENCE, limited.read_until(b'\n', &mut line)).await {
            Some(Ok(n)) if n > 0 => {}
            _ => return,
        }
        if wants_to_borrow(&line) {
            let ready = Answer::of(Ok(serde_json::json!({ "pid": std::process::id(), "places": true })));
            let Ok(mut text) = serde_json::to_vec(&ready) else { return };
            text.push(b'\n');
            if let Some(Ok(())) = desk.env.within(PATIENCE, to.write_all(&text)).await {
                lend::lend(&desk.env, desk.served.limits(), desk.served.sources(), from, to).await;
            }
            return;
        }
        let whole = line.ends_with(b"\n") && line.len() as u64 <= LONGEST_REQUEST;
        let answer = if whole {
            desk.answer(&line).await
        } else {
            Err(protocol("the request is longer than 4096 bytes, or has no line end"))
        };
        let Ok(mut text) = serde_json::to_vec(&Answer::of(answer)) else { return };
        text.push(b'\n');
        let sent = desk.env.within(PATIENCE, to.write_all(&text)).await;
        if !whole || !matches!(sent, Some(Ok(()))) {
            return;
        }
    }
}

/// The one verb after which another protocol is spoken.
fn wants_to_borrow(line: &[u8]) -> bool {
    serde_json::from_slice(line)
        .is_ok_and(|r: Request| r.v == VERSION && r.verb == "lend" && r.fields.is_empty())
}

impl FrontDesk {
    async fn answer(&self, line: &[u8]) -> Result<serde_json::Value> {
        let request: Request = serde_json::from_slice(line)
            .map_err(|_| protocol("the request is no JSON object with v and verb"))?;
        if request.v != VERSION {
            let what =
                format!("the request is of version {}, this process speaks version {VERSION}", request.v);
            return Err(protocol(&what).remedy("use the mailwave that is running"));
        }
        let Request { verb, mut fields, .. } = request;
        let wish = match verb.as_str() {
            "status" => Wish::Tell,
            "pause" => Wish::Pause(which(&mut fields)?),
            "resume" => Wish::Resume(which(&mut fields)?),
            "drain" => Wish::Drain(which(&mut fields)?),
            other => {
                let what = format!("the verb \"{}\" is not known here", Shown(other));
                return Err(protocol(&what).remedy("the verbs are status, pause, resume, drain and lend"));
            }
        };
        if let Some(field) = fields.keys().next() {
            return Err(protocol(&format!("the field \"{}\" is not known here", Shown(field))));
        }
        let state = self.bell.ring(wish).await?;
        Ok(self.served.tell(&state))
    }
}

/// Of what a wish is: all, a wave or a mailbox.
fn which(fields: &mut serde_json::Map<String, serde_json::Value>) -> Result<Which> {
    let mut text = |field: &str| match fields.remove(field) {
        None => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(protocol(&format!("the field {field} is no text"))),
    };
    match (text("wave")?, text("mailbox")?) {
        (None, None) => Ok(Which::All),
        (Some(wave), None) => Ok(Which::Wave(wave)),
        (None, Some(mailbox)) => MailboxKey::parse(&mailbox)
            .map(Which::Mailbox)
            .ok_or_else(|| protocol("the field mailbox is no pseudonym")),
        (Some(_), Some(_)) => Err(protocol("a wish is about a wave or a mailbox, not both")),
    }
}
