//! The neighbours on a real systemd: services that begin by removing every rule there is, and find ours to be none of theirs; and
//! all of theirs, which we leave as they are.

use airpods_lab::machine::IMAGE;
use airpods_lab::{Machine, Place, neighbours};

use crate::faults::{Reader, clamped, handle};
use crate::host::{helper_pid, is_in_force, wireguard};
use crate::on_both;

on_both! {
    fn neither_a_flush_nor_nftables_service_nor_firewalld_takes_the_rules_away_for_a_moment(suite: Suite) {
        let machine = clamped(suite);
        let before = (helper_pid(&machine), handle(&machine));
        let reader = Reader::start(&machine);
        for neighbour in [
            "nft flush ruleset",
            "systemctl start nftables.service; systemctl reload nftables.service; systemctl restart nftables.service",
            "systemctl stop nftables.service",
            "systemctl start firewalld.service",
            "firewall-cmd --quiet --reload; firewall-cmd --quiet --complete-reload",
            "systemctl stop firewalld.service",
        ] {
            machine.sh(neighbour).unwrap();
            assert!(is_in_force(&machine, "wg0"), "after {neighbour}");
        }
        let (gaps, seen, _) = reader.gaps();
        assert_eq!(gaps, 0, "{seen}");
        assert_eq!((helper_pid(&machine), handle(&machine)), before);
    }

    fn the_whole_life_of_the_package_leaves_the_rules_of_docker_podman_firewalld_and_both_iptables_as_they_are(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        // First firewalld, which takes away what both iptables have when it starts.
        machine.sh("systemctl start firewalld.service; until firewall-cmd --quiet --state; do sleep 1; done").unwrap();
        neighbours::lay(&machine).unwrap();
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
            "dpkg --purge airpods",
        ] {
            machine.sh(step).unwrap();
            assert_eq!(neighbours::others(&machine).unwrap(), before, "after {step}");
        }
        assert!(!machine.sh("nft list tables").unwrap().contains("airpods"));
    }
}
