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

/// A container that runs on the services' network.
pub(super) struct Resident {
    /// Its first process.
    pub(super) pid: u32,
    /// The servers that it was made with.
    pub(super) servers: Vec<IpAddr>,
}

/// Asks them. `resident` stands for all containers, which share the network. Where no service is on it, or it is cut off, there is
/// nothing to ask; where no way leads out of the host, nobody would answer.
pub(super) async fn read(
    config: &Config,
    configured: Result<Vec<IpAddr>, String>,
    resident: Option<Resident>,
    survey: &Facts,
) -> Option<Names> {
    let wanted = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    if !wanted || survey.network.internal {
        return None;
    }
    let (pid, given) = resident.map(|resident| (resident.pid, resident.servers)).unzip();
    let (servers, origin) = effective(config, configured.clone());
    let unasked = Names { servers, origin, given, inside: None, outside: Vec::new(), own: Vec::new(), vpn: None };
    let Some(egress) = survey.from_host.as_ref().and_then(|leaving| leaving.links().next()) else {
        // That there are no servers is no wonder then.
        return Some(unasked).filter(|names| names.servers.as_ref().is_ok_and(|servers| !servers.is_empty()));
    };
    let inside = async {
        match pid {
            Some(pid) => dns::inside::ask_inside(pid).await.ok(),
            None => None,
        }
    };
    let own = async { if origin == Origin::Auto { dns::ask_as_host().await } else { Vec::new() } };
    let outside = dns::ask_all(configured.as_deref().unwrap_or_default());
    let (inside, outside, own) = tokio::join!(inside, outside, own);
    let vpn = egress.kind.is_vpn().then(|| egress.link.clone());
    Some(Names { inside, outside, own, vpn, ..unasked })
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
