//! The client of airpods: launches services in podman containers, and asks the helper for the
//! firewall change that makes them work behind a VPN.
//!
//! It runs as the user and never needs more. [`cli`] reads the command line, [`config`] the
//! configuration; each command is one file in [`command`]. Every failure is an error that
//! implements [`error::Report`], shown in one place ([`run`]) and turned into one of the documented
//! exit codes ([`Exit`]).

#![forbid(unsafe_code)]

pub mod cli;
pub mod command;
pub mod config;
pub mod cure;
pub mod dns;
pub mod doctor;
pub mod egress;
pub mod error;
pub mod execute;
pub mod export;
pub mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gpu;
pub mod health;
pub mod helper_link;
mod home;
pub mod import;
mod inside;
pub mod kernel;
pub mod measure;
pub mod plan;
pub mod podman;
pub mod port;
pub mod secret;
pub mod terminal;
pub mod webui_secret;

pub use error::Exit;

use std::io::{self, Write};

use clap::{CommandFactory, Parser};

/// Runs the command line of this process.
#[must_use]
pub fn run() -> Exit {
    match command::completions::answer(cli::Cli::command) {
        Ok(false) => {}
        Ok(true) => return Exit::Done,
        // A shell asks for completions while the user types, and a message would garble the line.
        Err(_) => return Exit::Failed,
    }
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_usage(&error),
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| error::Failure::from(NoRuntime(cause)))
        .and_then(|runtime| {
            let outcome = runtime.block_on(cli.run());
            // A thread that waits for a name server must not keep an interrupted command from
            // ending.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            // If stderr is closed, the exit code still reports the failure.
            let _ = failure.write(&mut anstream::stderr());
            failure.exit()
        }
    }
}

/// Prints help or the version, or what is wrong with the command line.
fn print_usage(error: &clap::Error) -> Exit {
    // A failed write does not change the exit code.
    if error.use_stderr() {
        // clap repeats words of the command line, which may hold control characters.
        let _ = write!(anstream::stderr(), "{}", terminal::Escaped(&error.render().to_string()));
        Exit::Usage
    } else {
        let _ = error.print();
        Exit::Done
    }
}

/// The event loop could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the event loop could not be started")]
struct NoRuntime(#[source] io::Error);

impl error::Report for NoRuntime {}
