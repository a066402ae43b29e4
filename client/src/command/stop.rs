//! `airpods stop`: stops services, and with `--remove` removes their containers.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::pin::{Pin, pin};

use serde_json::json;

use super::teardown::{self, Unfinished, is_confirmed};
use super::{Context, completions};
use crate::config::{Config, PodmanUrl};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::plan::{self, Observed, Present, Stop, Teardown};
use crate::podman::{self, Connection};
use crate::terminal::{Consent, EscapedLine, ask, print_json};

/// The arguments of `airpods stop`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods stop comfyui --remove --yes")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The services to stop, even if removed from the configuration; all configured ones if none is
    /// named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Also remove the containers, their pods and the network; named volumes stay
    #[arg(short, long)]
    remove: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Seconds until a container that does not stop is killed (default: `cli.stop_timeout`)
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Print the plan, and change nothing
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
    let prepared = execute::interruptible(interrupt.as_mut(), prepare(&args, &loaded.config)).await??;
    let Some(prepared) = prepared else { return Ok(Exit::Done) };
    let timeout = args.timeout.unwrap_or(loaded.config.cli.stop_timeout.get());
    stop(&args, &prepared, timeout, interrupt).await
}

/// The state before the first step.
struct Prepared {
    connection: Connection,
    plan: Stop,
    /// Running services that are not in the configuration, a sentence each.
    left: Vec<String>,
}

/// Plans, and prints the plan or asks for confirmation. None if nothing is to be done.
async fn prepare(args: &Args, config: &Config) -> Result<Option<Prepared>, Failure> {
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let observed = Observed::of(&connection.podman, BTreeSet::new()).await?;
    let mut present = Present::of(config, &args.services, &observed.containers)?;
    let mut left = Vec::new();
    if args.services.is_empty() {
        // Without names, a service that is not in the configuration keeps running: it may belong to
        // another configuration with the same network.
        present = present.configured();
        left = plan::left_running(config, &observed, &[]);
    }
    let plan = plan::stop(&present, &observed, args.remove, config.runtime.network_name.as_str());
    for sentence in &left {
        writeln!(anstream::stderr(), "warning: {}", EscapedLine(sentence))?;
    }
    if args.dry_run {
        show(args, &plan, &left)?;
        return Ok(None);
    }
    let containers = plan.removed().filter_map(Teardown::container).map(|name| format!("`{name}`"));
    let containers = containers.collect::<Vec<_>>().join(", ");
    if !containers.is_empty() {
        let consent = Consent::from_switches(args.yes, config.cli.auto_confirm);
        if !is_confirmed(ask(&format!("Remove {containers}?"), consent).await?)? {
            return Ok(None);
        }
    }
    Ok(Some(Prepared { connection, plan, left }))
}

fn show(args: &Args, plan: &Stop, left: &[String]) -> io::Result<()> {
    if args.json {
        let steps = teardown::list(plan.stages.iter().flatten());
        print_json(&json!({ "steps": steps, "idle": plan.idle, "warnings": left }))
    } else {
        teardown::show(&plan.stages, &mut anstream::stdout())
    }
}

async fn stop(
    args: &Args,
    prepared: &Prepared,
    timeout: u32,
    interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<Exit, Failure> {
    let Prepared { connection, plan, left } = prepared;
    let ended = teardown::carry_out(&connection.podman, &plan.stages, timeout, interrupt).await;
    if args.json {
        let mut outcome = teardown::outcome(&ended);
        outcome["idle"] = json!(plan.idle);
        outcome["warnings"] = json!(left);
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
