//! A boot with a persistent clamp: the rules are in the kernel before the VPN is up.

use airpods_lab::{Machine, Place, Suite};

use crate::host::{clamp, eventually};
use crate::on_both;

/// A table that counts the handshakes that leave through the VPN, by MSS: that of a clamp to MTU
/// 1380, or another. Its chain runs after the clamp's.
const COUNTER: &str = "table inet watch {
    chain after {
        type filter hook postrouting priority 300;
        oifname \"wg0\" tcp flags syn tcp option maxseg size 1340 counter comment \"clamped\"
        oifname \"wg0\" tcp flags syn tcp option maxseg size != 1340 counter comment \"not clamped\"
    }
}
";

/// A VPN as early in the boot as possible, and a container that uses it at once. The container is
/// behind a bridge of MTU 1500, so it announces an MSS of 1460 bytes. Its first packet is refused
/// as soon as it is sent, because the VPN has no peer.
const VPN: &str = "[Unit]
DefaultDependencies=no
After=network-pre.target local-fs.target systemd-modules-load.service
Wants=network-pre.target
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=nft -f /etc/watch.nft
ExecStart=sysctl -q -w net.ipv4.ip_forward=1
ExecStart=ip netns add box
ExecStart=ip link add to-box type veth peer name eth0 netns box
ExecStart=ip address add 10.77.0.1/24 dev to-box
ExecStart=ip link set to-box up
ExecStart=ip -n box address add 10.77.0.2/24 dev eth0
ExecStart=ip -n box link set eth0 up
ExecStart=ip -n box route add default via 10.77.0.1
ExecStart=ip link add wg0 type wireguard
ExecStart=ip address add 10.9.0.2/24 dev wg0
ExecStart=ip link set wg0 mtu 1380 up
ExecStart=-timeout 60 ip netns exec box bash -c '>/dev/tcp/10.9.0.1/80'
[Install]
WantedBy=multi-user.target
";

/// A longer start limit, because an emulated machine is slow. The test makes no claim about the
/// duration of a boot.
const START_TIMEOUT: &str = "[Service]\nTimeoutStartSec=5min\n";

/// The number of packets that a rule of the counting table has counted.
fn counted(machine: &Machine, what: &str) -> u64 {
    let rules = machine.sh("nft list table inet watch").unwrap();
    let rule = rules.lines().find(|line| line.contains(&format!("\"{what}\""))).unwrap();
    let words: Vec<&str> = rule.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    words[at + 1].parse().unwrap()
}

/// The last output of a machine before it goes down may not arrive.
#[test]
fn the_laboratory_waits_for_the_machine_that_comes_back_and_not_for_an_answer_to_the_order_to_reboot() {
    let machine = Machine::installed(Suite::Debian12).unwrap();
    let mute = "#!/bin/sh\nif [ \"$1\" = reboot ]; then /usr/bin/systemctl \"$@\"; exec sleep infinity; fi\nexec /usr/bin/systemctl \"$@\"\n";
    machine.write_file("/usr/local/bin/systemctl", mute).unwrap();
    machine.sh("chmod 755 /usr/local/bin/systemctl; touch /run/before").unwrap();
    machine.reboot().unwrap();
    machine.sh("test ! -e /run/before").unwrap();
}

on_both! {
    fn a_clamp_that_was_kept_is_in_force_after_a_reboot_before_the_vpn_sends_its_first_handshake(suite: Suite) {
        let machine = Machine::installed(suite).unwrap();
        machine.write_file("/etc/watch.nft", COUNTER).unwrap();
        machine.write_file("/etc/systemd/system/vpn.service", VPN).unwrap();
        for unit in ["airpods-helper", "airpods-restore"] {
            machine.write_file(&format!("/etc/systemd/system/{unit}.service.d/timeout.conf"), START_TIMEOUT).unwrap();
        }
        machine.sh("systemctl enable vpn.service; airpods net clamp on wg0 --persist; airpods net clamp on wg1").unwrap();
        assert_eq!(clamp(&machine, "wg0").unwrap().0, "waiting");
        machine.sh("sync").unwrap();
        machine.reboot().unwrap();

        assert_eq!(machine.sh("systemctl --failed --no-legend").unwrap(), "");
        assert!(counted(&machine, "clamped") > 0, "the premise: the container has called");
        assert_eq!(counted(&machine, "not clamped"), 0);
        eventually("the clamp is active", || clamp(&machine, "wg0").is_some_and(|(state, ..)| state == "active"));
        assert_eq!(clamp(&machine, "wg1"), None, "what was not to be kept is gone");
        // Check systemd's timestamps too, and that no ordering cycle made systemd drop a unit.
        let at = |unit: &str, property: &str| -> u64 {
            machine.sh(&format!("systemctl show --property {property} --value {unit}")).unwrap().parse().unwrap()
        };
        let ready = at("airpods-helper.service", "ActiveEnterTimestampMonotonic");
        assert!(ready < at("network-pre.target", "ActiveEnterTimestampMonotonic"));
        assert!(ready < at("vpn.service", "ExecMainStartTimestampMonotonic"));
        assert_eq!(machine.sh("journalctl --boot --grep 'ordering cycle' --quiet || true").unwrap(), "");
    }
}
