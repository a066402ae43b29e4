//! `dns_servers = "auto"` with the real systemd-resolved, which has name servers for each link.

use airpods_lab::{Machine, Place};

use crate::launch::{ALONE, DNS, Launcher, service};
use crate::launch_behind_vpn::{VPN, broken};
use crate::on_both;

/// Starts systemd-resolved, and a name server of the VPN that knows a name the other server does
/// not.
fn resolved() -> String {
    format!(
        "systemd-run --quiet --unit vpn-dns ip netns exec neighbour \
             lab-probe serve-dns 198.51.100.1:53 --record inside.example=203.0.113.9
         systemctl start systemd-resolved.service
         ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
         resolvectl dns lan0 {DNS}; resolvectl dns wg0 198.51.100.1; resolvectl domain wg0 '~.'"
    )
}

on_both! {
    fn containers_ask_the_servers_that_systemd_resolved_has_for_the_link_their_traffic_leaves_by(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        machine.sh(VPN).unwrap();
        machine.sh(&resolved()).unwrap();
        let auto = "runtime.network.dns_servers = \"auto\"\n";
        let alice = Launcher::new(&machine, &format!("{ALONE}{auto}{}", service("one", 7001, "pids_limit = 512")));
        alice.sh("airpods start");
        assert_eq!(alice.inside("one-0", "resolve inside.example"), "203.0.113.9");
        assert_ne!(alice.inside("one-0", "resolve far.example"), "203.0.113.7", "it is another server that was asked");
        assert_eq!(broken(&alice), []);

        machine.sh("ip link delete wg0; ip route add default via 192.0.2.53").unwrap();
        alice.sh("airpods start --yes");
        assert_eq!(alice.inside("one-0", "resolve far.example"), "203.0.113.7");
    }
}
