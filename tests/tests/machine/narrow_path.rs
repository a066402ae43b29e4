//! `airpods net check` through the kernel's WireGuard: the verdict is right or missing, and no size
//! is above the size that the path carries. An emulated machine is slow, so an unsure answer is
//! retried.

use airpods_lab::{Machine, Place, Suite};
use serde_json::Value;

use crate::launch::{ALONE, Launcher, service};
use crate::launch_behind_vpn::VPN;
use crate::on_both;

/// Starts an HTTPS server in the internet, whose name the machine knows.
const SITE: &str = "
    systemd-run --quiet --unit lab-https \\
        ip netns exec internet lab-probe serve-https 443 --ca-out /run/site.pem --name download.example
    echo '203.0.113.80 download.example' >> /etc/hosts
    until ip netns exec internet ss -Hlnt 'sport = 443' | grep -q 443; do sleep 1; done
";

/// Makes a machine behind a bridge of MTU 1500, like a container, without podman.
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

/// Drops the host's own reports as well as the VPN server's: hole AB.
const SILENT_HOST: &str = "nft 'table inet lab { chain silence { type filter hook output priority filter
    icmp type destination-unreachable icmp code frag-needed drop
    }
    }'";

/// Drops outer packets of more than 1360 bytes. Each rule is at the receiving side, because
/// WireGuard's packets are single ones only there.
const UP_1360: &str =
    "ip netns exec neighbour nft 'table inet narrow { chain arriving { type filter hook prerouting priority raw
    udp dport 51820 meta length > 1360 drop
    }
    }'";
const DOWN_1360: &str = "nft 'table inet narrow { chain arriving { type filter hook prerouting priority raw
    udp sport 51820 meta length > 1360 drop
    }
    }'";
/// The largest inner packet that fits. WireGuard adds 60 bytes and pads to a multiple of 16.
const IN_1360: u64 = 1296;

/// Makes the VPN server forward 1300 bytes both ways and report larger packets. The internet's
/// links keep their MTU, or its server would announce a smaller MSS.
const REPORTED_1300: &str = "
    ip netns exec neighbour nft delete table inet lab
    ip -n neighbour route replace 203.0.113.0/24 dev far src 203.0.113.1 mtu 1300
    ip -n neighbour link set peer0 mtu 1300
";

/// The place where the check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Host,
    Bridge,
    /// A service of alice's own podman, whose packets leave through sockets of the host.
    Rootless,
}

const EVERYWHERE: [From; 3] = [From::Host, From::Bridge, From::Rootless];

/// Makes the kernel forget the path MTUs that it has learnt. A far end that has learnt one
/// announces a smaller MSS.
const FORGET: &str = "ip route flush cache; for place in box internet; do ip -n $place route flush cache; done";

fn machine(suite: Suite, faults: &[&str]) -> Machine {
    let machine = Machine::stocked(suite).unwrap();
    for lines in [&[VPN, SITE][..], faults].concat() {
        machine.sh(lines).unwrap();
    }
    machine
}

fn check(machine: &Machine, from: From) -> Value {
    let check = "airpods net check --json --no-proof --url https://download.example/";
    let as_alice = "setpriv --reuid alice --regid alice --init-groups env HOME=/home/alice";
    let output = match from {
        From::Host => machine.sh(&format!("{as_alice} {check} || true")),
        From::Bridge => machine.sh(&format!("ip netns exec box {as_alice} {check} || true")),
        From::Rootless => machine.as_lingering("alice").sh(&format!("{check} web || true")),
    };
    serde_json::from_str(&output.unwrap()).unwrap()
}

/// Starts alice's service `web` on a network of her own.
fn rootless(machine: &Machine) {
    let launcher = Launcher::new(machine, &(ALONE.to_owned() + &service("web", 7001, "")));
    launcher.sh("airpods start web --yes");
}

/// Checks the verdict; `truth` has the largest packets that pass up and down.
fn says(machine: &Machine, from: From, verdict: &str, truth: (u64, u64)) {
    const UNMEASURED: [&str; 3] = ["not-measured", "up-not-measured", "down-not-measured"];
    for _ in 0..3 {
        let document = check(machine, from);
        if from == From::Rootless {
            assert!(document["places"].to_string().contains("\"web\""), "the service is spoken of: {document:#}");
        }
        let path = &document["places"][0]["paths"][0];
        for (way, truth) in [("up", truth.0), ("down", truth.1)] {
            let proven = path[way]["proven"].as_u64();
            assert!(proven.is_none_or(|size| size <= truth), "{from:?}: {way} above {truth}: {document:#}");
        }
        let found = document["verdict"].as_str().unwrap();
        assert!(found == verdict || UNMEASURED.contains(&found), "{from:?}: expected {verdict}: {document:#}");
        if found == verdict {
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
        let machine = machine(suite, &[BRIDGE, UP_1360]);
        rootless(&machine);
        for from in EVERYWHERE {
            says(&machine, from, "path-narrow", (IN_1360, 1380));
        }
    }

    fn a_path_that_is_narrow_down_only_is_not_called_narrow_up(suite: Suite) {
        let machine = machine(suite, &[BRIDGE, DOWN_1360]);
        rootless(&machine);
        for from in EVERYWHERE {
            says(&machine, from, "path-narrow", (1380, IN_1360));
        }
    }

    fn a_rootless_service_is_fine_behind_hole_a_and_narrow_on_a_narrow_path(suite: Suite) {
        let machine = machine(suite, &[]);
        rootless(&machine);
        says(&machine, From::Rootless, "fine", (1380, 1380));
        for narrow in [UP_1360, DOWN_1360] {
            machine.sh(narrow).unwrap();
        }
        says(&machine, From::Rootless, "path-narrow", (IN_1360, IN_1360));
    }

    fn a_path_that_reports_its_size_works(suite: Suite) {
        let machine = machine(suite, &[BRIDGE, REPORTED_1300]);
        rootless(&machine);
        for from in EVERYWHERE {
            says(&machine, from, "pmtud-works", (1300, 1300));
            // A check teaches both ends a path MTU, which the next one would find.
            machine.sh(FORGET).unwrap();
        }
    }

    fn a_path_mtu_that_the_kernel_has_learnt_is_named(suite: Suite) {
        let machine = machine(suite, &[BRIDGE, REPORTED_1300]);
        rootless(&machine);
        // The upload sends a packet that is too big, and the router's report teaches the kernel
        // the size.
        let teach = "lab-probe put --timeout 60 --ca /run/site.pem https://download.example/upload; \
                     ip route get 203.0.113.80 | grep 'mtu 1300'";
        machine.sh(&format!("{teach}; ip netns exec box sh -euc \"{teach}\"")).unwrap();
        for from in EVERYWHERE {
            says(&machine, from, "pmtu-learnt", (1300, 1300));
        }
    }
}
