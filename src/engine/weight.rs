//! What an open mailbox weighs that waits: thousands of them do.

use super::{copy, pass};

/// Bytes of the future a function gives.
macro_rules! weight {
    ($name:path; $($argument:ident),*) => {{
        fn of<$($argument,)* F: Future>(_: impl FnOnce($($argument),*) -> F) -> usize {
            size_of::<F>()
        }
        of($name)
    }};
}

#[test]
fn the_future_of_a_pass_is_small_whatever_its_stages_need() {
    let pass = weight!(pass::run; A, B, C, D, E);
    assert!(pass <= 4 << 10, "{pass} bytes");
}

#[test]
fn what_waits_for_memory_or_a_session_is_small() {
    let copied = copy::weight();
    assert!(copied.iter().sum::<usize>() <= 8 << 10, "{copied:?}");
}
