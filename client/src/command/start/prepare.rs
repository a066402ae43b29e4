//! What is learnt before anything is done: podman, what it holds, the machine, and the plan from it.

use std::net::IpAddr;
use std::path::Path;

use super::Args;
use crate::cdi;
use crate::config::{Config, DnsServers, Loaded, NetworkMode, PodmanUrl, Service, ServiceName};
use crate::dns::{self, NoServers};
use crate::error::Failure;
use crate::plan::{self, Desired, Launch, Observed, Plan, Surroundings};
use crate::podman::{self, Connection, Podman};
use crate::way::{self, Leaving};

/// All that is known before anything is done.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) plan: Plan,
    pub(super) launches: Vec<Launch>,
    /// Which way the packets go.
    pub(super) facts: way::Facts,
    /// The name servers that containers are given.
    pub(super) dns_servers: Vec<IpAddr>,
}

/// Reads what podman holds and plans; changes nothing.
pub(super) async fn prepare(args: &Args, loaded: &Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let services = plan::chosen(config, &args.services, false)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let surroundings = surroundings(config, &services, args.cpu).await?;
    let desired = Desired::from_config(config, &services, podman.version(), &surroundings);
    let observed = Observed::of(podman, desired.images()).await?;
    let plan = plan::decide(&desired, &observed, args.reset_network)?;
    // A network that is made anew will have the settings that are configured.
    let facts = way::survey(podman, plan.network.as_ref(), &config.runtime);
    Ok(Prepared { connection, plan, launches: desired.launches, facts, dns_servers: surroundings.dns_servers })
}

/// What the machine has that a launch depends on.
pub(in crate::command) async fn surroundings(
    config: &Config,
    services: &[(&ServiceName, &Service)],
    force_cpu: bool,
) -> Result<Surroundings, NoServers> {
    Ok(Surroundings {
        nvidia_cdi: !cdi::of_nvidia(&cdi::FOLDERS.map(Path::new)).is_empty(),
        force_cpu,
        dns_servers: dns_servers(config, services).await?,
    })
}

/// The servers that are configured, or that `"auto"` stands for.
async fn dns_servers(config: &Config, services: &[(&ServiceName, &Service)]) -> Result<Vec<IpAddr>, NoServers> {
    let network = &config.runtime.network;
    match &network.dns_servers {
        // Services on the host's network ask as the host does.
        _ if services.iter().all(|(_, service)| service.network_mode == NetworkMode::Host) => Ok(Vec::new()),
        DnsServers::Auto => dns::servers(Leaving::of_host().as_ref(), network.ipv6).await,
        DnsServers::List(servers) => Ok(servers.clone()),
    }
}
