//! The main job of airpods from a new user's view. Everything is real: the kernel's WireGuard,
//! root's podman, an ordinary user, and the administrator's password.

use airpods_lab::machine::{IMAGE, Login};
use airpods_lab::{Image, Machine, Place, terminal};
use serde_json::Value;

use crate::launch::Launcher;
use crate::on_both;

/// A new user's changes to the file of `config init`: local images, and one podman for all
/// services.
const CHANGES: &str = r#"
    airpods config set runtime.podman_url unix:///run/podman/podman.sock
    airpods config set services.ollama.image localhost/lab:1
    airpods config set services.ollama.command_args '["serve-http", "11434"]'
    airpods config set services.open-webui.image localhost/lab:1
    airpods config set services.open-webui.command_args '["serve-http", "8080"]'
    airpods config set services.comfyui.enabled false
"#;

/// Makes the stocked machine's neighbour a VPN server with an internet beyond. It never reports
/// that a packet is too big.
pub(crate) const VPN: &str = "
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
    ip route replace default dev wg0
    ip netns exec neighbour nft 'table inet lab {
        chain silence {
            type filter hook output priority filter
            icmp type destination-unreachable icmp code frag-needed drop
        }
    }'
    systemd-run --quiet --unit lab-http ip netns exec internet lab-probe serve-http 80
";

/// Gives a group of users access to root's podman, as an administrator would.
const SOCKET: &str = "
    groupadd podman; usermod --append --groups podman alice
    systemctl --quiet unmask podman.socket podman.service
    mkdir -p /etc/systemd/system/podman.socket.d
    printf '[Socket]\\nSocketGroup=podman\\nSocketMode=0660\\n' > /etc/systemd/system/podman.socket.d/group.conf
    echo 'd /run/podman 0750 root podman' > /etc/tmpfiles.d/podman.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/podman.conf
    systemctl daemon-reload; systemctl start podman.socket
";

/// Lists everything that airpods could leave on a machine. `clean --all` must remove all of it,
/// even the image, which airpods could pull again.
const LEFT: &str = "
    podman images --format '{{.Repository}}:{{.Tag}}'
    podman ps --all --format '{{.Names}}'; podman volume ls --quiet; podman network ls --format '{{.Name}}'
    nft list tables | grep airpods || true
    find /home/alice -path '*airpods*'
";

/// Downloads from within the container, and returns the number of bytes or the step that failed.
fn download(machine: &Machine, bytes: u32) -> String {
    let get = format!("podman exec ollama-0 /lab-probe get http://203.0.113.80/download?bytes={bytes} 2>&1 || true");
    machine.sh(&get).unwrap()
}

/// The findings that doctor reports as broken, and the cure of each.
pub(crate) fn broken(alice: &Launcher) -> Vec<(String, String)> {
    let output = alice.alice.command("airpods").args(["doctor", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let found = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "broken");
    let found: Vec<_> = found.map(|finding| (text(finding, "code"), text(finding, "cure"))).collect();
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{report}");
    found
}

/// Runs a line as alice at a terminal, and types the administrator's password.
fn with_the_password(machine: &Machine, line: &str) {
    let line = format!("{line}; echo code=$?");
    let screen = terminal::in_a_terminal(&machine.login("alice", Login::Remote), &line, "password\n").unwrap();
    assert!(screen.contains("code=0"), "{screen}");
}

on_both! {
    fn a_newcomer_whose_downloads_hang_behind_a_vpn_is_led_to_the_clamp_and_leaves_nothing_behind(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        machine.sh(SOCKET).unwrap();
        Image::serving(IMAGE, 80).import(&machine).unwrap();
        machine.sh(VPN).unwrap();
        let before = machine.sh(LEFT).unwrap();

        let alice = Launcher::without_config(&machine);
        alice.sh("airpods config init");
        alice.sh(CHANGES.trim());
        alice.sh("airpods config validate");
        let told = alice.sh("airpods start");
        assert!(told.contains("airpods net clamp on"), "behind a VPN, start says nothing of the clamp: {told}");
        assert!(alice.is_healthy("ollama") && alice.is_healthy("open-webui"), "{}", alice.status());
        assert_eq!(alice.sh("podman ps --quiet"), "", "her own podman was used");

        assert!(download(&machine, 100).contains("\"bytes\":100"), "{}", download(&machine, 100));
        let hung = download(&machine, 1 << 20);
        assert!(hung.contains("timed out"), "{hung}");
        let cure = "airpods net clamp on";
        assert_eq!(broken(&alice), [("mtu-black-hole".to_owned(), cure.to_owned())]);
        with_the_password(&machine, cure);
        let completed = download(&machine, 1 << 20);
        assert!(completed.contains("\"bytes\":1048576"), "{completed}");
        assert_eq!(broken(&alice), []);

        assert!(alice.sh("airpods logs ollama -n 5").contains("listen"));
        alice.sh("airpods stop --remove --yes");
        with_the_password(&machine, "airpods net clamp off");
        alice.sh("airpods clean --all --volumes --no-backup-config --force");
        assert_eq!(machine.sh(LEFT).unwrap(), before.replace(IMAGE, "").trim());
    }
}
