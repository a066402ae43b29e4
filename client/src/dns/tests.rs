//! The knowledge of a host in; the servers for its containers out.

use super::*;

const ETH0: i32 = 2;
const WG0: i32 = 9;

fn addresses(text: &str) -> Vec<IpAddr> {
    text.split_whitespace().filter_map(|address| address.parse().ok()).collect()
}

fn link(link: i32, servers: &str) -> LinkServers {
    LinkServers { link, servers: addresses(servers), ..LinkServers::default() }
}

/// A host whose resolv.conf names systemd-resolved's stub, with a network card and a VPN.
fn with_resolved(links: Vec<LinkServers>, egress: &[i32]) -> Sources {
    Sources {
        egress: egress.to_vec(),
        conf: ResolvConf { servers: parse_resolv_conf("nameserver 127.0.0.53"), by_resolved: true },
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
fn unreachable_servers_are_left_out() {
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
    let host_servers =
        |conf: &str| without_stub(ResolvConf { servers: addresses(conf), by_resolved: true }, addresses("192.168.1.1"));
    for (conf, servers, file) in [
        ("10.8.0.1 127.0.0.53", "10.8.0.1 127.0.0.53", RESOLV_CONF),
        ("127.0.0.1", "127.0.0.1", RESOLV_CONF),
        ("127.0.0.53", "192.168.1.1", UPLINKS),
        ("", "", RESOLV_CONF),
    ] {
        assert_eq!(host_servers(conf), HostServers { servers: addresses(servers), file }, "{conf}");
    }
}

#[test]
fn servers_are_read_in_order_and_other_lines_skipped() {
    let text = "# nameserver 1.2.3.4\nnameserver 10.64.0.1\n nameserver\tfd00::1 \nsearch example\n\
            nameserver fe80::1%eth0\nnameserver nonsense\nnameservers 9.9.9.9\noptions edns0";
    let servers: Vec<String> = parse_resolv_conf(text).iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.64.0.1", "fd00::1"]);
}

#[test]
fn a_file_that_names_the_stub_counts_as_systemd_resolveds() {
    for (text, expected) in [("nameserver 127.0.0.53", true), ("nameserver 10.64.0.1", false), ("", false)] {
        let conf = ResolvConf { servers: parse_resolv_conf(text), by_resolved: false };
        assert_eq!(conf.is_for_resolved(), expected, "{text}");
    }
}
