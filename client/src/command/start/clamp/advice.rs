//! What to say about the ways of the services. Pure.

use crate::config::NetworkMode;
use crate::plan::Launch;
use crate::podman::Networking;
use crate::way::{Facts, SMALLEST_MTU, Verdict, Way};

/// What the ways of the services come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advice {
    /// There is nothing to say.
    Nothing,
    /// They leave through a VPN that is narrower than the network, by sockets of the host.
    HostSockets(Way),
    /// A clamp helps.
    Clamp(Narrow),
    /// Which way they go is not known.
    Unknown,
}

/// A VPN that the network's packets are too big for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Narrow {
    pub(super) link: String,
    mtu: u32,
    network: String,
    network_mtu: u32,
    services: Vec<String>,
}

impl Advice {
    pub(super) fn of(facts: &Facts, launches: &[Launch]) -> Self {
        let ways: Vec<(&Launch, Way)> = launches.iter().map(|launch| (launch, facts.way(mode(launch)))).collect();
        let with = |verdict: Verdict| ways.iter().filter(move |(_, way)| way.verdict == verdict);
        if let Some((_, Way { egress: Some(egress), network_mtu: Some(network_mtu), .. })) =
            with(Verdict::ClampHelps).next()
        {
            return Self::Clamp(Narrow {
                link: egress.link.clone(),
                mtu: egress.mtu,
                network: facts.network.name.clone(),
                network_mtu: *network_mtu,
                services: with(Verdict::ClampHelps).map(|(launch, _)| launch.service.clone()).collect(),
            });
        }
        if with(Verdict::Unknown).next().is_some() {
            return Self::Unknown;
        }
        let narrower = |way: &Way| way.egress.as_ref().is_some_and(|egress| egress.mtu < facts.network.mtu);
        let through_vpn = with(Verdict::HostSockets).find(|(_, way)| way.through_vpn() && narrower(way));
        through_vpn.map_or(Self::Nothing, |(_, way)| Self::HostSockets(way.clone()))
    }

    /// What to say where nothing is asked.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::HostSockets(way) => {
                let egress = way.egress.as_ref()?;
                Some(format!(
                    "note: traffic leaves through the VPN `{}` (MTU {}) by sockets of the host ({}), which know that MTU: no clamp is \
                     needed",
                    egress.link,
                    egress.mtu,
                    way.passage.as_str()
                ))
            }
            Self::Nothing | Self::Clamp(_) | Self::Unknown => None,
        }
    }
}

fn mode(launch: &Launch) -> NetworkMode {
    if launch.container.networking == Networking::Host { NetworkMode::Host } else { NetworkMode::Pod }
}

impl Narrow {
    /// What is wrong.
    pub(super) fn problem(&self) -> String {
        format!("note: {}", self.sentence())
    }

    fn sentence(&self) -> String {
        let Self { link, mtu, network, network_mtu, services } = self;
        format!(
            "the VPN `{link}` has MTU {mtu} and the network `{network}` {network_mtu}, so large transfers of {} may hang",
            services.join(", ")
        )
    }

    /// The one question.
    pub(super) fn question(&self) -> String {
        let sentence = self.sentence();
        let mut letters = sentence.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        format!("{capital}. Clamp VPN links now, as `airpods net clamp on` does?")
    }

    pub(super) fn cure_by_clamp(&self) -> String {
        format!("hint: `airpods net clamp on` clamps `{}` and every other VPN link", self.link)
    }

    /// The network's own MTU, which takes no right and helps UDP as well.
    pub(super) fn cure_without_root(&self) -> String {
        let mtu = self.mtu.max(SMALLEST_MTU);
        format!(
            "hint: without the helper: `airpods config set runtime.network.mtu {mtu}`, then `airpods start --reset-network`"
        )
    }
}

#[cfg(test)]
mod tests;
