//! The decision: facts in, a way and its verdict out.

use super::{EgressPath, Facts, NetworkPath, Verdict};
use crate::config::NetworkMode;

impl Facts {
    /// The way of a service on this network.
    #[must_use]
    pub fn path(&self, mode: NetworkMode) -> EgressPath {
        let passage = self.passage(mode);
        let network_mtu = (mode == NetworkMode::Pod).then_some(self.network.mtu);
        let leaving = match passage {
            NetworkPath::Host | NetworkPath::Rootless(_) => &self.from_host,
            NetworkPath::Bridge => &self.from_network,
            NetworkPath::Direct | NetworkPath::None => {
                return EgressPath { passage, egress: None, network_mtu, verdict: Verdict::Elsewhere };
            }
        };
        let with_ipv6 = mode == NetworkMode::Host || self.network.ipv6;
        let egress = leaving.as_ref().and_then(|leaving| leaving.tightest(with_ipv6)).cloned();
        let verdict = match (&egress, passage) {
            (None, _) if leaving.is_none() => Verdict::Unknown,
            (None, NetworkPath::Bridge)
                if self.from_host.as_ref().is_some_and(|host| host.tightest(with_ipv6).is_some()) =>
            {
                Verdict::NotForwarded
            }
            (None, _) => Verdict::NoRoute,
            (Some(_), NetworkPath::Host | NetworkPath::Rootless(_)) => Verdict::HostSockets,
            (Some(egress), _) if self.network.mtu <= egress.mtu => Verdict::Fits,
            (Some(egress), _) if egress.kind.is_vpn() => Verdict::ClampHelps,
            (Some(_), _) => Verdict::NarrowLink,
        };
        EgressPath { passage, egress, network_mtu, verdict }
    }

    fn passage(&self, mode: NetworkMode) -> NetworkPath {
        match (mode, self.rootless) {
            (NetworkMode::Host, _) => NetworkPath::Host,
            _ if self.network.internal => NetworkPath::None,
            _ if self.network.direct => NetworkPath::Direct,
            (NetworkMode::Pod, Some(backend)) => NetworkPath::Rootless(backend),
            (NetworkMode::Pod, None) => NetworkPath::Bridge,
        }
    }
}
