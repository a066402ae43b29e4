//! Persistent clamps in a boot where the network comes up before the bus.

use airpods_lab::Place;
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::unit::until;

const KEPT: &str =
    r#"{"version":2,"auto":null,"clamps":{"wg0":{"mtu":null,"persist":true,"any-link":false}},"known":[]}"#;

const AUTO: &str = r#"{"version":2,"auto":{"mtu":null,"persist":true,"any-link":false},"clamps":{},"known":["vpn7"]}"#;

/// The commands that create a VPN link with an address, so that auto takes it.
fn tun(name: &str, number: u8) -> String {
    format!(
        "ip tuntap add mode tun name {name}; ip link set {name} mtu 1380 up; ip addr add 10.9.{number}.1/24 dev {name}"
    )
}

/// A machine with this persistent state file, at the beginning of its boot.
fn booting(kept: &str) -> Machine {
    let machine = Machine::new();
    machine.sandbox.stop_bus();
    machine.sandbox.write_file("/var/lib/airpods-helper/state.json", kept).unwrap();
    machine.sandbox.sh("chown -R airpods-helper:airpods-helper /var/lib/airpods-helper").unwrap();
    machine
}

#[test]
fn persistent_clamps_are_in_force_and_reported_before_there_is_a_bus() {
    let mut machine = booting(KEPT);
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]));
    until("it waits", || machine.log().contains("event=waiting-for-bus").then_some(()));
    machine.sandbox.start_bus().unwrap();
    let status = machine.client().status();
    assert_eq!(status.clamps.iter().map(|clamp| clamp.link.as_str()).collect::<Vec<_>>(), ["wg0"]);
}

#[test]
fn a_helper_that_waits_for_the_bus_ends_when_it_is_asked_to() {
    let mut machine = booting(KEPT);
    machine.unit.start(&machine.sandbox);
    until("it waits", || machine.log().contains("event=waiting-for-bus").then_some(()));
    machine.unit.signal(Signal::SIGTERM);
    assert!(machine.unit.ended().success());
    assert_eq!(
        machine.clamped(),
        Some(vec!["wg0".to_owned()]),
        "that it was a restart is for the service manager to say"
    );
}

#[test]
fn a_bus_that_is_started_again_finds_the_rules_in_force_all_the_while() {
    let mut machine = Machine::clamping();
    let reader = crate::reader::Reader::start(&machine.sandbox, "wg0");
    machine.sandbox.stop_bus();
    assert_eq!(machine.unit.ended().code(), Some(15), "the connection is lost");
    machine.unit.start(&machine.sandbox);
    machine.sandbox.start_bus().unwrap();
    assert_eq!(machine.client().off("wg1"), Ok(false));
    let seen = reader.stop(&machine.sandbox);
    assert!(seen.always_had("wg0"), "{seen:?}");
    assert_eq!(seen.announced, [""; 0], "between two looks either");
}

#[test]
fn a_persistent_auto_clamps_known_and_new_links_before_there_is_a_bus() {
    let mut machine = booting(AUTO);
    machine.unit.start(&machine.sandbox);
    let is_clamped = |machine: &mut Machine, link: &str| {
        machine.clamped().is_some_and(|links| links.iter().any(|clamped| clamped == link))
    };
    assert!(is_clamped(&mut machine, "vpn7"), "one that it knows, and that is not there yet");
    machine.sandbox.sh(&tun("vpn7", 7)).unwrap();
    machine.sandbox.sh(&tun("vpn8", 8)).unwrap();
    until("one that it does not know is clamped", || is_clamped(&mut machine, "vpn8").then_some(()));
    assert!(is_clamped(&mut machine, "vpn7"));
    until("it waits", || machine.log().contains("event=waiting-for-bus").then_some(()));
    assert!(!machine.log().contains("event=started"), "the premise: there is no bus");
    machine.sandbox.start_bus().unwrap();
    let status = machine.client().status();
    let links: Vec<_> = status.clamps.iter().map(|clamp| clamp.link.as_str()).collect();
    assert_eq!(links, ["vpn7", "vpn8", "wg0"]);
    assert_eq!(zruntime::block_on(machine.client().helper.clamps()).unwrap(), links, "also what is signalled");

    // The next boot: the helper has the names that it added without a bus.
    machine.unit.kill();
    machine.sandbox.sh("rm /run/airpods-helper/state.json; ip link del vpn7; ip link del vpn8").unwrap();
    machine.sandbox.stop_bus();
    machine.unit.start(&machine.sandbox);
    assert!(is_clamped(&mut machine, "vpn7") && is_clamped(&mut machine, "vpn8"), "{:?}", machine.clamped());
}

#[test]
fn a_vpn_that_comes_while_the_bus_is_away_is_clamped() {
    let mut machine = Machine::new();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.client().on_link(""), Ok(true));
    machine.sandbox.stop_bus();
    assert_eq!(machine.unit.ended().code(), Some(15), "the connection is lost");
    machine.unit.start(&machine.sandbox);
    machine.sandbox.sh(&tun("vpn7", 7)).unwrap();
    let both = Some(vec!["vpn7".to_owned(), "wg0".to_owned()]);
    until("it is clamped", || (machine.clamped() == both).then_some(()));
    assert!(
        !machine.log().lines().skip_while(|line| !line.contains("event=failed")).any(|line| line.contains("started"))
    );
}
