//! The helper's life on a machine: links come and go, and so does the helper.

use airpods_lab::{Machine, Place};

use crate::host::{clamp, eventually, helper_pid, is_in_force, wireguard};
use crate::on_both;

fn active(machine: &Machine, link: &str, origin: &str, mtu: u64) -> bool {
    clamp(machine, link) == Some(("active".into(), origin.into(), Some(mtu)))
}

on_both! {
    fn auto_follows_a_vpn_that_appears_and_reconnects_with_another_index_and_mtu(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.sh("airpods net clamp on").unwrap();
        wireguard(&machine, "wg0", 1380);
        eventually("a clamp on the link that appeared", || active(&machine, "wg0", "auto", 1380));
        assert!(is_in_force(&machine, "wg0"));
        machine.sh("ip link delete wg0; ip link add other type wireguard").unwrap();
        eventually("the end of the clamp on the link that went", || !active(&machine, "wg0", "auto", 1380));
        wireguard(&machine, "wg0", 1300);
        eventually("a clamp on the link that came back", || active(&machine, "wg0", "auto", 1300));
        assert!(is_in_force(&machine, "wg0"));
    }

    fn a_clamp_does_not_follow_a_link_that_is_renamed(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        wireguard(&machine, "wg0", 1380);
        machine.sh("airpods net clamp on wg0").unwrap();
        assert!(active(&machine, "wg0", "named", 1380));
        machine.sh("ip link set wg0 down; ip link set wg0 name wg9; ip link set wg9 up").unwrap();
        eventually("a clamp that waits", || clamp(&machine, "wg0").is_some_and(|(state, ..)| state == "waiting"));
        assert_eq!(clamp(&machine, "wg9"), None);
        assert!(!is_in_force(&machine, "wg9"));
    }

    fn auto_clamps_a_link_that_is_renamed_by_the_name_it_has_now(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        wireguard(&machine, "wg0", 1380);
        machine.sh("airpods net clamp on").unwrap();
        assert!(active(&machine, "wg0", "auto", 1380));
        machine.sh("ip link set wg0 down; ip link set wg0 name wg9; ip link set wg9 up").unwrap();
        eventually("a clamp on the new name", || active(&machine, "wg9", "auto", 1380));
        assert!(is_in_force(&machine, "wg9"));
        assert_ne!(clamp(&machine, "wg0").map(|(state, ..)| state), Some("active".into()));
    }

    fn stopping_the_helper_leaves_nothing(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        let before = machine.sh("nft list ruleset").unwrap();
        wireguard(&machine, "wg0", 1380);
        machine.sh("airpods net clamp on wg0").unwrap();
        machine.sh("systemctl stop airpods-helper.service").unwrap();
        assert_eq!(machine.sh("nft list ruleset").unwrap(), before);
        assert_eq!(machine.sh("ls -A /run/airpods-helper 2>/dev/null || true").unwrap(), "");
        assert_eq!(machine.sh("systemctl --failed --no-legend").unwrap(), "");
    }

    fn link_names_from_callers_are_escaped_in_every_journal_field(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        let call = "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1";
        let refused = machine.sh(&format!("! {call} ClampOff s \"$(printf '\\033]0;x\\007\\nLINK=forged')\" 2>&1")).unwrap();
        assert!(refused.contains("a link name has"), "{refused}");
        let export = || machine.sh("journalctl --sync; journalctl --unit airpods-helper --output export").unwrap();
        let escaped = "\nLINK=\\u{1b}]0;x\\u{7}\\nLINK=forged\n";
        eventually("the entry of the call", || export().contains(escaped));
        let exported = export();
        assert!(!exported.contains(['\u{1b}', '\u{7}']) && !exported.contains("\nLINK=forged"), "{exported}");
    }

    fn a_helper_that_keeps_nothing_leaves_by_itself(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.sh("airpods net clamp status").unwrap();
        assert!(helper_pid(&machine).is_some());
        eventually("the helper's leaving", || helper_pid(&machine).is_none());
        assert_eq!(machine.sh("systemctl show --property Result --value airpods-helper.service").unwrap(), "success");
    }
}
