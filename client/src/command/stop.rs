//! `airpods stop`: ends services, and removes them when asked to.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::{Pin, pin};

use serde_json::json;

use super::ending::{self, Unfinished, goes_on};
use super::{Context, completions};
use crate::config::{Config, PodmanUrl};
use crate::error::Failure;
use crate::execute;
use crate::exit::Exit;
use crate::plan::{self, Ending, Observed, Present, Stop};
use crate::podman::{self, Connection};
use crate::question::{Consent, ask};
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods stop comfyui --remove --yes")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The services to stop, also what is left of one that was taken out of the configuration; all if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Remove the containers and their pods as well; named volumes stay
    #[arg(short, long)]
    remove: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// How long a container has to stop by itself, in seconds (default: `cli.stop_timeout`)
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `airpods stop`.
///
/// # Errors
/// Those of the configuration, of reaching podman, and of what podman refuses or Ctrl-C leaves.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config()?;
    let mut interrupt = pin!(execute::interrupted());
    let prepared = execute::unless(interrupt.as_mut(), prepare(&args, &loaded.config)).await??;
    let Some((connection, plan)) = prepared else { return Ok(Exit::Done) };
    let timeout = args.timeout.unwrap_or(loaded.config.cli.stop_timeout.get());
    stop(&args, &connection, &plan, timeout, interrupt).await
}

/// Plans, and shows the plan or asks where that is wanted. None if nothing is to be done then.
async fn prepare(args: &Args, config: &Config) -> Result<Option<(Connection, Stop)>, Failure> {
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let observed = Observed::of(&connection.podman, BTreeSet::new()).await?;
    let present = Present::of(config, &args.services, &observed.containers)?;
    let plan = plan::stop(&present, &observed, args.remove, config.runtime.network_name.as_str());
    note(&plan, &mut anstream::stderr())?;
    if args.dry_run {
        show(args, &plan)?;
        return Ok(None);
    }
    let containers = plan.removed().filter_map(Ending::container).map(|name| format!("`{name}`"));
    let containers = containers.collect::<Vec<_>>().join(", ");
    if !containers.is_empty() {
        let consent = Consent::from_switches(args.yes, config.cli.auto_confirm);
        if !goes_on(ask(&format!("Remove {containers}?"), consent).await?)? {
            return Ok(None);
        }
    }
    Ok(Some((connection, plan)))
}

/// Says of each service that is not in the configuration that it is not: whoever named none may not have thought of it.
fn note(plan: &Stop, to: &mut dyn Write) -> io::Result<()> {
    plan.leftover.iter().try_for_each(|service| {
        let whence = "it was started from an earlier one, or from another one with the same network";
        writeln!(to, "note: `{}` is not in the configuration: {whence}", EscapedLine(service))
    })
}

fn show(args: &Args, plan: &Stop) -> io::Result<()> {
    if args.json {
        let steps = ending::list(plan.stages.iter().flatten());
        print_json(&json!({ "steps": steps, "idle": plan.idle, "not_configured": plan.leftover }))
    } else {
        ending::show(&plan.stages, &mut anstream::stdout())
    }
}

async fn stop(
    args: &Args,
    connection: &Connection,
    plan: &Stop,
    timeout: u32,
    interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<Exit, Failure> {
    let ended = ending::carry_out(&connection.podman, &plan.stages, timeout, interrupt).await;
    if args.json {
        let mut outcome = ending::outcome(&ended);
        outcome["idle"] = json!(plan.idle);
        outcome["not_configured"] = json!(plan.leftover);
        print_json(&outcome)?;
    }
    let mut err = anstream::stderr();
    for service in plan.idle.iter().filter(|_| !args.services.is_empty()) {
        writeln!(err, "`{}` was not running", EscapedLine(service))?;
    }
    if plan.stages.is_empty() && args.services.is_empty() {
        writeln!(err, "no service was running")?;
    }
    Unfinished::check(ended)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_service_that_is_not_in_the_configuration_is_named_before_it_is_ended() {
        let leftover = ["web", "a\u{1b}[2J"].map(ToOwned::to_owned).into();
        let mut told = Vec::new();
        note(&Stop { leftover, ..Stop::default() }, &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        assert!(told.starts_with("note: `web` is not in the configuration"), "{told}");
        assert!(told.contains("note: `a\\u{1b}[2J` is not"), "{told}");
    }
}
