//! `airpods start`: plans from the configuration and podman's state, executes the plan, and prints
//! the services' addresses.
//!
//! [`prepare()`] reads everything and plans. Nothing is changed before [`run`] executes the plan.
//! [`mod@print`] prints the outcome.

mod clamp;
mod measuring;
mod names;
mod prepare;
mod print;
mod pull;

use std::pin::pin;
use std::time::{Duration, Instant};

use super::{Context, completions};
use crate::config::{Cli, MssClamp};
use crate::error::{Exit, Failure};
use crate::execute::{self, Pace};
use crate::plan;
use crate::terminal::Consent;

use clamp::{Clamp, Offer};
use measuring::Measuring;
pub(super) use prepare::host_context;
use prepare::{Prepared, prepare};
use print::confirm;
pub(super) use print::{plan as show_plan, print_warnings};

/// The arguments of `airpods start`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods start ollama open-webui")]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// The services to start; every enabled one if none is named
    #[arg(value_name = "SERVICE", add = completions::services())]
    services: Vec<String>,
    /// Print the plan, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Use no GPU
    #[arg(long)]
    cpu: bool,
    /// Run steps one at a time
    #[arg(long)]
    sequential: bool,
    /// Only pull the missing images, and start nothing
    #[arg(long, conflicts_with_all = ["no_wait", "wait", "reset_network"])]
    pre_fetch: bool,
    /// Wait until the services answer (the default)
    #[arg(long)]
    wait: bool,
    /// Do not wait until the services answer
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Recreate the network, with every container on it
    #[arg(long)]
    reset_network: bool,
    /// Do not ask for confirmation, such as to replace running services or to clamp a VPN link
    #[arg(short, long)]
    yes: bool,
}

/// Runs `airpods start`.
///
/// # Errors
/// Those of the configuration, of reaching podman, a conflict with what podman holds, or a step
/// that failed.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config_to_launch()?;
    let mut interrupt = pin!(execute::interrupted());
    if args.pre_fetch {
        return pull::pre_fetch(&args, context, &loaded.config, interrupt).await;
    }
    let services = plan::chosen(&loaded.config, &args.services, false)?;
    let measuring = if args.dry_run {
        Measuring::remembered(context)
    } else {
        Measuring::begin(context, &loaded.config, &services, false)
    };
    let prepared = execute::interruptible(interrupt.as_mut(), prepare(&args, context, &loaded)).await??;
    let Prepared { connection, mut plan, launches, secrets, facts, dns_servers, conflict } = prepared;
    let cli = &loaded.config.cli;
    let consent = Consent::from_switches(args.yes, cli.auto_confirm);
    let policy = loaded.config.runtime.network.mss_clamp;
    let stale_clamp = execute::interruptible(interrupt.as_mut(), measuring.stale_clamp()).await?;
    clamp::print_stale_clamp(stale_clamp.as_ref())?;
    let verbose = context.is_verbose(cli);
    let clamp = Clamp { policy, facts: &facts, launches: &launches, consent, known: None, verbose };
    if args.dry_run {
        clamp.with_measurement(measuring.end(interrupt.as_mut()).await?).preview()?;
        execute::interruptible(interrupt.as_mut(), pull::read_sizes(&connection.podman, &mut plan)).await?;
        print::plan(&plan, args.json)?;
        return Ok(Exit::Done);
    }
    if !execute::interruptible(interrupt.as_mut(), confirm(&plan, consent, conflict)).await?? {
        return Ok(Exit::Done);
    }
    if !plan.is_empty() {
        print::earlier_data(&launches, &loaded, context)?;
    }
    // A pull through a black hole hangs, and `require` starts nothing without a clamp. Nothing else
    // waits for a measurement.
    let is_needed_first = !measuring.is_under_way() || policy == MssClamp::Require || plan.pull_size().images > 0;
    let offer = Offer::new(clamp, measuring, !plan.is_empty());
    if is_needed_first {
        offer.settle_first(interrupt.as_mut()).await?;
    }
    let podman = &connection.podman;
    let begin = Instant::now();
    let kept = context.kept_secrets(&loaded, plan.secret_sources(), &secrets);
    plan.give_secrets(&kept.or_else(|error| offer.settled().before(error))?);
    let sizes = execute::interruptible(interrupt.as_mut(), pull::read_sizes(podman, &mut plan)).await;
    sizes.or_else(|interrupted| offer.settled().before(interrupted.into()))?;
    print::size(&plan)?;
    let pace = pace(&args, cli);
    let outcome = execute::execute_with_progress(podman, &plan, &pace, verbose, &offer, interrupt.as_mut()).await;
    let mut outcome = outcome.or_else(|aborted| offer.settled().before(aborted.into()))?;
    let took = begin.elapsed();
    let again = || Measuring::begin(context, &loaded.config, &services, true);
    if let Err(error) = offer.settle_last(again, interrupt.as_mut()).await {
        // The services run whatever the error is, so print their addresses.
        print::outcome(&plan, &launches, &outcome, took, args.json)?;
        return Err(error);
    }
    let network = &loaded.config.runtime.network;
    let names = names::check(podman, &plan, &launches, &dns_servers, &network.dns_servers, &facts);
    let names = execute::interruptible(interrupt, names).await;
    outcome.warnings.extend(names.as_ref().ok().cloned().flatten());
    print::outcome(&plan, &launches, &outcome, took, args.json)?;
    // The services run: Ctrl-C here ends only the check of names.
    names?;
    Ok(if outcome.late.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The timeouts and limits, adjusted by the arguments.
fn pace(args: &Args, cli: &Cli) -> Pace {
    let mut pace = Pace { sequential: args.sequential, ..Pace::from_config(cli) };
    if args.no_wait {
        pace.startup = Duration::ZERO;
    }
    pace
}
