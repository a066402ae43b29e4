//! The helper daemon of airpods; see the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    airpods_helper::cli::main()
}
