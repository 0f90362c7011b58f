//! `mailwave mock`: the mock servers, on a loopback address.

use super::args::{MockArgs, MockServer};
use super::exit::Exit;
use super::talk::Talk;
use super::{Failure, mocks, stop};
use crate::engine::Stop;
use crate::env::Env;
use crate::model::{Error, Kind, Scope};

pub(super) async fn run(args: &MockArgs, env: &Env, talk: &Talk) -> Result<Exit, Failure> {
    let listen = match &args.server {
        MockServer::Graph(graph) => graph.listen,
        MockServer::Ews(ews) => ews.listen,
        MockServer::Imap(imap) => imap.listen,
    };
    if !listen.ip().is_loopback() {
        let what = "a mock listens on a loopback address only";
        return Err(Error::new(Kind::Config, Scope::Run, what).remedy("use --listen 127.0.0.1:PORT").into());
    }
    let stop = Stop::default();
    stop::listen(env, &stop, talk)?;
    mocks::serve(&args.server, env, talk, &stop).await?;
    Ok(Exit::Done)
}
