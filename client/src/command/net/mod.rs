//! `airpods net`: what is done to the host's packets, through the helper.

mod change;
mod check;
pub(super) mod describe;
mod status;

use airpods_dbus::{LinkName, PathMtu};
use clap::Subcommand;

use super::Context;
use crate::error::Failure;
use crate::exit::Exit;
use crate::helper_link::Asking;

/// The arguments of `airpods net`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    area: Area,
}

#[derive(Debug, Subcommand)]
enum Area {
    /// Clamp the TCP segment size to what fits through a VPN link
    #[command(subcommand)]
    Clamp(Action),
    /// Measure what the path carries in both directions, name what is wrong and what cures it
    #[command(
        after_help = "Examples:\n  airpods net check\n  airpods net check ollama --json\n  airpods net check --url https://registry.example.org"
    )]
    Check(check::Args),
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Clamp a VPN link; without a name every one, now and whenever one appears
    #[command(after_help = "Examples:\n  airpods net clamp on\n  airpods net clamp on wg0 --mtu 1280 --persist")]
    On(OnArgs),
    /// Stop clamping a link; without a name stop clamping every VPN link
    #[command(after_help = "Example: airpods net clamp off wg0")]
    Off {
        /// The link; `airpods net clamp status` shows which are clamped
        #[arg(value_name = "LINK", value_parser = link)]
        link: Option<LinkName>,
        #[command(flatten)]
        how: How,
    },
    /// Drop every clamp, those kept across reboots too
    #[command(after_help = "Example: airpods net clamp reset")]
    Reset {
        #[command(flatten)]
        how: How,
    },
    /// Show what is clamped and how often it helped
    #[command(after_help = "Example: airpods net clamp status --json")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
struct OnArgs {
    /// The link, such as wg0; it need not exist yet
    #[arg(value_name = "LINK", value_parser = link)]
    link: Option<LinkName>,
    /// Clamp to a path MTU that was measured, instead of the route's: 576 to 9000 bytes
    #[arg(long, value_name = "BYTES", value_parser = path_mtu)]
    mtu: Option<PathMtu>,
    /// Keep the clamp across reboots
    #[arg(long)]
    persist: bool,
    /// Clamp the link even if it is no VPN
    #[arg(long, requires = "link")]
    any_link: bool,
    #[command(flatten)]
    how: How,
}

/// How a change is asked for and reported.
#[derive(Clone, Copy, Debug, clap::Args)]
struct How {
    /// Never ask for a password: fail if one is needed
    #[arg(long)]
    no_ask: bool,
    /// Print JSON: whether anything changed, and the status afterwards
    #[arg(long)]
    json: bool,
}

impl How {
    fn asking(self) -> Asking {
        if self.no_ask { Asking::Never } else { Asking::Allowed }
    }
}

fn link(text: &str) -> Result<LinkName, airpods_dbus::InvalidLinkName> {
    LinkName::parse(text)
}

fn path_mtu(text: &str) -> Result<PathMtu, String> {
    let bytes = text.parse::<u32>().map_err(|_| "a number of bytes is needed".to_owned())?;
    PathMtu::new(bytes).map_err(|_| format!("{bytes} is not within {} to {}", PathMtu::MIN, PathMtu::MAX))
}

/// Runs `airpods net`.
///
/// # Errors
/// [`crate::helper_link::HelperError`]
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let action = match args.area {
        Area::Clamp(action) => action,
        Area::Check(args) => return check::run(args, context).await,
    };
    match action {
        Action::On(args) => change::on(args).await,
        Action::Off { link, how } => change::off(link, how).await,
        Action::Reset { how } => change::reset(how).await,
        Action::Status { json } => status::run(json).await,
    }
}
