//! Asks the name servers that containers are given, from within and from the host.

use std::net::IpAddr;

use crate::config::{Config, DnsServers, NetworkMode};
use crate::dns;
use crate::doctor::Names;
use crate::way::{Facts, Leaving};

/// The servers that containers are given; none are the host's own.
pub(super) async fn servers(config: &Config) -> Result<Vec<IpAddr>, String> {
    let network = &config.runtime.network;
    match &network.dns_servers {
        DnsServers::List(servers) => Ok(servers.clone()),
        DnsServers::Auto => {
            let found = dns::servers(Leaving::of_host().as_ref(), network.ipv6).await;
            found.map_err(|error| error.to_string())
        }
    }
}

/// Asks them. `container` is the first process of a container on the network; all share it. Where no service is on it, or nothing leads
/// out, there is nothing to ask.
pub(super) async fn read(
    config: &Config,
    servers: Result<Vec<IpAddr>, String>,
    container: Option<u32>,
    survey: &Facts,
) -> Option<Names> {
    let wanted = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    let egress = survey.from_host.as_ref().and_then(|leaving| leaving.links().next())?;
    if !wanted || survey.network.internal {
        return None;
    }
    let inside = async {
        match container {
            Some(pid) => dns::inside::ask_inside(pid).await.ok(),
            None => None,
        }
    };
    let (inside, outside) = tokio::join!(inside, dns::ask_all(servers.as_deref().unwrap_or_default()));
    let vpn = egress.kind.is_vpn().then(|| egress.link.clone());
    Some(Names { servers, inside, outside, vpn })
}
