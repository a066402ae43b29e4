//! `airpods start`: plans from the configuration and from what podman holds, executes, and says where the services
//! answer.
//!
//! [`prepare`] learns all there is to know and plans; nothing is changed until [`run`] executes the plan; [`tell`] says
//! what came of it.

mod clamp;
mod consent;
mod fetch;
mod measuring;
mod names;
mod prepare;
mod tell;

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use super::{Context, completions};
use crate::config::{Loaded, MssClamp};
use crate::error::{Exit, Failure};
use crate::execute::{self, Outcome, Pace};
use crate::plan::{self, Plan};
use crate::podman::Podman;
use crate::secret::SecretValues;
use crate::terminal::Consent;

use clamp::{Clamp, Settled};
use consent::agree;
use measuring::Measuring;
pub(super) use prepare::surroundings;
use prepare::{Prepared, prepare};
pub(super) use tell::{plan as show_plan, troubles as tell_troubles};

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
    /// One step after another, instead of side by side
    #[arg(long)]
    sequential: bool,
    /// Only pull the images that are missing, and start nothing
    #[arg(long, conflicts_with_all = ["no_wait", "wait", "reset_network"])]
    pre_fetch: bool,
    /// Wait until the services answer, which is the default
    #[arg(long)]
    wait: bool,
    /// Do not wait until the services answer
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Recreate the network, with every container on it
    #[arg(long)]
    reset_network: bool,
    /// Confirm every question: replacing running services, clamping a VPN link
    #[arg(short, long)]
    yes: bool,
}

/// Runs `airpods start`.
///
/// # Errors
/// Those of the configuration, of reaching podman, a conflict with what podman holds, or a step that failed.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.load_config_to_launch()?;
    let mut interrupt = pin!(execute::interrupted());
    if args.pre_fetch {
        return fetch::run(&args, context, &loaded.config, interrupt).await;
    }
    let services = plan::chosen(&loaded.config, &args.services, false)?;
    let measuring = if args.dry_run {
        Measuring::remembered(context)
    } else {
        Measuring::begin(context, &loaded.config, &services)
    };
    let prepared = execute::unless(interrupt.as_mut(), prepare(&args, context, &loaded)).await??;
    let Prepared { connection, mut plan, launches, secrets, facts, dns_servers, conflict } = prepared;
    let cli = &loaded.config.cli;
    let consent = Consent::from_switches(args.yes, cli.auto_confirm);
    let policy = loaded.config.runtime.network.mss_clamp;
    let elsewhere = execute::unless(interrupt.as_mut(), measuring.of_elsewhere()).await?;
    clamp::tell_elsewhere(elsewhere.as_ref())?;
    let mut clamp = Clamp { policy, facts: &facts, launches: &launches, consent, known: None };
    if args.dry_run {
        clamp.known = measuring.end(interrupt.as_mut()).await?;
        clamp.preview()?;
        tell::plan(&plan, args.json)?;
        return Ok(Exit::Done);
    }
    if !execute::unless(interrupt.as_mut(), agree(&plan, consent, conflict)).await?? {
        return Ok(Exit::Done);
    }
    if !plan.is_empty() {
        tell::earlier_data(&launches, &loaded, context)?;
    }
    // A pull through a hole hangs, and `require` starts nothing without a clamp. Nothing else waits for a measurement.
    let is_needed_first = !measuring.is_under_way() || policy == MssClamp::Require || plan.pulls() > 0;
    let mut settled = Settled::AsItWas;
    let mut measuring = Some(measuring);
    if let Some(measuring) = measuring.take_if(|_| is_needed_first) {
        clamp.known = measuring.end(interrupt.as_mut()).await?;
        settled = clamp.settle(!plan.is_empty(), interrupt.as_mut()).await?;
    }
    let podman = &connection.podman;
    let begin = Instant::now();
    let outcome = carry_out(&args, context, &loaded, podman, &mut plan, &secrets, interrupt.as_mut()).await;
    let mut outcome = outcome.or_else(|error| settled.before(error))?;
    let took = begin.elapsed();
    if let Some(measuring) = measuring {
        let anew = || Measuring::begin(context, &loaded.config, &services);
        let settled = settle_late(&mut clamp, measuring, anew, !plan.is_empty(), interrupt.as_mut()).await;
        if let Err(error) = settled {
            // The services run, whatever ends this: the user is told where.
            tell::outcome(&plan, &launches, &outcome, took, args.json)?;
            return Err(error);
        }
    }
    let network = &loaded.config.runtime.network;
    let names = names::check(podman, &plan, &launches, &dns_servers, &network.dns_servers, &facts);
    let names = execute::unless(interrupt, names).await;
    outcome.warnings.extend(names.as_ref().ok().cloned().flatten());
    tell::outcome(&plan, &launches, &outcome, took, args.json)?;
    // The services run: Ctrl-C here ends only the check of the names.
    names?;
    Ok(if outcome.late.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Settles the clamp after the last step, by a measurement that no step waited for. Where that leaves it in doubt, it is measured
/// anew: the services run now, so that this can be done from their network.
async fn settle_late(
    clamp: &mut Clamp<'_>,
    measuring: Measuring,
    anew: impl FnOnce() -> Measuring,
    work: bool,
    mut interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<(), Failure> {
    clamp.known = measuring.end(interrupt.as_mut()).await?;
    if execute::unless(interrupt.as_mut(), clamp.is_doubtful()).await? {
        clamp.known = anew().end(interrupt.as_mut()).await?;
    }
    clamp.settle(work, interrupt).await?;
    Ok(())
}

/// Executes the plan as the arguments want it, with the secrets that it was made with.
async fn carry_out(
    args: &Args,
    context: &Context,
    loaded: &Loaded,
    podman: &impl Podman,
    plan: &mut Plan,
    known: &SecretValues,
    interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<Outcome, Failure> {
    plan.give_secrets(&context.kept_secrets(loaded, plan.secret_sources(), known)?);
    let cli = &loaded.config.cli;
    let mut pace = Pace { sequential: args.sequential, ..Pace::from_config(cli) };
    if args.no_wait {
        pace.startup = Duration::ZERO;
    }
    tell::size(plan)?;
    Ok(execute::execute_in_sight(podman, plan, &pace, context.says_more(cli), interrupt).await?)
}
