//! `airpods net`: commands about the host's packets. The helper makes the changes.
//!
//! Every change is followed by a report of the new state. `on` and `auto` also prove that their
//! change helps.

mod auto;
pub(super) mod check;
pub(super) mod describe;
mod on;

use std::io::{self, Write};

use airpods_dbus::{LinkName, PathMtu, Status, Target};
use clap::Subcommand;

use super::Context;
use crate::error::{Exit, Failure};
use crate::helper_link::{Asking, Change, HelperError, HelperLink};
use crate::measure;
use crate::terminal::{Escaped, print_json};

pub(super) use check::lock;

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
    /// Measure the packet sizes that the path carries in both directions, and name the fault and
    /// the cure
    #[command(
        after_help = "Examples:\n  airpods net check\n  airpods net check ollama --json\n  airpods net check --url https://registry.example.org"
    )]
    Check(check::Args),
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Clamp a VPN link, or without a name every one, now and whenever one appears
    ///
    /// Plain transfers with the services' registries, before and after, prove that the clamp helps.
    /// If they still hang, the former state is restored. `--mtu auto` measures the path first, as
    /// `net check` does.
    #[command(
        after_help = "Examples:\n  airpods net clamp on\n  airpods net clamp on wg0 --mtu auto\n  airpods net clamp on wg0 --mtu 1280 --persist --no-proof"
    )]
    On(OnArgs),
    /// Stop clamping a link, or without a name stop clamping VPN links automatically
    #[command(after_help = "Example: airpods net clamp off wg0")]
    Off {
        /// The link; `airpods net clamp status` lists the clamped ones
        #[arg(value_name = "LINK", value_parser = link)]
        link: Option<LinkName>,
        #[command(flatten)]
        how: How,
    },
    /// Drop every clamp, including those kept across reboots
    #[command(after_help = "Example: airpods net clamp reset")]
    Reset {
        #[command(flatten)]
        how: How,
    },
    /// Show the clamps, and count the handshake packets through them
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
    /// Clamp to this path MTU instead of the route's: 576 to 9000 bytes, or `auto` to measure it
    /// now
    #[arg(long, value_name = "BYTES|auto", value_parser = mtu)]
    mtu: Option<Mtu>,
    /// Keep the clamp across reboots
    #[arg(long)]
    persist: bool,
    /// Clamp the link even if it is not a VPN link
    #[arg(long, requires = "link")]
    any_link: bool,
    /// Measure and prove with this server instead of the registries that the services' images come
    /// from
    #[arg(long, value_name = "URL", value_parser = check::url, conflicts_with = "no_proof")]
    url: Option<measure::Target>,
    /// Make no transfers to prove that the clamp helps
    #[arg(long)]
    no_proof: bool,
    #[command(flatten)]
    how: How,
}

impl OnArgs {
    fn target(&self) -> Target {
        self.link.clone().map_or(Target::Auto, Target::Link)
    }
}

/// The value of `--mtu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mtu {
    /// It is measured.
    Auto,
    /// This value.
    Bytes(PathMtu),
}

/// How a change is asked for and reported.
#[derive(Clone, Copy, Debug, clap::Args)]
struct How {
    /// Never ask for a password: fail if one is needed
    #[arg(long)]
    no_ask: bool,
    /// Print JSON: `changed`, and the status afterwards
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

fn mtu(text: &str) -> Result<Mtu, String> {
    if text == "auto" {
        return Ok(Mtu::Auto);
    }
    let bytes = text.parse::<u32>().map_err(|_| "a number of bytes is needed, or `auto`".to_owned())?;
    let mtu = PathMtu::new(bytes).map_err(|_| format!("{bytes} is not within {} to {}", PathMtu::MIN, PathMtu::MAX));
    mtu.map(Mtu::Bytes)
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
        Action::On(args) => on::on(args, context).await,
        Action::Off { link, how } => off(link, how).await,
        Action::Reset { how } => reset(how).await,
        Action::Status { json } => show_status(json).await,
    }
}

async fn off(link: Option<LinkName>, how: How) -> Result<Exit, Failure> {
    let target = link.map_or(Target::Auto, Target::Link);
    make(&HelperLink::connect().await?, Change::Off(target), how).await
}

async fn reset(how: How) -> Result<Exit, Failure> {
    make(&HelperLink::connect().await?, Change::Reset, how).await
}

/// Makes a change and reports the new state.
async fn make(helper: &HelperLink, change: Change, how: How) -> Result<Exit, Failure> {
    let changed = helper.change(&change, how.asking()).await?;
    let status = helper.status().await;
    print_outcome(&change, changed, &status)?;
    let exit = exit(&change, &status);
    if how.json {
        let status = status.ok().as_ref().map(describe::json);
        print_json(&serde_json::json!({ "changed": changed, "status": status }))?;
    }
    Ok(exit)
}

/// The exit code of a change that the helper made.
fn exit(change: &Change, status: &Result<Status, HelperError>) -> Exit {
    let is_short = status.as_ref().is_ok_and(|status| describe::is_short_of(change, status));
    if is_short { Exit::Failed } else { Exit::Done }
}

/// Makes a change that `back` undoes if it does not help. polkit keeps an authorisation only for
/// the same action. Removing a clamp is another action, for which polkit may prompt again; a note
/// says so before the first prompt.
async fn make_on_trial(helper: &HelperLink, change: &Change, back: &Change, asking: Asking) -> Result<bool, Failure> {
    match helper.change(change, Asking::Never).await {
        Err(error) if asking == Asking::Allowed && error.needs_password() => {
            if matches!(back, Change::Off(_)) {
                print_lines(&[
                    "note: if the clamp does not help it is taken off again, which may need the password a second time"
                        .to_owned(),
                ])?;
            }
            Ok(helper.change(change, asking).await?)
        }
        answer => Ok(answer?),
    }
}

/// Reports the new state. If the status cannot be read, the change was made anyway, so the
/// command does not fail.
fn print_outcome(change: &Change, changed: bool, status: &Result<Status, HelperError>) -> io::Result<()> {
    print_lines(&match status {
        Ok(status) => describe::outcome(change, changed, status),
        Err(error) => vec![format!("{}; the status afterwards cannot be read: {error}", describe::bare(changed))],
    })
}

/// Prints lines to stderr.
fn print_lines(lines: &[String]) -> io::Result<()> {
    let mut err = anstream::stderr();
    lines.iter().try_for_each(|line| writeln!(err, "{}", Escaped(line)))
}

async fn show_status(json: bool) -> Result<Exit, Failure> {
    let status = HelperLink::connect().await?.status().await?;
    let mut out = anstream::stdout();
    if json {
        print_json(&describe::json(&status))?;
        return Ok(Exit::Done);
    }
    for line in describe::status(&status) {
        writeln!(out, "{}", Escaped(&line))?;
    }
    Ok(Exit::Done)
}
