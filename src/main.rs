//! The binary: parse, run, exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Bodies of all sizes come and go on every thread: the C library's allocator took a fifth of the CPU of a copy.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mailwave::cli::main(std::env::args_os())
}
