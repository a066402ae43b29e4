//! Reads everything before the first change: podman, its objects and the host, and plans from that.

use std::net::IpAddr;

use super::{Args, Context};
use crate::config::{Config, DnsServers, Loaded, NetworkMode, PodmanUrl, Service, ServiceName};
use crate::dns::{self, NoServers};
use crate::doctor;
use crate::egress::{self, EgressLinks};
use crate::error::Failure;
use crate::gpu;
use crate::plan::{self, Conflict, Desired, HostContext, Launch, NetworkReset, Observed, Plan};
use crate::podman::{self, Connection, Podman};
use crate::secret::SecretValues;

/// The state before the first change.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) plan: Plan,
    pub(super) launches: Vec<Launch>,
    /// The secrets that the plan compared. Containers are created with the same values.
    pub(super) secrets: SecretValues,
    /// The facts about network paths.
    pub(super) facts: egress::Facts,
    /// The name servers for containers.
    pub(super) dns_servers: Vec<IpAddr>,
    /// The conflict to report if the plan recreates the network and the user does not agree.
    pub(super) conflict: Option<Conflict>,
}

/// Reads podman's state and plans. It changes nothing.
pub(super) async fn prepare(args: &Args, context: &Context, loaded: &Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let services = plan::chosen(config, &args.services, false)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let host_context = host_context(config, &services, args.cpu, podman.is_rootless()).await?;
    let mut desired = Desired::from_config(config, &services, podman.version(), &host_context);
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
pub(in crate::command) async fn host_context(
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
