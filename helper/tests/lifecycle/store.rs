//! What a reader sees of crashes, restarts and stops, with a descriptor store and without one.

use std::time::Duration;

use airpods_helper::kernel::Kernel;
use airpods_lab::Place;

use crate::machine::Machine;
use crate::reader::Reader;
use crate::unit::until;

fn only(link: &str) -> Vec<String> {
    vec![link.to_owned()]
}

#[test]
fn with_a_store_neither_a_crash_nor_a_restart_leaves_an_instant_without_the_rules_or_their_counters() {
    let mut machine = Machine::clamping(true);
    machine.handshake();
    let counted = machine.kernel.held().unwrap().unwrap().counters;
    assert!(counted.ipv4_out > 0);
    let reader = Reader::start(&machine.sandbox, "wg0");
    for _ in 0..5 {
        machine.unit.kill();
        machine.unit.start(&machine.sandbox);
        machine.unit.restart(&machine.sandbox);
    }
    assert_eq!(machine.client().status().counters, machine.kernel.held().unwrap().unwrap().counters);
    let seen = reader.stop(&machine.sandbox);
    assert_eq!((seen.states, seen.counters_lost), (vec![Some(only("wg0"))], 0));
    assert_eq!(seen.announced, [""; 0], "between two looks either");
    assert!(machine.kernel.held().unwrap().unwrap().counters.ipv4_out >= counted.ipv4_out);
    assert_eq!(machine.client().off("wg0"), Ok(true), "what was taken back can still be changed");
    assert_eq!(machine.held(), None);
}

#[test]
fn stopped_it_leaves_no_trace_although_its_socket_was_kept() {
    let mut machine = Machine::clamping(true);
    assert!(machine.unit.keeps_something());
    machine.unit.stop(&machine.sandbox);
    assert_eq!(machine.sandbox.sh("nft list ruleset").unwrap(), "");
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.held(), None, "what was not to be kept is not remembered");
}

#[test]
fn without_a_store_the_rules_go_with_the_helper_and_come_back_with_it() {
    let mut machine = Machine::clamping(false);
    let reader = Reader::start(&machine.sandbox, "wg0");
    machine.unit.kill();
    assert_eq!(machine.held(), None);
    machine.unit.start(&machine.sandbox);
    until("the rules are back", || (machine.held() == Some(only("wg0"))).then_some(()));
    let seen = reader.stop(&machine.sandbox);
    assert!(seen.states.contains(&None), "the premise: they were gone, {seen:?}");
    // With their owner they go unannounced; whoever listens learns it from what comes after.
    assert_eq!(seen.announced.first().map(String::as_str), Some("add table inet airpods"), "{seen:?}");
    // It takes some milliseconds; a second is what is promised, and the rest is for a machine that has much else to do.
    assert!(seen.longest_between < Duration::from_secs(5), "{seen:?}");
}

#[test]
fn a_gap_that_nobody_sees_is_announced_all_the_same() {
    let machine = Machine::clamping(true);
    let (reader, client) = (Reader::start(&machine.sandbox, "wg0"), machine.client());
    for (link, on) in [("wg0", false), ("wg0", true), ("wg1", true), ("wg0", false), ("wg0", true)] {
        assert_eq!(if on { client.on_link(link) } else { client.off(link) }, Ok(true));
    }
    let seen = reader.stop(&machine.sandbox);
    for gone in ["delete table inet airpods", "delete element inet airpods links { \"wg0\" }"] {
        assert!(seen.announced.iter().any(|change| change == gone), "{gone}: {:?}", seen.announced);
    }
}

#[test]
fn a_crash_before_the_helper_is_ready_loses_nothing() {
    let mut machine = Machine::clamping(true);
    let reader = Reader::start(&machine.sandbox, "wg0");
    for _ in 0..5 {
        machine.unit.kill();
        machine.unit.spawn(&machine.sandbox);
    }
    machine.unit.ready();
    let seen = reader.stop(&machine.sandbox);
    assert!(seen.always_had("wg0"), "{seen:?}");
    assert_eq!(seen.announced, [""; 0], "between two looks either");
}

#[test]
fn rules_that_changed_while_nobody_kept_them_are_put_right_when_the_socket_is_taken_back() {
    let mut machine = Machine::clamping(true);
    machine.unit.kill();
    // As after a crash between the change of the rules and that of the file.
    machine.sandbox.sh("sed -i 's/\"wg0\"/\"wg7\"/g' /run/airpods-helper/state.json").unwrap();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.held(), Some(only("wg7")));
}

#[test]
fn a_service_manager_that_watches_what_it_keeps_is_asked_not_to() {
    let mut machine = Machine::new(true);
    machine.unit.start(&machine.sandbox);
    assert!(machine.unit.has_said("FDPOLL=0"), "{:?}", machine.unit.said);
    assert!(machine.unit.keeps_something());
}
