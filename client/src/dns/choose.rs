//! The choice: what the host knows about name servers in, the servers for containers out.

use std::net::IpAddr;

use super::resolv_conf::{self, ResolvConf};
use super::{NoServers, OfHost};

/// The host's knowledge.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    /// The links that traffic to the internet leaves by, by index, IPv4's first.
    pub(super) egress: Vec<i32>,
    /// `/etc/resolv.conf`.
    pub(super) conf: ResolvConf,
    /// The servers that systemd-resolved lists for all links together.
    pub(super) uplinks: Vec<IpAddr>,
    /// What systemd-resolved says about each link; `None` if it is not there, or not what programs ask.
    pub(super) resolved: Option<Resolved>,
}

/// The answer of systemd-resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The links that have servers.
    pub(super) links: Vec<LinkServers>,
    /// Servers of no link.
    pub(super) global: Vec<IpAddr>,
}

/// A link's servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkServers {
    /// The link's index.
    pub(super) link: i32,
    /// Its servers, in order.
    pub(super) servers: Vec<IpAddr>,
    /// It wants every name (`~.`), before all links that do not.
    pub(super) takes_all: bool,
    /// It is asked for names that no link wants.
    pub(super) default_route: bool,
}

/// The servers for containers, in the order of [`Resolved::candidates`], then of resolv.conf.
pub(super) fn choose(sources: &Sources, ipv6: bool) -> Result<Vec<IpAddr>, NoServers> {
    let of_resolved = sources.resolved.iter().flat_map(|resolved| resolved.candidates(&sources.egress));
    // Where the stub is in resolv.conf, what resolved would ask for it is in its own file.
    let uplinks = sources.conf.is_for_resolved().then(|| sources.uplinks.clone());
    let candidates = of_resolved.chain([sources.conf.servers.clone()]).chain(uplinks);
    let chosen = candidates.map(|servers| usable(&servers, ipv6)).find(|servers| !servers.is_empty());
    chosen.ok_or_else(|| match sources.conf.servers.iter().find(|server| server.is_loopback()) {
        Some(server) => NoServers::Loopback(*server),
        None => NoServers::None,
    })
}

/// The host's own servers. In place of systemd-resolved's stub stands what that asks, as containers cannot reach the stub: podman
/// itself reads the other file then (`libnetwork/resolvconf` of containers/common).
pub(super) fn of_host(conf: ResolvConf, uplinks: Vec<IpAddr>) -> OfHost {
    if conf.is_stub_alone() && !uplinks.is_empty() {
        OfHost { servers: uplinks, file: resolv_conf::UPLINKS }
    } else {
        OfHost { servers: conf.servers, file: resolv_conf::FILE }
    }
}

impl Resolved {
    /// The lists that may be taken, the best first: the servers of the link that traffic leaves by, those of a link that wants
    /// every name, those of links that are asked by default, and those of no link. That is the order of systemd-resolved
    /// itself but for the first, which differs from the second only where a link has been told to be asked about what leaves by another.
    fn candidates(&self, egress: &[i32]) -> Vec<Vec<IpAddr>> {
        let of = |chosen: &dyn Fn(&LinkServers) -> bool| {
            let links = self.links.iter().filter(|link| chosen(link));
            links.flat_map(|link| link.servers.iter().copied()).collect::<Vec<_>>()
        };
        let mut lists: Vec<Vec<IpAddr>> = egress.iter().map(|index| of(&|link| link.link == *index)).collect();
        lists.push(of(&|link| link.takes_all));
        lists.push(of(&|link| link.default_route));
        lists.push(self.global.clone());
        lists
    }
}

/// Those that a container can ask: none of the host's loopback or of a single link, and of IPv6 only where containers have
/// it or there is no other.
fn usable(servers: &[IpAddr], ipv6: bool) -> Vec<IpAddr> {
    let reachable = |server: &&IpAddr| {
        let of_a_link = matches!(server, IpAddr::V6(address) if address.is_unicast_link_local());
        !server.is_loopback() && !server.is_unspecified() && !server.is_multicast() && !of_a_link
    };
    let mut usable: Vec<IpAddr> = Vec::new();
    for server in servers.iter().filter(reachable) {
        if !usable.contains(server) {
            usable.push(*server);
        }
    }
    if !ipv6 && usable.iter().any(IpAddr::is_ipv4) {
        usable.retain(IpAddr::is_ipv4);
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::resolv_conf::parse;

    const ETH0: i32 = 2;
    const WG0: i32 = 9;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().filter_map(|address| address.parse().ok()).collect()
    }

    fn link(link: i32, servers: &str) -> LinkServers {
        LinkServers { link, servers: addresses(servers), ..LinkServers::default() }
    }

    /// A host whose resolv.conf names resolved's stub, with a card and a VPN.
    fn with_resolved(links: Vec<LinkServers>, egress: &[i32]) -> Sources {
        Sources {
            egress: egress.to_vec(),
            conf: ResolvConf { servers: parse("nameserver 127.0.0.53"), by_resolved: true },
            uplinks: addresses("192.168.1.1"),
            resolved: Some(Resolved { links, global: Vec::new() }),
        }
    }

    fn with_conf(servers: &str) -> Sources {
        Sources { conf: ResolvConf { servers: addresses(servers), by_resolved: false }, ..Sources::default() }
    }

    #[track_caller]
    fn assert_chosen(sources: &Sources, expected: &str) {
        assert_eq!(choose(sources, false), Ok(addresses(expected)));
    }

    #[test]
    fn behind_a_vpn_its_own_servers_are_taken_and_not_the_cards() {
        let links = vec![LinkServers { default_route: true, ..link(ETH0, "192.168.1.1") }, link(WG0, "10.64.0.1")];
        assert_chosen(&with_resolved(links.clone(), &[WG0]), "10.64.0.1");
        assert_chosen(&with_resolved(links, &[ETH0]), "192.168.1.1");
    }

    #[test]
    fn where_the_link_has_no_servers_what_resolved_would_ask_is_taken() {
        let card = LinkServers { default_route: true, ..link(ETH0, "192.168.1.1") };
        let company = link(5, "10.1.1.1");
        assert_chosen(&with_resolved(vec![company.clone(), card.clone()], &[WG0]), "192.168.1.1");
        let wanting = LinkServers { takes_all: true, ..company };
        assert_chosen(&with_resolved(vec![card, wanting], &[WG0]), "10.1.1.1");
        let mut global = with_resolved(Vec::new(), &[WG0]);
        global.resolved = Some(Resolved { links: Vec::new(), global: addresses("10.2.2.2") });
        assert_chosen(&global, "10.2.2.2");
    }

    #[test]
    fn where_resolved_does_not_answer_its_own_list_is_read_and_never_its_stub() {
        let sources = Sources { resolved: None, ..with_resolved(Vec::new(), &[WG0]) };
        assert_chosen(&sources, "192.168.1.1");
        assert_chosen(&with_resolved(Vec::new(), &[WG0]), "192.168.1.1");
    }

    #[test]
    fn a_resolv_conf_of_the_vpns_own_is_taken_as_it_is() {
        assert_chosen(&with_conf("10.8.0.1 10.8.0.2 10.8.0.1"), "10.8.0.1 10.8.0.2");
    }

    #[test]
    fn what_a_container_cannot_reach_is_left_out() {
        let sources = with_conf("127.0.0.1 fe80::1 ::1 0.0.0.0 fd00::53 10.8.0.1");
        assert_chosen(&sources, "10.8.0.1");
        assert_eq!(choose(&sources, true), Ok(addresses("fd00::53 10.8.0.1")));
        assert_chosen(&with_conf("fd00::53"), "fd00::53");
    }

    #[test]
    fn where_there_is_none_none_is_invented() {
        assert_eq!(choose(&with_conf(""), true), Err(NoServers::None));
        assert_eq!(choose(&with_conf("127.0.0.1"), true), Err(NoServers::Loopback([127, 0, 0, 1].into())));
    }

    #[test]
    fn the_hosts_own_are_those_in_its_file_and_in_place_of_a_stub_alone_what_that_asks() {
        let of_host =
            |conf: &str| of_host(ResolvConf { servers: addresses(conf), by_resolved: true }, addresses("192.168.1.1"));
        for (conf, servers, file) in [
            ("10.8.0.1 127.0.0.53", "10.8.0.1 127.0.0.53", resolv_conf::FILE),
            ("127.0.0.1", "127.0.0.1", resolv_conf::FILE),
            ("127.0.0.53", "192.168.1.1", resolv_conf::UPLINKS),
            ("", "", resolv_conf::FILE),
        ] {
            assert_eq!(of_host(conf), OfHost { servers: addresses(servers), file }, "{conf}");
        }
    }
}
