//! The package is installed on a machine, and its helper works there with no more rights than it
//! needs.

use airpods_lab::machine::PACKAGE_FILES;
use airpods_lab::{Machine, Place};

use crate::host::{helper_pid, is_in_force, wireguard};
use crate::on_both;

/// Lists all units that run, all listeners, the helper's files and bus names, and all packet filter
/// rules.
const RUNNING: &str = "systemctl list-units --plain --no-legend --type service,socket,timer,path --state active |
    grep -v ^lab-agent; ss -Hlntu; ls -A /var/lib/airpods-helper /run/airpods-helper 2>&1 || true; busctl list --acquired |
    grep airpods || true; nft list ruleset";

on_both! {
    fn installing_starts_nothing_and_opens_nothing(suite: Suite) {
        let machine = Machine::bare(suite).unwrap();
        assert!(machine.sh("command -v airpods airpods-helper").is_err());
        let before = machine.sh(RUNNING).unwrap();
        machine.install_packages().unwrap();
        assert_eq!(machine.sh(RUNNING).unwrap(), before);
        assert_eq!(helper_pid(&machine), None);
        assert_eq!(machine.sh("systemctl --failed --no-legend").unwrap(), "");
    }

    fn the_first_clamp_works_though_the_kernel_has_not_loaded_nf_tables(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        wireguard(&machine, "wg0", 1380);
        assert_eq!(machine.sh("lsmod | grep ^nf_tables || true").unwrap(), "");
        machine.sh("airpods net clamp on").unwrap();
        assert!(is_in_force(&machine, "wg0"));
        assert_ne!(machine.sh("lsmod | grep ^nf_tables || true").unwrap(), "");
    }

    fn a_kernel_without_nf_tables_is_reported_and_the_helper_not_restarted_in_a_loop(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.write_file("/etc/modprobe.d/none.conf", "install nf_tables /bin/false\n").unwrap();
        wireguard(&machine, "wg0", 1380);
        let text = machine.sh("airpods net clamp on 2>&1 || echo code=$?").unwrap();
        assert!(text.contains("nf_tables") && text.contains("(KernelUnsupported)") && text.ends_with("code=9"), "{text}");
        let text = machine.sh("airpods net clamp status 2>&1 || echo code=$?").unwrap();
        assert!(text.contains("nf_tables"), "{text}");
        let life = machine.sh("systemctl show --property NRestarts,Result airpods-helper.service").unwrap();
        assert_eq!(life, "Result=success\nNRestarts=0");
    }

    fn the_helper_is_a_user_of_its_own_with_only_cap_net_admin(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.sh("airpods net clamp on wg0").unwrap();
        let pid = helper_pid(&machine).unwrap();
        let rights = machine.sh(&format!("grep -E '^(Cap(Prm|Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/{pid}/status")).unwrap();
        let net_admin = "0000000000001000";
        let only = format!("CapPrm:\t{net_admin}\nCapEff:\t{net_admin}\nCapBnd:\t{net_admin}\nNoNewPrivs:\t1\nSeccomp:\t2");
        assert_eq!(rights, only);
        assert_eq!(machine.sh(&format!("stat -c %U:%G /proc/{pid}")).unwrap(), "airpods-helper:airpods-helper");
    }

    fn the_unit_leaves_less_open_than_systemd_calls_ok(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        let judged = machine.sh("systemd-analyze security --no-pager --threshold=11 airpods-helper.service");
        assert!(judged.is_ok(), "{}", machine.sh("systemd-analyze security --no-pager airpods-helper.service || true").unwrap());
        // The machine has no `man`, so the check cannot look up the pages.
        let verify = "systemd-analyze verify --man=no airpods-helper.service airpods-restore.service 2>&1 || echo failed";
        assert_eq!(machine.sh(verify).unwrap(), "");
    }

    fn a_status_call_does_not_restore_the_rules_of_a_removed_package(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        wireguard(&machine, "wg0", 1380);
        machine.sh("airpods net clamp on wg0 --persist").unwrap();
        // Any user may ask for the status, and the call starts the helper.
        let ask = "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1 GetStatus";
        machine.write_file("/run/ask", format!("while :; do {ask} >/dev/null 2>&1 || true; done\n")).unwrap();
        machine.sh("for one in 1 2 3; do systemd-run --quiet --unit ask-$one --uid nobody sh /run/ask; done").unwrap();
        machine.sh("dpkg --remove airpods-helper").unwrap();
        machine.sh("systemctl stop 'ask-*'").unwrap();
        assert_eq!(machine.sh("nft list ruleset; pgrep airpods || true; ls /run/airpods-helper 2>/dev/null || true").unwrap(), "");
        // Removing the package also removed the mask that kept the helper from starting meanwhile.
        machine.install_packages().unwrap();
        assert!(machine.sh("airpods net clamp status").unwrap().contains("wg0"));
    }

    fn a_removed_package_takes_its_rules_along_and_a_purged_one_everything(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.sh(&format!("rm {PACKAGE_FILES}")).unwrap();
        wireguard(&machine, "wg0", 1380);
        machine.sh("airpods net clamp on wg0 --persist").unwrap();
        assert!(is_in_force(&machine, "wg0"));
        machine.sh("dpkg --remove airpods-helper").unwrap();
        assert_eq!(machine.sh("nft list ruleset; pgrep airpods || true").unwrap(), "");
        machine.sh("dpkg --purge airpods airpods-helper").unwrap();
        let left = "find / -xdev -path /proc -prune -o -name '*airpods*' -print; ls -d /run/*airpods* 2>/dev/null || true;
            getent passwd airpods-helper || true; getent group airpods-helper || true";
        assert_eq!(machine.sh(left).unwrap(), "");
        assert_eq!(machine.sh("systemctl --failed --no-legend; systemctl list-units --all --no-legend '*airpods*'").unwrap(), "");
    }
}
