//! Rules of this host about forwarded packets, measured from within a service's network and
//! compared with the host's own packets.

use airpods_lab::client::{self, ALONE};
use airpods_lab::path::{LINK, LINK_MTU, Rules, Server};
use airpods_lab::{Image, PathWorld, Place, User};
use serde_json::Value;

/// The image's registry, which `net check` measures with.
const REGISTRY: &str = "registry.example";

/// Attempts, because a busy machine may end without a verdict.
const ATTEMPTS: usize = 3;

/// A host whose configuration begins with `toml`, and has a service of root's podman behind the
/// link. The path carries packets of the link's MTU.
fn configured(toml: &str) -> (PathWorld, User) {
    let mut world = PathWorld::new(Rules::narrow(LINK_MTU.into(), LINK_MTU.into()), 1).unwrap();
    world.serve_as(Server::Rustls, REGISTRY).unwrap();
    let image = format!("{REGISTRY}/lab/model:1");
    let root = world.sandbox().as_user("root");
    Image::serving(&image, 7001).import(&root).unwrap();
    let service = format!("[services.model]\nimage = \"{image}\"\ncommand_args = [\"serve-http\", \"7001\"]\n");
    client::configure(world.sandbox(), &format!("{toml}{ALONE}{service}")).unwrap();
    (world, root)
}

/// The same with the service started, which makes no measurement.
fn started(network: &str) -> (PathWorld, User) {
    let (world, root) = configured(&format!("runtime.network = {{ {network}measure = false }}\n"));
    let output = client::run(&root, "start --no-wait").unwrap();
    assert_eq!(output.code, 0, "{}", output.err);
    (world, root)
}

/// Sizes of TCP only.
const TCP: &str = "net check --json --no-proof model";
/// UDP as well.
const UDP: &str = "net check --json model";

/// The verdicts over IPv4 from the host and from the service's network.
fn verdicts(root: &User, check: &str) -> (String, String) {
    let output = client::run(root, check).unwrap();
    let document = output.json().unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let of = |place: &Value| {
        let path = place["paths"].as_array().unwrap().iter().find(|path| path["family"] == "ipv4");
        path.unwrap_or_else(|| panic!("{document:#}"))["verdict"].as_str().unwrap().to_owned()
    };
    let places = document["places"].as_array().unwrap();
    let [host, inside] = [true, false].map(|is_host| places.iter().find(|place| (place["place"] == "host") == is_host));
    (of(host.unwrap()), of(inside.unwrap_or_else(|| panic!("the network was not entered: {document:#}"))))
}

#[track_caller]
fn is_judged(root: &User, check: &str, rule: &str, expected: &str) {
    for attempt in 1..=ATTEMPTS {
        let (host, inside) = verdicts(root, check);
        assert_eq!(host, "fine", "{rule}");
        if inside == expected {
            return;
        }
        assert!(inside == "not-measured" && attempt < ATTEMPTS, "{rule}: {inside}, not {expected}");
    }
}

#[test]
fn packets_dropped_by_the_hosts_firewall_are_attributed_to_the_host() {
    let (world, root) = started(&format!("mtu = {LINK_MTU}, "));
    is_judged(&root, TCP, "no rule", "fine");
    let (up, down) = (format!("oifname {LINK}"), format!("iifname {LINK}"));
    let reject = |how: &str| format!("{up} reject with {how}");
    for (rule, expected) in [
        (format!("{up} drop"), "container-cut"),
        (format!("{down} drop"), "container-cut"),
        (format!("{up} tcp dport 443 drop"), "container-cut"),
        (format!("{down} tcp flags & (syn | ack) == (syn | ack) drop"), "container-cut"),
        // Connections open, but no data passes.
        (format!("{up} tcp flags & (syn | ack) == ack tcp dport 443 drop"), "container-cut"),
        (reject("icmp port-unreachable"), "container-cut"),
        (reject("icmp host-unreachable"), "container-cut"),
        (reject("icmp net-unreachable"), "container-cut"),
        (reject("icmp admin-prohibited"), "container-cut"),
        (format!("{up} meta l4proto tcp reject with tcp reset"), "container-cut"),
        (format!("{up} meta length > 1300 drop"), "forward-narrow"),
        (format!("{down} meta length > 1300 drop"), "forward-narrow"),
        ("meta length > 1300 drop".to_owned(), "forward-narrow"),
    ] {
        while_forwarding(&world, &rule, || is_judged(&root, TCP, &rule, expected));
    }
}

/// Runs `check` while the host has a rule about forwarded packets.
fn while_forwarding(world: &PathWorld, rule: &str, check: impl FnOnce()) {
    add_rule(world, rule);
    check();
    world.sandbox().sh("nft delete table inet lab").unwrap();
}

fn add_rule(world: &PathWorld, rule: &str) {
    let chain = format!("type filter hook forward priority filter - 1\n{rule}\n");
    world.sandbox().sh(&format!("nft 'table inet lab {{ chain forwarded {{\n{chain}}}\n}}'")).unwrap();
}

/// Another program's clamp, in both directions.
const CLAMP: &str = "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu";

/// Drops the host's reports, so that large forwarded packets vanish silently.
const SILENT: &str = "table inet silent { chain output {
    type filter hook output priority filter
    icmp type destination-unreachable icmp code 4 drop
}
}";

fn be_silent(world: &PathWorld) {
    world.sandbox().sh(&format!("nft '{SILENT}'")).unwrap();
}

#[test]
fn a_network_that_is_wider_than_the_link_is_judged_by_the_clamps_of_the_host() {
    let (world, root) = started("");
    be_silent(&world);
    is_judged(&root, TCP, "no report", "mtu-black-hole");
    for (direction, expected) in [
        (String::new(), "clamped"),
        (format!("oifname {LINK} "), "clamp-one-way"),
        (format!("iifname {LINK} "), "mtu-black-hole"),
    ] {
        let rule = direction + CLAMP;
        while_forwarding(&world, &rule, || is_judged(&root, TCP, &rule, expected));
    }
    // The last case: a reported size stays known for ten minutes.
    world.sandbox().sh("nft delete table inet silent").unwrap();
    is_judged(&root, TCP, "the host reports", "mtu-black-hole");
}

#[test]
fn a_rule_of_the_host_about_forwarded_udp_is_told_from_a_server_without_quic() {
    let (mut world, root) = started(&format!("mtu = {LINK_MTU}, "));
    let dropping = format!("oifname {LINK} udp dport 443 drop");
    while_forwarding(&world, &dropping, || is_judged(&root, UDP, "a server without QUIC", "fine"));
    world.serve_quic(Server::Rustls).unwrap();
    is_judged(&root, UDP, "no rule", "fine");
    for (rule, expected) in [
        (dropping, "quic-blocked"),
        (format!("iifname {LINK} udp sport 443 drop"), "quic-blocked"),
        (format!("oifname {LINK} udp dport 443 reject with icmp admin-prohibited"), "quic-blocked"),
        (format!("oifname {LINK} udp dport 443 meta length > 1300 drop"), "udp-narrow"),
    ] {
        while_forwarding(&world, &rule, || is_judged(&root, UDP, &rule, expected));
    }
}

#[test]
fn a_first_start_sees_the_clamp_of_another_program_and_offers_none() {
    for (clamp, told, untold) in
        [(Some(CLAMP), "nothing hangs behind `wg0`", "hang (measured)"), (None, "hang (measured)", "inferred")]
    {
        let (world, root) = configured("");
        be_silent(&world);
        if let Some(rule) = clamp {
            add_rule(&world, rule);
        }
        let output = client::run(&root, "start --no-wait --verbose").unwrap();
        assert_eq!(output.code, 0, "{}", output.err);
        assert!(output.err.contains(told) && !output.err.contains(untold), "{}", output.err);
    }
}
