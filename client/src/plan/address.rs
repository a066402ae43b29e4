//! Fixed places on the network, for a podman that cannot both resolve aliases and use given DNS servers.
//!
//! Before 4.4, podman writes the DNS servers of a container into its resolv.conf in place of the network's name
//! service: aliases then resolve nowhere. There, every endpoint gets a fixed address and every container the
//! names of all others in /etc/hosts, which is asked before any DNS server.

use std::collections::BTreeMap;

use super::holder::Holder;
use crate::podman::{Endpoint, Pin};

/// Gives every endpoint a place, counted from the end of the subnet in the order of their names, and tells every
/// one about all.
pub(super) fn pin(endpoints: &mut BTreeMap<Holder, Endpoint>) {
    let places = || 1u32..;
    let neighbours: Vec<(String, u32)> = endpoints
        .iter()
        .zip(places())
        .flat_map(|((holder, endpoint), place)| {
            let (Holder::Pod(own) | Holder::Container(own)) = holder;
            // podman itself lets a container or pod be found by its own name.
            let mut names: Vec<String> = endpoint.aliases.clone();
            if !names.contains(own) {
                names.push(own.clone());
            }
            names.into_iter().map(move |name| (name, place))
        })
        .collect();
    for (endpoint, own) in endpoints.values_mut().zip(places()) {
        endpoint.pin = Some(Pin { own, neighbours: neighbours.clone() });
    }
}
