//! `[runtime.network]`: the network that the services share.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::config::quantity::NetworkMtu;

/// The network of the services. `gateway` lies in `subnet`, and an IPv6 subnet implies `ipv6`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
pub struct Network {
    /// It is there already, made by somebody else: it is used, and never made, changed or removed.
    #[serde(skip_serializing_if = "is_false")]
    pub external: bool,
    /// The maker of the links.
    pub driver: NetworkDriver,
    /// Its addresses; `None` leaves the choice to podman.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<IpNet>,
    /// The host's address on it; `None` is the subnet's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The servers asked for names that are no service's.
    pub dns_servers: DnsServers,
    /// Whether it has IPv6 as well.
    pub ipv6: bool,
    /// Whether it is cut off from everything else.
    pub internal: bool,
    /// The MTU of its links in bytes; `None` leaves it to podman. The VPN's MTU here cures the classic black hole
    /// without root, for TCP and UDP, on networks made afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<NetworkMtu>,
    /// What `start` does about a VPN whose MTU is below this network's.
    pub mss_clamp: MssClamp,
    /// Whether `start` measures the path behind a VPN, once for each network.
    pub measure: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(on: &bool) -> bool {
    !on
}

/// podman's network drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A bridge of its own behind NAT.
    Bridge,
    /// Links with their own MAC address on a link of the host.
    Macvlan,
    /// Links with the MAC address of a link of the host.
    Ipvlan,
}

impl NetworkDriver {
    /// podman's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// The name servers of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsServers {
    /// Those of the link that the traffic leaves by, found when services are started.
    Auto,
    /// These; none means the host's own.
    List(Vec<IpAddr>),
}

impl Serialize for DnsServers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::List(servers) => servers.serialize(serializer),
        }
    }
}

/// What `start` does where a VPN's MTU is below the network's, so that large packets may vanish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MssClamp {
    /// Offers the clamp in a question where it helps.
    Auto,
    /// Nothing.
    Off,
    /// Sets the clamp without a question, and starts nothing where it cannot be set.
    Require,
}
