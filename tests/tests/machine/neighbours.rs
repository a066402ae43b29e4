//! Other firewall programs on a real systemd. Some services flush every rule at their start, and
//! our rules must come back. Their own rules must stay unchanged, even in a saved ruleset.

use airpods_lab::machine::IMAGE;
use airpods_lab::neighbours::FIREWALLD;
use airpods_lab::{Machine, Place, neighbours};

use crate::faults::clamped;
use crate::host::{eventually, helper_pid, is_in_force, wireguard};
use crate::on_both;

on_both! {
    fn after_a_flush_nftables_service_or_firewalld_the_rules_are_back_and_every_saved_ruleset_loads(suite: Suite) {
        let machine = clamped(suite);
        let before = helper_pid(&machine);
        machine.sh("nft 'table ip fw { chain c { ip saddr 10.0.0.1 drop; }; }'").unwrap();
        let others = machine.sh("nft list table ip fw").unwrap();
        machine.sh("(echo flush ruleset; nft list ruleset) > /etc/nftables.conf").unwrap();
        for neighbour in [
            "nft -f /etc/nftables.conf",
            "systemctl start nftables.service",
            "systemctl reload nftables.service",
            "systemctl restart nftables.service",
            "systemctl stop nftables.service; systemctl start nftables.service",
        ] {
            machine.sh(neighbour).unwrap();
            eventually("the clamp is back", || is_in_force(&machine, "wg0"));
            assert_eq!(machine.sh("nft list table ip fw").unwrap(), others, "after {neighbour}");
        }
        for neighbour in [
            "nft flush ruleset",
            "systemctl start firewalld.service",
            &format!("{FIREWALLD} reload; {FIREWALLD} completeReload"),
            "systemctl stop firewalld.service",
        ] {
            machine.sh(neighbour).unwrap();
            eventually("the clamp is back", || is_in_force(&machine, "wg0"));
        }
        assert_eq!(helper_pid(&machine), before);
        // The helper is stopped, and starts after the ruleset is loaded.
        machine.sh("airpods net clamp on wg0 --persist; systemctl stop airpods-helper").unwrap();
        machine.sh("systemctl restart nftables.service; systemctl start airpods-helper").unwrap();
        eventually("the clamp is back", || is_in_force(&machine, "wg0"));
        assert_eq!(machine.sh("nft list table ip fw").unwrap(), others);
    }

    fn a_ruleset_that_was_saved_with_our_table_loads_at_the_next_boot(suite: Suite) {
        let machine = clamped(suite);
        machine.sh("airpods net clamp on wg0 --persist").unwrap();
        machine.sh("nft 'table ip fw { chain c { ip saddr 10.0.0.1 drop; }; }'").unwrap();
        let others = machine.sh("nft list table ip fw").unwrap();
        machine.sh("(echo flush ruleset; nft list ruleset) > /etc/nftables.conf; systemctl enable nftables.service").unwrap();
        machine.reboot().unwrap();
        assert_eq!(machine.sh("systemctl --failed --no-legend").unwrap(), "");
        assert_eq!(machine.sh("nft list table ip fw").unwrap(), others);
        eventually("the clamp is in force", || is_in_force(&machine, "wg0"));
    }

    fn the_whole_life_of_the_package_leaves_the_rules_of_docker_podman_firewalld_and_both_iptables_as_they_are(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        // Start firewalld first, because its start removes the rules of both variants of iptables.
        machine.sh("systemctl start firewalld.service; until firewall-cmd --quiet --state; do sleep 1; done").unwrap();
        neighbours::add_rules(&machine).unwrap();
        machine.as_lingering("alice").sh(&format!("podman save --quiet --output /tmp/image {IMAGE}")).unwrap();
        machine.sh("podman load --quiet --input /tmp/image; podman network create web").unwrap();
        machine.sh(&format!("podman run --detach --network web --publish 8080:80 {IMAGE}")).unwrap();
        let before = neighbours::others(&machine).unwrap();
        for premise in ["firewalld", "nm-shared-eth9", "DOCKER-USER", "ppp0", "8080"] {
            assert!(before.contains(premise), "the premise: {premise} is there\n{before}");
        }
        wireguard(&machine, "wg0", 1380);
        for step in [
            "airpods net clamp on",
            "airpods net clamp on wg0 --mtu 1300 --persist",
            "systemctl kill --signal KILL airpods-helper",
            "airpods net clamp status",
            "ip link delete wg0",
            "airpods net clamp off",
            "systemctl restart airpods-helper",
            "airpods net clamp reset",
            "airpods net clamp on wg0",
            "systemctl stop airpods-helper",
            "airpods net clamp on",
            "dpkg --purge airpods airpods-helper",
        ] {
            machine.sh(step).unwrap();
            assert_eq!(neighbours::others(&machine).unwrap(), before, "after {step}");
        }
        assert!(!machine.sh("nft list tables").unwrap().contains("airpods"));
    }
}
