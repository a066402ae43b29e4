//! The neighbours on a real systemd: services that begin by removing every rule there is, and find ours to be none of theirs.

use airpods_lab::Place;

use crate::faults::{Reader, clamped};
use crate::host::{helper_pid, is_in_force};
use crate::on_both;

on_both! {
    fn neither_a_flush_nor_nftables_service_nor_firewalld_takes_the_rules_away_for_a_moment(suite: Suite) {
        let machine = clamped(suite);
        let before = helper_pid(&machine);
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
        let (gaps, seen) = reader.gaps();
        assert_eq!(gaps, 0, "{seen}");
        assert_eq!(helper_pid(&machine), before);
    }
}
