//! `airpods net`: what is done to the host's packets, through the helper.

use crate::error::Failure;
use crate::exit::Exit;

/// The arguments of `airpods net`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods net clamp on")]
pub struct Args {}

/// Runs `airpods net`.
///
/// # Errors
/// The helper's.
pub async fn run(_args: Args) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
