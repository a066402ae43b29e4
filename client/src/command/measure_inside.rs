//! `airpods measure-inside`, hidden: the process of ours that enters a container's network, see [`crate::measure::inside`].

use std::io;

use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::measure::inside::enter_and_measure;
use crate::terminal::print_json;

/// The arguments of `airpods measure-inside`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods measure-inside 4711")]
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

/// Runs `airpods measure-inside`.
///
/// # Errors
/// The kernel's, where the network may not be entered.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    let measured = enter_and_measure(args.pid).map_err(|cause| Closed { pid: args.pid, cause })?;
    print_json(&measured)?;
    Ok(Exit::Done)
}
