//! The hidden commands of the process that enters a container's network, see [`crate::inside`].

use std::io;

use serde::Serialize;

use crate::dns::ask::enter_and_ask;
use crate::error::{Failure, Report};
use crate::exit::Exit;
use crate::kernel::sysctl::enter_and_read;
use crate::measure::places::enter_and_measure;
use crate::terminal::print_json;

/// The arguments of `airpods ask-inside`, `airpods measure-inside` and `airpods sysctl-inside`.
#[derive(Debug, clap::Args)]
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
pub fn ask(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_ask)
}

/// Runs `airpods measure-inside`.
///
/// # Errors
/// The kernel's, where the network may not be entered.
pub fn measure(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_measure)
}

/// Runs `airpods sysctl-inside`.
///
/// # Errors
/// The kernel's, where the namespaces may not be entered.
pub fn sysctl(args: &Args) -> Result<Exit, Failure> {
    answer(args.pid, enter_and_read)
}

fn answer<T: Serialize>(pid: u32, work: impl FnOnce(u32) -> io::Result<T>) -> Result<Exit, Failure> {
    print_json(&work(pid).map_err(|cause| Closed { pid, cause })?)?;
    Ok(Exit::Done)
}
