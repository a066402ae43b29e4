//! After a start: whether names are resolved in the network of what was started.

use std::net::IpAddr;

use crate::config::DnsServers;
use crate::dns;
use crate::egress::Facts;
use crate::plan::{Action, Launch, Plan};
use crate::podman::{Networking, Podman};

/// The problem with the name servers that containers were given, if any were given. The containers share the
/// network, so one of those that were started stands for all.
pub(super) async fn check(
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
