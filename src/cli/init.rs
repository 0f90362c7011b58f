//! `mailwave init`: a commented configuration and an example list.

use std::io::Write;
use std::path::Path;

use super::Failure;
use super::args::InitArgs;
use super::exit::Exit;
use super::talk::Talk;
use crate::config::{EXAMPLE_MAILBOXES, REFERENCE};
use crate::model::{Error, Kind, Result, Scope};

pub(super) fn run(args: &InitArgs, talk: &Talk) -> std::result::Result<Exit, Failure> {
    let (config, list) = (args.dir.join("mailwave.toml"), args.dir.join("mailboxes.csv"));
    std::fs::create_dir_all(&args.dir).map_err(|e| failed(&args.dir, &e))?;
    // Both are looked at before either is written: half an init would look like a whole one.
    for path in [&config, &list] {
        if path.symlink_metadata().is_ok() {
            let what = format!("{} is there already and is not overwritten", path.display());
            return Err(Error::new(Kind::Config, Scope::Run, what)
                .remedy("choose another directory with --dir, or move the file away")
                .into());
        }
    }
    write(&config, REFERENCE)?;
    write(&list, EXAMPLE_MAILBOXES)?;
    talk.data(&format!("{}\n{}\n", config.display(), list.display()));
    talk.say(&format!(
        "Edit both, put the secrets where mailwave.toml says, then: mailwave run {}",
        config.display()
    ));
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| failed(path, &e))
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error::new(Kind::Io, Scope::Run, format!("{} could not be written ({e})", path.display()))
        .remedy("choose a directory you may write to with --dir")
}
