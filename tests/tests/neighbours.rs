//! Other programs' rules beside ours: nothing that the helper does changes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use airpods_lab::{Image, Place, Sandbox, TIMEOUT, neighbours};

/// A host with the bus, the helper and a VPN link. root needs no polkit.
fn host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.install_helper().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.sh("ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up").unwrap();
    sandbox.sh("ip addr add 10.8.0.2/24 dev wg0").unwrap();
    sandbox
}

fn clamp(sandbox: &Sandbox, words: &str) -> String {
    sandbox.sh(&format!("airpods net clamp {words} 2>&1")).unwrap()
}

fn end_helper(sandbox: &Sandbox, signal: &str) {
    let owner = "busctl --system call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";
    let pid = sandbox.sh(&format!("{owner} GetConnectionUnixProcessID s org.airpods.Helper1")).unwrap();
    let pid = pid.trim().trim_start_matches("u ").to_owned();
    sandbox.sh(&format!("kill -{signal} {pid}")).unwrap();
    let start = Instant::now();
    while sandbox.read_file(&format!("/proc/{pid}/status")).is_ok() {
        assert!(start.elapsed() < TIMEOUT, "the helper does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs through all changes of the helper, and compares the other programs' rules after each.
fn live(sandbox: &Sandbox) {
    let before = neighbours::others(sandbox).unwrap();
    assert!(before.len() > 500, "the premise: there are rules\n{before}");
    let ours = || sandbox.sh("nft list tables").unwrap().contains("table inet airpods");
    let same = |step: &str, has_table: bool| {
        assert_eq!(neighbours::others(sandbox).unwrap(), before, "after {step}");
        assert_eq!(ours(), has_table, "after {step}");
    };
    for words in ["on wg0", "on wg0 --mtu 1300", "on", "status", "off", "on wg9 --persist"] {
        clamp(sandbox, words);
        same(words, true);
    }
    end_helper(sandbox, "KILL");
    same("a crash", true);
    clamp(sandbox, "status");
    same("the start after it", true);
    sandbox.sh("ip link del wg0; ip tuntap add mode tun name wg0; ip link set wg0 up").unwrap();
    same("a reconnect", true);
    clamp(sandbox, "off wg0");
    same("off", true);
    end_helper(sandbox, "TERM");
    same("a stop", false);
    clamp(sandbox, "on");
    clamp(sandbox, "reset");
    same("a reset", false);
}

#[test]
fn docker_networkmanager_and_scripts_with_either_iptables_stay_as_they_are() {
    let host = host();
    neighbours::add_rules(&host).unwrap();
    live(&host);
}

#[test]
fn podmans_network_stays_as_it_is() {
    let host = host();
    Image::serving("localhost/lab:1", 80).import(&host).unwrap();
    host.sh("podman network create web && podman run -d --network web -p 8080:80 localhost/lab:1").unwrap();
    live(&host);
}

#[test]
fn firewalld_stays_as_it_is() {
    let host = host();
    let _firewalld = host.start_firewalld("wg0").unwrap();
    live(&host);
}
