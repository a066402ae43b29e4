//! `airpods ask-inside`, hidden: the process of ours that enters a container's network, see [`crate::dns::inside`].

use std::io;

use crate::dns::inside::enter_and_ask;
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::terminal::print_json;

/// The arguments of `airpods ask-inside`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods ask-inside 4711")]
pub struct Args {
    /// A process in the network
    #[arg(value_name = "PID")]
    pid: u32,
}

/// The network cannot be entered.
#[derive(Debug, thiserror::Error)]
#[error("the network of the process {pid} cannot be entered")]
struct Closed {
    pid: u32,
    #[source]
    cause: io::Error,
}

impl Report for Closed {}

/// Runs `airpods ask-inside`.
///
/// # Errors
/// The kernel's, where the network may not be entered.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let asked = enter_and_ask(args.pid).map_err(|cause| Closed { pid: args.pid, cause })?;
    print_json(&asked)?;
    Ok(Exit::Done)
}
