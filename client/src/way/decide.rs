//! The decision: facts in, a way and its verdict out.

use super::{Facts, Passage, Verdict, Way};
use crate::config::NetworkMode;

impl Facts {
    /// The way of a service on this network.
    #[must_use]
    pub fn way(&self, mode: NetworkMode) -> Way {
        let passage = self.passage(mode);
        let network_mtu = (mode == NetworkMode::Pod).then_some(self.network.mtu);
        let leaving = match passage {
            Passage::Host | Passage::Rootless(_) => &self.from_host,
            Passage::Bridge => &self.from_network,
            Passage::Direct | Passage::None => {
                return Way { passage, egress: None, network_mtu, verdict: Verdict::Elsewhere };
            }
        };
        let with_ipv6 = mode == NetworkMode::Host || self.network.ipv6;
        let egress = leaving.as_ref().and_then(|leaving| leaving.tightest(with_ipv6)).cloned();
        let verdict = match (&egress, passage) {
            (None, _) if leaving.is_none() => Verdict::Unknown,
            (None, Passage::Bridge)
                if self.from_host.as_ref().is_some_and(|host| host.tightest(with_ipv6).is_some()) =>
            {
                Verdict::NotForwarded
            }
            (None, _) => Verdict::NoRoute,
            (Some(_), Passage::Host | Passage::Rootless(_)) => Verdict::HostSockets,
            (Some(egress), _) if self.network.mtu <= egress.mtu => Verdict::Fits,
            (Some(egress), _) if egress.kind.is_vpn() => Verdict::ClampHelps,
            (Some(_), _) => Verdict::NarrowLink,
        };
        Way { passage, egress, network_mtu, verdict }
    }

    fn passage(&self, mode: NetworkMode) -> Passage {
        match (mode, self.rootless) {
            (NetworkMode::Host, _) => Passage::Host,
            _ if self.network.internal => Passage::None,
            _ if self.network.direct => Passage::Direct,
            (NetworkMode::Pod, Some(outlet)) => Passage::Rootless(outlet),
            (NetworkMode::Pod, None) => Passage::Bridge,
        }
    }
}
