//! The binary: parse, run, exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Bodies of all sizes come and go on every thread: the C library's allocator keeps much of what is given back, by thread, and
/// takes more CPU for it. Large ones go back to the system at once.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mailwave::cli::main(std::env::args_os())
}
