//! The configuration: the file as typed → the settings as meant.
//!
//! Every key is known or an error; every value is inside its range or an error; every error names the file, the
//! line, the key and what to write instead, and all of them are told at once. Relative paths are relative to the
//! file's directory. A secret never stands in the file: it is named (`{ env = … }`, `{ file = … }`,
//! `{ command = […] }`) and loaded when it is needed.

mod app;
mod build;
mod ews;
mod graph;
mod imap;
mod read;
mod reference;
mod settings;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod value;
mod waves;
mod zone;

pub(crate) use read::nearest;
pub use reference::{EXAMPLE_MAILBOXES, REFERENCE};
pub use settings::{
    AppProof, AttachOriginal, Compress, EwsLogin, EwsSettings, EwsVersion, FolderNames, GraphApp, GraphLogin,
    GraphSettings, ImapLogin, ImapServer, ImapSettings, ImapTargetSettings, Keywords, Labels, Layout,
    LimitSettings, LineEnds, MaildirSettings, MaildirTargetSettings, MboxSettings, Mechanism, Numbers, OAuth,
    Preset, Quoting, Received, RunSettings, Settings, SourceKind, Sync, TargetKind, Tls,
};
pub(crate) use waves::clock_minutes;
pub use waves::{BlackOut, WaveSettings, WavesSettings, Weekly};
pub use zone::Zone;

use std::path::Path;

use crate::model::{Error, Kind, Scope};

/// Largest configuration file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Settings, and what is doubtful about them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// One line each; nothing stops because of them.
    pub warnings: Vec<String>,
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines; never empty. `Kind::Config`, `Scope::Run`.
pub fn load(path: &Path) -> Result<Loaded, Vec<Error>> {
    let cannot = |why: String| {
        vec![
            Error::new(
                Kind::Config,
                Scope::Run,
                format!("the configuration {} cannot be read ({why})", path.display()),
            )
            .remedy("`mailwave init --dir DIR` writes a commented one"),
        ]
    };
    let size = std::fs::metadata(path).map_err(|e| cannot(e.to_string()))?.len();
    if size > LARGEST_FILE {
        return Err(cannot("it is larger than 1 MiB".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| cannot(e.to_string()))?;
    parse(path, &text)
}

/// Reads the text of a configuration that lies (or would lie) at `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Vec<Error>> {
    build::build(path, text)
}
