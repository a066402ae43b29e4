//! What all of it is for, with everything real: the kernel's WireGuard, a podman that belongs to root, and a user who does not.

use std::time::Duration;

use airpods_lab::machine::IMAGE;
use airpods_lab::{Image, Machine, Place};

use crate::launch::{ALONE, Launcher, service};
use crate::on_both;

/// The stocked machine's neighbour becomes a VPN server with an internet beyond, and never says that a packet is too big.
const VPN: &str = "
    ip netns add internet
    ip -n neighbour link add far type veth peer name eth0 netns internet
    ip -n neighbour address add 203.0.113.1/24 dev far
    ip -n neighbour link set far up
    ip -n internet address add 203.0.113.80/24 dev eth0
    ip -n internet link set eth0 up
    ip -n internet route add default via 203.0.113.1
    ip netns exec neighbour sysctl -qw net.ipv4.ip_forward=1
    sysctl -qw net.ipv4.ip_forward=1
    umask 077
    wg genkey > /run/near; wg genkey > /run/far
    ip link add wg0 type wireguard
    ip -n neighbour link add peer0 type wireguard
    wg set wg0 private-key /run/near peer $(wg pubkey < /run/far) endpoint 192.0.2.53:51820 allowed-ips 0.0.0.0/0
    ip netns exec neighbour \\
        wg set peer0 private-key /run/far listen-port 51820 peer $(wg pubkey < /run/near) allowed-ips 0.0.0.0/0
    ip address add 198.51.100.2/24 dev wg0
    ip -n neighbour address add 198.51.100.1/24 dev peer0
    ip link set wg0 mtu 1380 up
    ip -n neighbour link set peer0 mtu 1380 up
    ip route add 203.0.113.0/24 dev wg0
    ip netns exec neighbour nft 'table inet lab {
        chain silence {
            type filter hook output priority filter
            icmp type destination-unreachable icmp code frag-needed drop
        }
    }'
    systemd-run --quiet --unit lab-http ip netns exec internet lab-probe serve-http 80
";

/// root's podman for a group of users, as an administrator sets it up.
const SOCKET: &str = "
    groupadd podman; usermod --append --groups podman alice
    systemctl --quiet unmask podman.socket podman.service
    mkdir -p /etc/systemd/system/podman.socket.d
    printf '[Socket]\\nSocketGroup=podman\\nSocketMode=0660\\n' > /etc/systemd/system/podman.socket.d/group.conf
    echo 'd /run/podman 0750 root podman' > /etc/tmpfiles.d/podman.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/podman.conf
    systemctl daemon-reload; systemctl start podman.socket
";

/// Downloads from within the container: how many bytes came, or how far it got.
fn download(machine: &Machine, bytes: u32) -> String {
    let get = format!("podman exec one-0 /lab-probe get http://203.0.113.80/download?bytes={bytes} 2>&1 || true");
    machine.seat().patient(Duration::from_secs(300)).sh(&get).unwrap()
}

on_both! {
    fn a_download_from_a_service_that_hung_behind_a_vpn_completes_once_it_is_clamped(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        machine.sh(SOCKET).unwrap();
        Image::serving(IMAGE, 80).import(&machine.seat().patient(Duration::from_secs(600))).unwrap();
        machine.sh(VPN).unwrap();
        let socket = "runtime.podman_url = \"unix:///run/podman/podman.sock\"\n";
        let alice = Launcher::new(&machine, &format!("{ALONE}{socket}{}", service("one", 7001, "pids_limit = 512")));
        alice.sh("airpods start");
        assert_eq!(machine.sh("podman ps --format '{{.Names}}'").unwrap(), "one-0");
        assert_eq!(alice.sh("podman ps --quiet"), "", "her own podman was used");

        assert!(download(&machine, 100).contains("\"bytes\":100"), "{}", download(&machine, 100));
        let hung = download(&machine, 1 << 20);
        assert!(hung.contains("timed out"), "{hung}");
        machine.sh("airpods net clamp on").unwrap();
        let completed = download(&machine, 1 << 20);
        assert!(completed.contains("\"bytes\":1048576"), "{completed}");

        alice.sh("airpods stop --remove --yes");
        machine.sh("airpods net clamp off").unwrap();
        assert_eq!(machine.sh("podman ps --all --quiet; nft list tables | grep airpods || true").unwrap(), "");
    }
}
