//! A network has a name of its own, and stays while something uses it.

use super::World;
use crate::podman::Result;
use crate::podman::simulated::call::{missing, refused, taken};
use crate::podman::{Endpoint, Network, NetworkSpec, Networking};

impl World {
    pub(in crate::podman::simulated) fn create_network(&mut self, spec: &NetworkSpec) -> Result<Network> {
        if self.networks.contains_key(&spec.name) {
            return Err(taken("network", &spec.name));
        }
        let subnet = spec.subnet.or_else(|| "10.89.0.0/24".parse().ok());
        let network = Network {
            name: spec.name.clone(),
            driver: spec.driver.clone(),
            subnets: subnet.into_iter().map(|subnet| (subnet, spec.gateway)).collect(),
            ipv6: spec.ipv6,
            internal: spec.internal,
            dns: true,
            interface: None,
            mtu: spec.mtu,
            labels: spec.labels.clone(),
        };
        self.networks.insert(spec.name.clone(), network.clone());
        Ok(network)
    }

    pub(in crate::podman::simulated) fn remove_network(&mut self, name: &str) -> Result<()> {
        if self.in_use(name) {
            return Err(refused(500, format!("network {name} is being used")));
        }
        self.networks.remove(name).map(drop).ok_or_else(|| missing("network", name))
    }

    fn in_use(&self, network: &str) -> bool {
        let on = |endpoint: &Endpoint| endpoint.network == network;
        self.pods.values().any(|pod| on(&pod.endpoint))
            || self
                .containers
                .values()
                .any(|(spec, _)| matches!(&spec.networking, Networking::Own(endpoint) if on(endpoint)))
    }
}
