//! Clamps that others have installed with the tools of this machine.

use airpods_dbus::{Foreign, ForeignClamp, Legacy, Technique};
use airpods_helper::kernel::Kernel;
use airpods_helper::kernel::foreign::READ;
use airpods_lab::Place;

use crate::host::{Host, ruleset};

/// What is found: table, links and value of each clamp.
fn found(host: &mut Host) -> Vec<String> {
    let foreign = host.kernel.foreign().unwrap();
    assert!(foreign.whole && foreign.more == 0, "{foreign:?}");
    foreign.clamps.iter().map(words).collect()
}

fn words(clamp: &ForeignClamp) -> String {
    let link = |word, link: &Option<String>| link.as_ref().map(|link| format!(" {word} {link}")).unwrap_or_default();
    let mss = clamp.mss.map(|mss| format!(" {mss}")).unwrap_or_default();
    let (out, into) = (link("out", &clamp.out_link), link("in", &clamp.in_link));
    format!("{} {} {} {}{out}{into} {}{mss}", clamp.by, clamp.family, clamp.table, clamp.chain, clamp.mode)
}

const SYN: &str = "-p tcp --tcp-flags SYN,RST SYN -j TCPMSS";

#[test]
fn clamps_by_iptables_nft_are_found_in_both_families() {
    let mut host = Host::new();
    host.net.sh(&format!("iptables-nft -t mangle -A FORWARD -o wg0 {SYN} --clamp-mss-to-pmtu")).unwrap();
    host.net.sh(&format!("iptables-nft -t mangle -A OUTPUT -o ppp+ {SYN} --clamp-mss-to-pmtu")).unwrap();
    host.net.sh(&format!("ip6tables-nft -t mangle -A POSTROUTING {SYN} --set-mss 1220")).unwrap();
    assert_eq!(
        found(&mut host),
        [
            "iptables-nft ip mangle FORWARD out wg0 route",
            "iptables-nft ip mangle OUTPUT out ppp* route",
            "iptables-nft ip6 mangle POSTROUTING fixed 1220",
        ]
    );
    host.net.sh("iptables-nft -t mangle -F").unwrap();
    assert_eq!(found(&mut host), ["iptables-nft ip6 mangle POSTROUTING fixed 1220"], "what is gone is gone");
}

#[test]
fn clamps_by_nft_are_found_in_every_family_and_chain() {
    let mut host = Host::new();
    for family in ["ip", "ip6", "inet"] {
        let rules =
            r#"tcp option maxseg size set rt mtu; iifname "wg0" oifname "eth0" tcp option maxseg size set 1300;"#;
        let base = "chain f { type filter hook forward priority 0; jump c; };";
        host.net.nft(&format!("table {family} t {{ chain c {{ {rules} }}; {base} }};")).unwrap();
    }
    let both = |family: &str| {
        [format!("nftables {family} t c route"), format!("nftables {family} t c out eth0 in wg0 fixed 1300")]
    };
    let mut all = found(&mut host);
    all.sort();
    let mut expected = ["ip", "ip6", "inet"].map(both).concat();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn our_own_clamps_and_rules_that_only_look_at_the_mss_are_none() {
    let mut host = Host::new();
    host.apply(&ruleset(&["wg0"], &[("wg1", 1300)]));
    let looking =
        "tcp option maxseg size > 1300 counter drop; tcp option maxseg exists accept; reset tcp option maxseg;";
    let others = "meta mark set 7; tcp option window count 7 accept; tcp dport 80 dnat to 10.0.0.2;";
    host.net.nft(&format!("table ip looking {{ chain c {{ {looking} }}; }}")).unwrap();
    host.net.nft(&format!("table ip nat {{ chain c {{ type nat hook prerouting priority 0; {others} }}; }}")).unwrap();
    host.net.sh("iptables-nft -A FORWARD -p tcp -m tcpmss --mss 1400:1500 -j DROP").unwrap();
    host.net.sh("iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE").unwrap();
    assert_eq!(found(&mut host), [""; 0]);
}

#[test]
fn a_clamp_by_iptables_legacy_is_never_reported_as_none() {
    let mut host = Host::new();
    host.net.sh(&format!("iptables-legacy -t mangle -A FORWARD {SYN} --clamp-mss-to-pmtu")).unwrap();
    let foreign = host.kernel.foreign().unwrap();
    assert_ne!(foreign.iptables_legacy, Legacy::None);
    assert_eq!(foreign.clamps, [], "its rules are not in nftables");
}

#[test]
fn more_rules_than_are_read_are_reported_as_not_whole_and_the_next_reading_is_right_again() {
    let host = Host::new();
    let rules = format!("echo 'tcp option maxseg size set 1300'; yes 'ip ttl 1 drop' | head -n {READ}");
    host.net.sh(&format!("{{ echo 'table ip many {{ chain c {{'; {rules}; echo '}}; }}'; }} | nft -f -")).unwrap();
    let mut kernel = host.kernel;
    let check = |foreign: &Foreign| {
        assert!(!foreign.whole);
        assert_eq!(foreign.clamps.iter().map(words).collect::<Vec<_>>(), ["nftables ip many c fixed 1300"]);
    };
    // From a thread that cannot open a socket in the namespace, and from one that can.
    check(&kernel.foreign().unwrap());
    host.net.nft("table ip few { chain c { }; }").unwrap();
    let (mut kernel, foreign) = host.net.run(move || {
        let foreign = kernel.foreign().unwrap();
        (kernel, foreign)
    });
    check(&foreign);
    host.net.nft("flush table ip many; add rule ip few c tcp option maxseg size set rt mtu").unwrap();
    let foreign = kernel.foreign().unwrap();
    assert!(foreign.whole && foreign.clamps.iter().all(|clamp| clamp.by == Technique::Nftables));
    assert_eq!(foreign.clamps.iter().map(words).collect::<Vec<_>>(), ["nftables ip few c route"]);
}
