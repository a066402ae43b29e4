//! Routes to networks, and VPN links that lead only to some networks: a split tunnel.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::Rtnetlink;
use super::{Egress, EgressLinks};

/// A route to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: IpNet,
    /// The name of the link that leads there.
    pub link: String,
}

/// The host's routes to networks, of all tables: VPNs keep theirs apart from the main one. Default
/// routes and routes to the host itself are left out.
///
/// # Errors
/// The kernel cannot be queried.
pub fn routes() -> io::Result<Vec<Route>> {
    let mut kernel = Rtnetlink::open()?;
    let mut names = BTreeMap::new();
    let mut routes = Vec::new();
    for (to, index) in kernel.networks()? {
        let link = match names.entry(index) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(kernel.link(index, None)?),
        };
        routes.extend(link.as_ref().map(|link| Route { to, link: link.name.clone() }));
    }
    Ok(routes)
}

/// A network that is reached through a VPN other than the link by which packets leave for the
/// internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The largest network that the link leads to.
    pub to: IpNet,
    /// The link, and the largest packet that it carries.
    pub egress: Egress,
}

/// The branches of this host, one for each link. Nothing is sent.
///
/// # Errors
/// The kernel cannot be queried.
pub fn branches(leaving: &EgressLinks) -> io::Result<Vec<Branch>> {
    let mut kernel = Rtnetlink::open()?;
    let main: Vec<&str> = leaving.links().map(|egress| egress.link.as_str()).collect();
    Ok(choose(routes()?, &main, |to| kernel.egress(to, None).ok().flatten()))
}

/// The largest network behind each VPN link, without the links in `main`. `ask` looks up where
/// packets to an address leave.
fn choose(mut routes: Vec<Route>, main: &[&str], mut ask: impl FnMut(IpAddr) -> Option<Egress>) -> Vec<Branch> {
    routes.sort_by_key(|route| route.to.prefix_len());
    let mut branches: Vec<Branch> = Vec::new();
    for Route { to, link } in routes {
        let known = main.contains(&link.as_str()) || branches.iter().any(|branch| branch.egress.link == link);
        // The first address is often the host's own.
        let Some(address) = to.hosts().nth(1).or_else(|| to.hosts().next()).filter(|_| !known) else { continue };
        // A more specific rule may send this address by another link.
        if let Some(egress) = ask(address).filter(|egress| egress.link == link && egress.kind.is_vpn()) {
            branches.push(Branch { to, egress });
        }
    }
    branches
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::LinkKind;

    use crate::egress::route::*;

    fn route(to: &str, link: &str) -> Route {
        Route { to: to.parse().unwrap(), link: link.to_owned() }
    }

    #[test]
    fn each_vpn_link_that_leads_to_a_part_is_a_branch_by_its_largest_network() {
        let kind = |info_kind: &str| LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware: 65534 };
        let egress = |link: &str, info_kind: &str, mtu| {
            Some(Egress { link: link.to_owned(), index: 1, kind: kind(info_kind), mtu })
        };
        let routes = vec![
            route("10.9.0.0/24", "wg1"),
            route("10.0.0.0/8", "wg1"),
            route("172.16.0.0/12", "wg2"),
            route("192.168.1.0/24", "eth0"),
            route("10.64.0.0/10", "wg0"),
        ];
        let found = choose(routes, &["wg0"], |to| match to.to_string().as_str() {
            "10.0.0.2" | "10.9.0.2" => egress("wg1", "wireguard", 1300),
            // A rule sends 172.16.0.0/12 by another link.
            "172.16.0.2" | "192.168.1.2" => egress("eth0", "", 1500),
            other => {
                assert_eq!(other, "", "nobody needs to ask for it");
                None
            }
        });
        let links: Vec<_> = found.iter().map(|branch| (branch.to.to_string(), branch.egress.link.clone())).collect();
        assert_eq!(links, [("10.0.0.0/8".to_owned(), "wg1".to_owned())]);
    }
}
