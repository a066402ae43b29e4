//! Asks the name servers that containers are given, from within and from the host.

use std::net::IpAddr;

use crate::config::{Config, DnsServers, NetworkMode};
use crate::dns;
use crate::doctor::{Names, Origin};
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

/// Asks them. `container` is the first process of a container on the network; all share it. Where no service is on it, or it is cut
/// off, there is nothing to ask; where no way leads out of the host, nobody would answer.
pub(super) async fn read(
    config: &Config,
    configured: Result<Vec<IpAddr>, String>,
    container: Option<u32>,
    survey: &Facts,
) -> Option<Names> {
    let wanted = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    if !wanted || survey.network.internal {
        return None;
    }
    let Some(egress) = survey.from_host.as_ref().and_then(|leaving| leaving.links().next()) else {
        let (servers, origin) = effective(config, configured);
        // That there are none is no wonder then.
        let there = servers.as_ref().is_ok_and(|servers| !servers.is_empty());
        return there.then(|| Names { servers, origin, inside: None, outside: Vec::new(), vpn: None });
    };
    let inside = async {
        match container {
            Some(pid) => dns::inside::ask_inside(pid).await.ok(),
            None => None,
        }
    };
    let (inside, outside) = tokio::join!(inside, dns::ask_all(configured.as_deref().unwrap_or_default()));
    let vpn = egress.kind.is_vpn().then(|| egress.link.clone());
    let (servers, origin) = effective(config, configured);
    Some(Names { servers, origin, inside, outside, vpn })
}

/// The servers that come of what is configured.
fn effective(config: &Config, configured: Result<Vec<IpAddr>, String>) -> (Result<Vec<IpAddr>, String>, Origin) {
    match &config.runtime.network.dns_servers {
        DnsServers::Auto => (configured, Origin::Auto),
        DnsServers::List(servers) if servers.is_empty() => {
            let own = dns::of_host();
            (Ok(own.servers), Origin::Host(own.file))
        }
        DnsServers::List(_) => (configured, Origin::Listed),
    }
}
