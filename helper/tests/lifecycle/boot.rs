//! What is kept, in a boot: the network comes up before the bus.

use airpods_lab::Place;
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::unit::until;

const KEPT: &str =
    r#"{"version":1,"auto":null,"clamps":[{"link":"wg0","mtu":null,"persist":true,"any-link":false}],"known":[]}"#;

/// A machine on which `wg0` was kept, as its boot begins.
fn booting() -> Machine {
    let machine = Machine::new(true);
    machine.sandbox.stop_bus();
    machine.sandbox.write_file("/var/lib/airpods-helper/state.json", KEPT).unwrap();
    machine.sandbox.sh("chown -R airpods-helper:airpods-helper /var/lib/airpods-helper").unwrap();
    machine
}

#[test]
fn kept_clamps_are_in_force_and_said_to_be_before_there_is_a_bus() {
    let mut machine = booting();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.held(), Some(vec!["wg0".to_owned()]));
    until("it waits", || machine.log().contains("event=waiting-for-bus").then_some(()));
    machine.sandbox.start_bus().unwrap();
    let status = machine.client().status();
    assert_eq!(status.clamps.iter().map(|clamp| clamp.link.as_str()).collect::<Vec<_>>(), ["wg0"]);
}

#[test]
fn a_helper_that_waits_for_the_bus_ends_when_it_is_asked_to() {
    let mut machine = booting();
    machine.unit.start(&machine.sandbox);
    until("it waits", || machine.log().contains("event=waiting-for-bus").then_some(()));
    machine.unit.signal(Signal::SIGTERM);
    assert!(machine.unit.ended().success());
    assert!(machine.unit.keeps_something());
    assert_eq!(machine.held(), Some(vec!["wg0".to_owned()]), "that it was a restart is for the service manager to say");
}

#[test]
fn a_bus_that_is_started_again_finds_the_rules_in_force_all_the_while() {
    let mut machine = Machine::clamping(true);
    let reader = crate::reader::Reader::start(&machine.sandbox, "wg0");
    machine.sandbox.stop_bus();
    assert_eq!(machine.unit.ended().code(), Some(15), "the connection is lost");
    machine.unit.start(&machine.sandbox);
    machine.sandbox.start_bus().unwrap();
    assert_eq!(machine.client().off("wg1"), Ok(false));
    assert!(reader.stop().always_had("wg0"));
}
