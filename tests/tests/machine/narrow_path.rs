//! `airpods net check` through the kernel's own WireGuard: the verdict is the right one or none, and no size is above what the path
//! carries. An emulated machine is slow, so an answer that is not sure is asked for again.

use airpods_lab::{Machine, Place, Suite};
use serde_json::Value;

use crate::launch_behind_vpn::VPN;
use crate::on_both;

/// The internet serves HTTPS, and the machine knows its name.
const SITE: &str = "
    systemd-run --quiet --unit lab-https \\
        ip netns exec internet lab-probe serve-https 443 --ca-out /run/site.pem --name download.example
    echo '203.0.113.80 download.example' >> /etc/hosts
";

/// A machine behind a bridge of MTU 1500, as a container is, without podman.
const BRIDGE: &str = "
    ip netns add box
    ip link add br-box type bridge
    ip address add 10.88.7.1/24 dev br-box
    ip link add v-box type veth peer name eth0 netns box
    ip link set v-box master br-box up; ip link set br-box up
    ip -n box address add 10.88.7.2/24 dev eth0
    ip -n box link set eth0 up; ip -n box link set lo up
    ip -n box route add default via 10.88.7.1
    ip -n neighbour route add 10.88.7.0/24 dev peer0
";

/// The host's own reports are dropped as well as the VPN server's: hole AB.
const SILENT_HOST: &str = "nft 'table inet lab { chain silence { type filter hook output priority filter
    icmp type destination-unreachable icmp code frag-needed drop } }'";

/// The path below the tunnel drops what is longer than 1360 bytes. WireGuard's packets are single ones where they arrive, which is why
/// each rule stands at the far side.
const UP_1360: &str =
    "ip netns exec neighbour nft 'table inet narrow { chain arriving { type filter hook prerouting priority raw
    udp dport 51820 meta length > 1360 drop } }'";
const DOWN_1360: &str = "nft 'table inet narrow { chain arriving { type filter hook prerouting priority raw
    udp sport 51820 meta length > 1360 drop } }'";
/// What fits: 60 bytes are WireGuard's, and it fills up to a multiple of 16.
const IN_1360: u64 = 1296;

/// The VPN server says what is too big, and the way beyond it takes 1300.
const REPORTED_1300: &str = "
    ip netns exec neighbour nft delete table inet lab
    ip -n neighbour link set far mtu 1300
    ip -n internet link set eth0 mtu 1300
";

/// Where the check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Host,
    Bridge,
}

fn machine(suite: Suite, faults: &[&str]) -> Machine {
    let machine = Machine::stocked(suite).unwrap();
    for lines in [&[VPN, SITE][..], faults].concat() {
        machine.sh(lines).unwrap();
    }
    machine
}

fn check(machine: &Machine, from: From) -> Value {
    let enter = if from == From::Bridge { "ip netns exec box " } else { "" };
    let as_alice = "setpriv --reuid alice --regid alice --init-groups env HOME=/home/alice";
    let line = format!("{enter}{as_alice} airpods net check --json --no-proof --url https://download.example/ || true");
    serde_json::from_str(&machine.sh(&line).unwrap()).unwrap()
}

/// `truth` is what passes up and down.
fn says(machine: &Machine, from: From, verdict: &str, truth: (u64, u64)) {
    const UNMEASURED: [&str; 3] = ["not-measured", "up-not-measured", "down-not-measured"];
    for _ in 0..3 {
        let document = check(machine, from);
        let path = &document["places"][0]["paths"][0];
        for (way, truth) in [("up", truth.0), ("down", truth.1)] {
            let proven = path[way]["proven"].as_u64();
            assert!(proven.is_none_or(|size| size <= truth), "{from:?}: {way} above {truth}: {document:#}");
        }
        let said = document["verdict"].as_str().unwrap();
        assert!(said == verdict || UNMEASURED.contains(&said), "{from:?}: expected {verdict}: {document:#}");
        if said == verdict {
            return;
        }
    }
}

on_both! {
    fn behind_hole_a_the_host_is_fine_and_a_bridge_is_narrow_on_the_way_down(suite: Suite) {
        let machine = machine(suite, &[BRIDGE]);
        says(&machine, From::Host, "fine", (1380, 1380));
        says(&machine, From::Bridge, "path-narrow", (1380, 1380));
    }

    fn behind_hole_ab_the_host_is_fine_and_a_bridge_is_narrow_both_ways(suite: Suite) {
        let machine = machine(suite, &[BRIDGE, SILENT_HOST]);
        says(&machine, From::Host, "fine", (1380, 1380));
        says(&machine, From::Bridge, "path-narrow", (1380, 1380));
    }

    fn a_path_that_is_narrower_than_the_tunnel_is_narrow_by_wireguards_measure(suite: Suite) {
        let machine = machine(suite, &[BRIDGE, UP_1360, DOWN_1360]);
        says(&machine, From::Host, "path-narrow", (IN_1360, IN_1360));
        says(&machine, From::Bridge, "path-narrow", (IN_1360, IN_1360));
    }

    fn a_path_that_is_narrow_up_only_is_not_called_narrow_down(suite: Suite) {
        says(&machine(suite, &[UP_1360]), From::Host, "path-narrow", (IN_1360, 1380));
    }

    fn a_path_that_is_narrow_down_only_is_not_called_narrow_up(suite: Suite) {
        says(&machine(suite, &[DOWN_1360]), From::Host, "path-narrow", (1380, IN_1360));
    }

    fn a_path_that_reports_its_size_works(suite: Suite) {
        says(&machine(suite, &[REPORTED_1300]), From::Host, "pmtud-works", (1300, 1300));
    }

    fn a_path_mtu_that_the_kernel_has_learnt_is_named(suite: Suite) {
        let machine = machine(suite, &[REPORTED_1300]);
        let teach = "ping -c 1 -W 5 -M do -s 1340 203.0.113.80 || true; ip route get 203.0.113.80 | grep 'mtu 1300'";
        machine.sh(teach).unwrap();
        says(&machine, From::Host, "pmtu-learnt", (1300, 1300));
    }
}
