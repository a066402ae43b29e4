//! The name servers for `runtime.network.dns_servers = "auto"`, and whether the containers' name
//! servers answer.
//!
//! Auto takes the servers of the link that the host's traffic leaves by. Behind a VPN these are the
//! VPN's own, which know its internal names, and are often the only ones that the VPN lets through.
//! [`servers`](mod@servers) reads what the host knows, and decides. If it finds no server, there is
//! none: a public server never replaces the host's.
//!
//! Afterwards [`verify`] asks from within a container's network ([`ask`](mod@ask)). If that fails,
//! it also asks from the host, to tell a fault of the server from one of the network.

pub mod ask;
mod servers;

use std::borrow::Cow;
use std::net::IpAddr;

pub use ask::{Asked, Reply, ask, ask_all, verify};
#[cfg(any(test, fuzzing))]
pub use servers::name_servers;

use crate::egress::EgressLinks;
use crate::error::Report;

/// Auto found no server that a container can ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoServers {
    /// The host uses a server on its own loopback, which containers cannot reach.
    #[error("`runtime.network.dns_servers` is \"auto\", and the host asks {0}, which containers cannot reach")]
    Loopback(IpAddr),
    /// The host has no name server.
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

/// The host's own servers, which podman uses for containers without configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostServers {
    /// The servers, in order. A loopback address is a server on the host, which podman asks from
    /// the host.
    pub servers: Vec<IpAddr>,
    /// The file that lists them.
    pub file: &'static str,
}

/// Reads the host's own servers.
#[must_use]
pub fn host_servers() -> HostServers {
    servers::host_servers(servers::read_resolv_conf(), servers::read_uplinks())
}

/// Asks the servers that the host's own programs use, including systemd-resolved's stub.
pub async fn ask_as_host() -> Vec<Asked> {
    ask_all(&servers::read_resolv_conf().servers).await
}

/// The current servers for auto. `leaving` has the links that the host's traffic leaves by; with
/// `ipv6`, containers have IPv6.
///
/// # Errors
/// [`NoServers`]
pub async fn servers(leaving: Option<&EgressLinks>, ipv6: bool) -> Result<Vec<IpAddr>, NoServers> {
    let egress = leaving.into_iter().flat_map(EgressLinks::links).map(|egress| egress.index).collect();
    let conf = servers::read_resolv_conf();
    let resolved = if conf.is_for_resolved() { servers::read_resolved().await } else { None };
    servers::choose(&servers::Sources { egress, conf, uplinks: servers::read_uplinks(), resolved }, ipv6)
}
