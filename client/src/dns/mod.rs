//! The name servers that `runtime.network.dns_servers = "auto"` stands for, and whether those that containers were given answer.
//!
//! Auto takes the servers of the link that the host's traffic leaves by: behind a VPN its own, which know the names in there and are
//! often the only ones that it lets be asked. [`servers`](mod@servers) reads what the host knows, and decides.
//! Where nothing is found nothing is invented: no public server is ever put in the place of the host's.
//!
//! Afterwards [`verify`] asks from within a container's network ([`ask`](mod@ask)), and where that fails also from the host, to tell the
//! server's fault from the network's.

pub mod ask;
mod servers;

use std::borrow::Cow;
use std::net::IpAddr;

pub use ask::{Asked, Reply, ask, ask_all, verify};
#[cfg(any(test, fuzzing))]
pub use servers::name_servers;

use crate::egress::Leaving;
use crate::error::Report;

/// Auto found no server that a container can ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoServers {
    /// The host asks a server on its own loopback, which nobody else can reach.
    #[error("`runtime.network.dns_servers` is \"auto\", and the host asks {0}, which containers cannot reach")]
    Loopback(IpAddr),
    /// The host has none.
    #[error("`runtime.network.dns_servers` is \"auto\", and the host has no name server")]
    None,
}

impl Report for NoServers {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Loopback(_) => {
                "name servers that containers can reach: `airpods config set runtime.network.dns_servers '[\"ADDRESS\"]'`; \
                 `'[]'` leaves names to podman, which asks for the host where it can"
            }
            Self::None => "connect the host to a network first, or name servers in `runtime.network.dns_servers`",
        }))
    }
}

/// The host's own servers, which podman asks for containers that are given none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfHost {
    /// The servers, in order; a loopback address is one of the host's, which podman asks there.
    pub servers: Vec<IpAddr>,
    /// The file that lists them.
    pub file: &'static str,
}

/// Reads which servers are the host's own.
#[must_use]
pub fn of_host() -> OfHost {
    servers::of_host(servers::read_resolv_conf(), servers::read_uplinks())
}

/// Asks the servers that the host's own programs ask, systemd-resolved's stub among them.
pub async fn ask_as_host() -> Vec<Asked> {
    ask_all(&servers::read_resolv_conf().servers).await
}

/// The servers that auto stands for now. `leaving` are the links that the host's traffic leaves by; with `ipv6`, containers
/// have IPv6.
///
/// # Errors
/// [`NoServers`]
pub async fn servers(leaving: Option<&Leaving>, ipv6: bool) -> Result<Vec<IpAddr>, NoServers> {
    let egress = leaving.into_iter().flat_map(Leaving::links).map(|egress| egress.index).collect();
    let conf = servers::read_resolv_conf();
    let resolved = if conf.is_for_resolved() { servers::read_resolved().await } else { None };
    servers::choose(&servers::Sources { egress, conf, uplinks: servers::read_uplinks(), resolved }, ipv6)
}
