//! What is learnt before anything is done: podman, what it holds, the machine, and the plan from it.

use std::path::Path;

use super::Args;
use crate::cdi;
use crate::config::{Loaded, PodmanUrl};
use crate::error::Failure;
use crate::plan::{self, Desired, Launch, Observed, Plan, Surroundings};
use crate::podman::{self, Connection, Podman};

/// All that is known before anything is done.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) plan: Plan,
    pub(super) launches: Vec<Launch>,
}

/// Reads what podman holds and plans; changes nothing.
pub(super) async fn prepare(args: &Args, loaded: &Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let services = plan::chosen(config, &args.services, false)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let surroundings = Surroundings {
        nvidia_cdi: !cdi::of_nvidia(&cdi::FOLDERS.map(Path::new)).is_empty(),
        force_cpu: args.cpu,
        dns_servers: Vec::new(),
    };
    let desired = Desired::from_config(config, &services, podman.version(), &surroundings);
    let observed = Observed::of(podman, desired.images()).await?;
    let plan = plan::decide(&desired, &observed, args.reset_network)?;
    Ok(Prepared { connection, plan, launches: desired.launches })
}
