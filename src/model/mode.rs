//! By which way a copy was written.

use std::fmt;

/// How a copy was written. Ways keep different things of a message, so it is recorded of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum WriteMode {
    /// The only way its target has, or not recorded (before there was a choice).
    #[default]
    Usual,
    /// Graph: a message built anew from JSON.
    Json,
    /// Graph: `importMime`, the MIME as it is.
    ImportMime,
    /// Graph and EWS: an item as the opaque stream it was exported as.
    ImportStream,
}

impl WriteMode {
    /// Every way.
    pub const ALL: [WriteMode; 4] =
        [WriteMode::Usual, WriteMode::Json, WriteMode::ImportMime, WriteMode::ImportStream];

    /// The word for it in the configuration and the reports.
    pub const fn word(self) -> &'static str {
        match self {
            WriteMode::Usual => "usual",
            WriteMode::Json => "json",
            WriteMode::ImportMime => "import-mime",
            WriteMode::ImportStream => "import-stream",
        }
    }

    /// The number for it in the facts; it must never change.
    pub const fn code(self) -> u64 {
        match self {
            WriteMode::Usual => 0,
            WriteMode::Json => 1,
            WriteMode::ImportMime => 2,
            WriteMode::ImportStream => 3,
        }
    }

    /// From its number.
    pub fn from_code(code: u64) -> Option<WriteMode> {
        WriteMode::ALL.into_iter().find(|mode| mode.code() == code)
    }
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
