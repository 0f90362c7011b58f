//! Exit codes, decided here and nowhere else.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; `run` and `verify`: every mailbox is perfect or good |
//! | 1 | done, and someone has to look: a mailbox to investigate, or a copy that is not as recorded |
//! | 2 | failed: a mailbox failed or is poor, or the work could not be done |
//! | 64 | wrong usage or configuration: nothing was begun (`EX_USAGE`) |
//! | 75 | stopped when asked: run the same command to go on (`EX_TEMPFAIL`) |

use std::process::ExitCode;

use crate::model::{Error, Kind, Verdict};

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done,
    Investigate,
    Failed,
    Usage,
    Stopped,
}

impl Exit {
    pub(super) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Investigate => 1,
            Exit::Failed => 2,
            Exit::Usage => 64,
            Exit::Stopped => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// A run that came to its end has the code of its verdict. One that was stopped is unfinished whatever else it found:
/// the next run tells that again.
pub(super) fn of_run(verdict: Verdict, stopped: bool) -> Exit {
    match verdict {
        _ if stopped => Exit::Stopped,
        Verdict::Perfect | Verdict::Good => Exit::Done,
        Verdict::Investigate => Exit::Investigate,
        Verdict::Poor => Exit::Failed,
    }
}

/// A verb that could not do its work.
pub(super) fn of_errors(errors: &[Error]) -> Exit {
    if errors.iter().any(|e| e.kind == Kind::Stopped) {
        Exit::Stopped
    } else if errors.iter().all(|e| e.kind == Kind::Config) {
        Exit::Usage
    } else {
        Exit::Failed
    }
}

/// Wrong arguments, or help and version, which are no error.
pub(super) fn of_usage(e: &clap::Error) -> Exit {
    // A closed pipe is quiet.
    let _ = e.print();
    if e.use_stderr() { Exit::Usage } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;

    #[test]
    fn verdicts_and_errors_have_their_codes() {
        let codes = [Verdict::Perfect, Verdict::Good, Verdict::Investigate, Verdict::Poor]
            .map(|v| (of_run(v, false).code(), of_run(v, true).code()));
        assert_eq!(codes, [(0, 75), (0, 75), (1, 75), (2, 75)]);
        let e = |kind| Error::new(kind, Scope::Run, "x");
        assert_eq!(of_errors(&[e(Kind::Config)]).code(), 64);
        assert_eq!(of_errors(&[e(Kind::Config), e(Kind::Ledger)]).code(), 2);
        assert_eq!(of_errors(&[e(Kind::Stopped)]).code(), 75);
    }
}
