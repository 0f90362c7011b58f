//! The binary: parse, run, exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mailwave::cli::main(std::env::args_os())
}
