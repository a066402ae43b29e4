//! `airpods start`: reads everything and plans, executes the plan, and prints the services'
//! addresses.
//!
//! [`prepare`] reads and changes nothing. Nothing is changed before [`run`] executes the plan.
//! [`mod@print`] prints the plan and the outcome, and asks before a replacement.

mod clamp;
mod measuring;
mod print;
mod pull;

use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use super::{Context, completions};
use crate::config::{Cli, Config, DnsServers, Loaded, MssClamp, NetworkMode, PodmanUrl, Service, ServiceName};
use crate::dns::{self, NoServers};
use crate::doctor;
use crate::egress::{self, EgressLinks, Facts};
use crate::error::{Exit, Failure};
use crate::execute::{self, Pace};
use crate::gpu;
use crate::plan::{self, Action, Conflict, Desired, HostContext, Launch, NetworkReset, Observed, Plan};
use crate::podman::{self, Connection, Networking, Podman};
use crate::secret::SecretValues;
use crate::terminal::Consent;

use clamp::{Clamp, Offer};
use measuring::Measuring;
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
    let prepared = execute::interruptible(interrupt.as_mut(), prepare(&args, context, &loaded, &services)).await??;
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
    let is_needed_first =
        !measuring.is_under_way() || policy == MssClamp::Require || plan.pulled_images().next().is_some();
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
    let names = check_names(podman, &plan, &launches, &dns_servers, &network.dns_servers, &facts);
    let names = execute::interruptible(interrupt, names).await;
    outcome.warnings.extend(names.as_ref().ok().cloned().flatten());
    print::outcome(&plan, &launches, &outcome, took, args.json)?;
    // The services run: Ctrl-C here ends only the check of names.
    names?;
    Ok(if outcome.late.is_empty() { Exit::Done } else { Exit::Failed })
}

/// The state before the first change.
struct Prepared {
    connection: Connection,
    plan: Plan,
    launches: Vec<Launch>,
    /// The secrets that the plan compared. Containers are created with the same values.
    secrets: SecretValues,
    /// The facts about network paths.
    facts: Facts,
    /// The name servers for containers.
    dns_servers: Vec<IpAddr>,
    /// The conflict to report if the plan recreates the network and the user does not agree.
    conflict: Option<Conflict>,
}

/// Reads podman's state and plans. It changes nothing.
async fn prepare(
    args: &Args,
    context: &Context,
    loaded: &Loaded,
    services: &[(&ServiceName, &Service)],
) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let host_context = host_context(config, services, args.cpu, podman.is_rootless()).await?;
    let mut desired = Desired::from_config(config, services, podman.version(), &host_context);
    // A secret that cannot be read is an error only if a container is created with it.
    let secrets = context.known_secrets(loaded, desired.secret_sources());
    desired.give_secrets(&secrets);
    let reset = if args.reset_network { NetworkReset::AskedFor } else { NetworkReset::Never };
    let observed = Observed::for_launch(podman, &desired, reset).await?;
    let (mut plan, conflict) = match plan::decide(&desired, &observed, reset) {
        Err(conflict @ Conflict::NetworkDiffers { .. }) => {
            (plan::decide(&desired, &observed, NetworkReset::Proposed)?, Some(conflict))
        }
        decided => (decided?, None),
    };
    let left = plan::left_running(config, &observed, &plan.replaced);
    plan.warnings.extend(left);
    if !plan.is_empty() {
        let missing = doctor::after_reboot(config, podman.is_rootless(), podman.version()).into_iter();
        plan.warnings.extend(missing.map(|finding| match finding.cure {
            Some(cure) => format!("{}; `{cure}` changes that", finding.cause),
            None => finding.cause,
        }));
    }
    // Without `plan.network` a step creates the network with the configured settings.
    let facts = egress::survey(podman, plan.network.as_ref(), &config.runtime);
    let dns_servers = host_context.dns_servers;
    Ok(Prepared { connection, plan, launches: desired.launches, secrets, facts, dns_servers, conflict })
}

/// The properties of the host that a launch depends on.
pub(super) async fn host_context(
    config: &Config,
    services: &[(&ServiceName, &Service)],
    force_cpu: bool,
    rootless: bool,
) -> Result<HostContext, NoServers> {
    Ok(HostContext { gpu: gpu::Gpus::here(), rootless, force_cpu, dns_servers: dns_servers(config, services).await? })
}

/// The configured name servers, or those that `"auto"` finds.
async fn dns_servers(config: &Config, services: &[(&ServiceName, &Service)]) -> Result<Vec<IpAddr>, NoServers> {
    let network = &config.runtime.network;
    match &network.dns_servers {
        // Services on the host's network use the host's resolver.
        _ if services.iter().all(|(_, service)| service.network_mode == NetworkMode::Host) => Ok(Vec::new()),
        DnsServers::Auto => dns::servers(EgressLinks::of_host().as_ref(), network.ipv6).await,
        DnsServers::List(servers) => Ok(servers.clone()),
    }
}

/// The timeouts and limits, adjusted by the arguments.
fn pace(args: &Args, cli: &Cli) -> Pace {
    let mut pace = Pace { sequential: args.sequential, ..Pace::from_config(cli) };
    if args.no_wait {
        pace.startup = Duration::ZERO;
    }
    pace
}

/// Checks after a start whether names resolve in the network of the started services. Returns a
/// warning about the name servers that containers were given, if there is a problem. Containers
/// share the network, so one of the started ones is enough for the check.
async fn check_names(
    podman: &impl Podman,
    plan: &Plan,
    launches: &[Launch],
    servers: &[IpAddr],
    configured: &DnsServers,
    facts: &Facts,
) -> Option<String> {
    let asked = !servers.is_empty() && !facts.network.internal;
    let container = launches.iter().find(|launch| asked && was_started(plan, launch))?;
    let egress = facts.from_host.as_ref().and_then(|leaving| leaving.links().next());
    dns::verify(podman, &container.container.name, servers, configured, egress).await
}

fn was_started(plan: &Plan, launch: &Launch) -> bool {
    let starts = |action: &Action| matches!(action, Action::Start { name } if *name == launch.container.name);
    launch.container.networking != Networking::Host && plan.steps.iter().any(|step| starts(&step.action))
}
