//! Whether a network that exists is the one that is configured.

use super::conflict::NetworkDifference;
use crate::podman::{Network, NetworkSpec};

/// The settings of a network that are configured and not met. What is left to podman is met by anything.
pub(super) fn differences(wanted: &NetworkSpec, found: &Network) -> Vec<NetworkDifference> {
    let mut differences = Vec::new();
    if wanted.external {
        return differences;
    }
    let mut compare = |key, wanted: String, found: String| {
        if wanted != found {
            differences.push(NetworkDifference { key, wanted, found });
        }
    };
    compare("runtime.network.driver", wanted.driver.clone(), found.driver.clone());
    compare("runtime.network.ipv6", wanted.ipv6.to_string(), found.ipv6.to_string());
    compare("runtime.network.internal", wanted.internal.to_string(), found.internal.to_string());
    if let Some(subnet) = wanted.subnet {
        let same = found.subnets.iter().find(|(other, _)| *other == subnet.trunc()).or_else(|| found.subnets.first());
        let shown = |subnet: Option<String>| subnet.unwrap_or_else(|| "none".to_owned());
        compare("runtime.network.subnet", subnet.trunc().to_string(), shown(same.map(|(other, _)| other.to_string())));
        if let Some(gateway) = wanted.gateway {
            let found = same.and_then(|(_, gateway)| gateway.map(|gateway| gateway.to_string()));
            compare("runtime.network.gateway", gateway.to_string(), shown(found));
        }
    }
    if let Some(mtu) = wanted.mtu {
        let found = found.mtu.map_or_else(|| "podman's own".to_owned(), |mtu| mtu.to_string());
        compare("runtime.network.mtu", mtu.to_string(), found);
    }
    differences
}
