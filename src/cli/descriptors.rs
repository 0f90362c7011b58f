//! The limit of open files: raised to what the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files this process may have open if it raises its limit. `None`: no limit.
pub(super) fn most() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Raises the limit as far as the system lets it; distributions start processes with 1,024, which 300 open mailboxes
/// use up. What cannot be raised stays as it is: [`most`] is compared with what a run needs by `check`.
pub(super) fn raise() {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    if now.current != now.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
    }
}
