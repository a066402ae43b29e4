//! After a start: checks whether names resolve in the network of the started services.

use std::net::IpAddr;

use crate::config::DnsServers;
use crate::dns;
use crate::egress::Facts;
use crate::plan::{Action, Launch, Plan};
use crate::podman::{Networking, Podman};

/// A warning about the name servers that containers were given, if there is a problem. Containers
/// share the network, so one of the started ones is enough for the check.
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
