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
/// link.
fn started(toml: &str) -> (PathWorld, User) {
    let mut world = PathWorld::new(Rules::default(), 1).unwrap();
    world.serve_as(Server::Rustls, REGISTRY).unwrap();
    let image = format!("{REGISTRY}/lab/model:1");
    let root = world.sandbox().as_user("root");
    Image::serving(&image, 7001).import(&root).unwrap();
    let service = format!("[services.model]\nimage = \"{image}\"\ncommand_args = [\"serve-http\", \"7001\"]\n");
    client::configure(world.sandbox(), &format!("{toml}{ALONE}{service}")).unwrap();
    (world, root)
}

/// The verdicts over IPv4 from the host and from the service's network.
fn verdicts(root: &User) -> (String, String) {
    let output = client::run(root, "net check --json --no-proof model").unwrap();
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
fn is_judged(root: &User, rule: &str, expected: &str) {
    for attempt in 1..=ATTEMPTS {
        let (host, inside) = verdicts(root);
        assert_eq!(host, "fine", "{rule}");
        if inside == expected {
            return;
        }
        assert!(inside == "not-measured" && attempt < ATTEMPTS, "{rule}: {inside}, not {expected}");
    }
}

#[test]
fn packets_dropped_by_the_hosts_firewall_are_attributed_to_the_host() {
    let (world, root) = started(&format!("runtime.network = {{ mtu = {LINK_MTU}, measure = false }}\n"));
    let output = client::run(&root, "start --no-wait").unwrap();
    assert_eq!(output.code, 0, "{}", output.err);
    is_judged(&root, "no rule", "fine");
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
        let chain = format!("type filter hook forward priority filter - 1\n{rule}\n");
        world.sandbox().sh(&format!("nft 'table inet lab {{ chain forwarded {{\n{chain}}}\n}}'")).unwrap();
        is_judged(&root, &rule, expected);
        world.sandbox().sh("nft delete table inet lab").unwrap();
    }
}

/// Another program's rule that clamps forwarded packets in both directions.
const CLAMP: &str = "table inet lab { chain forwarded {
    type filter hook forward priority mangle
    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
}
}";

/// Drops the host's reports, so that large forwarded packets vanish silently.
const SILENT: &str = "table inet silent { chain output {
    type filter hook output priority filter
    icmp type destination-unreachable icmp code 4 drop
}
}";

#[test]
fn a_first_start_sees_the_clamp_of_another_program_and_offers_none() {
    for (rules, told, untold) in [
        (vec![SILENT, CLAMP], "nothing hangs behind `wg0`", "hang (measured)"),
        (vec![SILENT], "hang (measured)", "inferred"),
    ] {
        let (world, root) = started("");
        for rule in rules {
            world.sandbox().sh(&format!("nft '{rule}'")).unwrap();
        }
        let output = client::run(&root, "start --no-wait --verbose").unwrap();
        assert_eq!(output.code, 0, "{}", output.err);
        assert!(output.err.contains(told) && !output.err.contains(untold), "{}", output.err);
    }
}
