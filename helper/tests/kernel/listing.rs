//! The table as nft lists it.

use std::collections::BTreeSet;

use airpods_dbus::{LinkName, PathMtu};
use airpods_helper::kernel::{Kernel, Ruleset};
use airpods_lab::{Netns, Place};
use serde_json::Value;

use crate::host::{Host, ruleset};

/// Every kind of content: names of all lengths and shapes, and both modes.
fn contents() -> [Ruleset; 3] {
    [
        ruleset(&["wg0"], &[]),
        ruleset(&["wg1", "wg10", "wg1.5", "a", "Bb", "zz", "wg0-mullvad", "CloudflareWARP", "fifteen_letters"], &[]),
        ruleset(&["wg1", "tun0"], &[("wg2", 576), ("nordlynx", 9000), ("x", 1280)]),
    ]
}

/// The same table in nft's syntax.
fn written_by_hand(ruleset: &Ruleset) -> String {
    let set = |head: &str, elements: Vec<String>| {
        let listed = format!("elements = {{ {} }}\n", elements.join(", "));
        format!("{head} {}}}\n", if elements.is_empty() { "" } else { &listed })
    };
    let chain = |name: &str, rules: Vec<String>| format!("chain {name} {{\n{}\n}}\n", rules.join("\n"));
    let base = |name: &str, target: &str| {
        let hook = format!("type filter hook {name} priority mangle; policy accept;");
        chain(name, vec![hook, format!("tcp flags & (syn | rst) == syn jump {target}")])
    };
    let map = |name: &str, headers: u16| {
        let pairs = ruleset.fixed.iter().map(|(link, mtu)| format!("\"{link}\" : {}", mtu.bytes() - headers));
        set(&format!("map {name} {{ typeof oifname : tcp option maxseg size;"), pairs.collect())
    };
    let route = |family, way| format!("meta nfproto {family} {way} @links counter tcp option maxseg size set rt mtu");
    let fixed = |family, way, map| format!("meta nfproto {family} tcp option maxseg size set {way} map @{map} counter");
    let links = ruleset.route.iter().map(|link| format!("\"{link}\"")).collect();
    let mut sets = set("set links { type ifname;", links);
    let mut clamp: Vec<String> =
        ["ipv4", "ipv6"].iter().flat_map(|of| [route(of, "oifname"), route(of, "iifname")]).collect();
    let mut arriving = String::new();
    if !ruleset.fixed.is_empty() {
        sets += &map("mss4", 40);
        sets += &map("mss6", 60);
        clamp.extend([fixed("ipv4", "oifname", "mss4"), fixed("ipv6", "oifname", "mss6")]);
        arriving += &chain("arriving", vec![fixed("ipv4", "iifname", "mss4"), fixed("ipv6", "iifname", "mss6")]);
        arriving += &base("prerouting", "arriving");
    }
    format!("table inet airpods {{\n{sets}{}{}{arriving}}}\n", chain("clamp", clamp), base("postrouting", "clamp"))
}

/// Lists the objects of the table as JSON without handles. The table itself is left out.
fn objects(net: &Netns) -> Vec<String> {
    let chains = net.sh("nft list chains inet | sed -n 's/^\\tchain \\(.*\\) {/\\1/p'").unwrap();
    let mut lists = vec!["sets inet".to_owned(), "maps inet".to_owned()];
    lists.extend(chains.lines().map(|chain| format!("chain inet airpods {chain}")));
    let mut objects = Vec::new();
    for list in lists {
        let mut json: Value = serde_json::from_str(&net.sh(&format!("nft -j list {list}")).unwrap()).unwrap();
        for object in json["nftables"].as_array_mut().unwrap() {
            let Some((kind, content)) = object.as_object_mut().unwrap().iter_mut().next() else { continue };
            if kind == "metainfo" {
                continue;
            }
            content.as_object_mut().unwrap().remove("handle");
            objects.push(object.to_string());
        }
    }
    objects
}

/// A new namespace with a ruleset that nft has loaded.
fn loaded(text: &str) -> Netns {
    let net = Netns::new().unwrap();
    net.nft(text).unwrap();
    net
}

#[test]
fn nft_lists_the_table_as_if_nft_had_loaded_it() {
    for ruleset in contents() {
        let mut host = Host::new();
        host.apply(&ruleset);
        let by_nft = loaded(&written_by_hand(&ruleset));
        assert_eq!(host.listed(), by_nft.sh("nft list table inet airpods").unwrap());
        let ours = objects(&host.net);
        assert!(ours.len() >= 8, "{ours:?}");
        assert_eq!(ours, objects(&by_nft));
    }
}

#[test]
fn the_kernel_runs_the_same_expressions_as_for_the_table_that_nft_loaded() {
    let expressions = |net: &Netns| net.sh("nft --debug=netlink list table inet airpods").unwrap();
    let rules = |text: String| {
        let lines = text.lines().filter(|line| line.trim_start().starts_with('[')).map(str::to_owned);
        lines.collect::<Vec<String>>()
    };
    for ruleset in contents() {
        let mut host = Host::new();
        host.apply(&ruleset);
        let ours = rules(expressions(&host.net));
        assert!(ours.len() > 30, "{ours:?}");
        assert_eq!(ours, rules(expressions(&loaded(&written_by_hand(&ruleset)))));
    }
}

#[test]
fn the_output_of_nft_list_loads_again() {
    for ruleset in contents() {
        let mut host = Host::new();
        host.apply(&ruleset);
        let listed = host.listed();
        let again = loaded(&listed);
        assert_eq!(again.sh("nft list table inet airpods").unwrap(), listed);
    }
}

#[test]
fn every_name_that_a_link_may_have_is_printed_so_that_it_loads_again_and_is_read_back() {
    let names = [
        "wg+home",
        "mullvad=se1",
        "büro",
        "-x",
        "a\\b",
        "wg*x",
        "$(id)",
        "@set",
        "#x",
        "{",
        "fifteen_letters",
        "ünïcödé",
    ];
    let links: Vec<_> = names.iter().map(|name| LinkName::of_kernel(name.as_bytes()).unwrap()).collect();
    let fixed = links[..4].iter().map(|link| (link.clone(), PathMtu::new(1300).unwrap())).collect();
    let wanted = Ruleset { route: links[4..].iter().cloned().collect(), fixed };
    let mut host = Host::new();
    assert_eq!(host.apply(&wanted).ruleset, wanted);
    let listed = host.listed();
    let again = loaded(&listed);
    assert_eq!(again.sh("nft list table inet airpods").unwrap(), listed);
    let held = crate::host::another_helper(&again).read_table().unwrap().unwrap();
    assert_eq!((held.ruleset, held.is_ours), (wanted, true));
}

#[test]
fn a_link_whose_name_nft_reads_differently_is_reported_and_others_clamped() {
    let mut host = Host::new();
    for link in ["wg+home", "büro", "'wg*'", "'w\"g'"] {
        host.net.add_tun(link, 1380).unwrap();
    }
    let links = host.kernel.links(&|_| false).unwrap();
    let named: Vec<_> = links.named.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(named, ["wg+home", "büro"]);
    let told: Vec<_> = links.unclampable.iter().map(|link| link.link.as_str()).collect();
    assert_eq!(told, ["w\\\"g", "wg*"]);
}

#[test]
fn the_prerouting_chain_is_there_only_while_a_fixed_value_is() {
    let mut host = Host::new();
    let has_prerouting = |host: &Host| host.listed().contains("hook prerouting");
    host.apply(&ruleset(&["wg0"], &[]));
    assert!(!has_prerouting(&host));
    host.apply(&ruleset(&["wg0"], &[("wg1", 1300)]));
    assert!(has_prerouting(&host));
    host.apply(&ruleset(&["wg0"], &[]));
    assert!(!has_prerouting(&host));
}

#[test]
fn an_empty_ruleset_leaves_no_table() {
    let mut host = Host::new();
    assert_eq!(host.kernel.apply(&Ruleset::default()).unwrap().after, None);
    host.apply(&ruleset(&["wg0"], &[]));
    assert_eq!(host.kernel.apply(&Ruleset::default()).unwrap().after, None);
    assert_eq!(host.net.sh("nft list ruleset").unwrap(), "");
    assert_eq!(host.kernel.read_table().unwrap(), None);
}

#[test]
fn as_many_links_as_there_may_be_go_in_one_batch() {
    let names: BTreeSet<String> = (0..256).map(|number| format!("longest_name{number:03}")).collect();
    let route: Vec<&str> = names.iter().map(String::as_str).collect();
    let fixed: Vec<(&str, u32)> = route.iter().map(|name| (*name, 1300)).collect();
    let mut host = Host::new();
    for wanted in [ruleset(&route, &[]), ruleset(&[], &fixed), ruleset(&["one"], &[("two", 1280)])] {
        assert_eq!(host.apply(&wanted).ruleset, wanted);
    }
    host.apply(&ruleset(&["one"], &[]));
    assert_eq!(host.apply(&ruleset(&route, &[])).ruleset.route.len(), 256);
}

#[test]
fn every_step_between_two_contents_is_taken_exactly() {
    let mut host = Host::new();
    let steps = [
        ruleset(&["a"], &[]),
        ruleset(&["b", "c"], &[]),
        ruleset(&[], &[("a", 1300)]),
        ruleset(&["b"], &[("a", 1200), ("c", 1300)]),
        ruleset(&["a", "b", "c"], &[]),
        ruleset(&["c"], &[("a", 1280)]),
        ruleset(&["a"], &[("c", 1280)]),
    ];
    for wanted in steps.iter().chain(steps.iter().rev()) {
        assert_eq!(host.apply(wanted).ruleset, *wanted);
    }
}
