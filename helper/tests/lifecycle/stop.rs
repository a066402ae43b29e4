//! Crashes, restarts and stops, observed by a reader of the rules.

use airpods_helper::kernel::Kernel;
use airpods_lab::Place;
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::reader::Reader;
use crate::unit::Unit;

fn only(link: &str) -> Vec<String> {
    vec![link.to_owned()]
}

#[test]
fn neither_a_crash_nor_a_restart_leaves_an_instant_without_the_rules_or_their_counters() {
    let mut machine = Machine::clamping();
    machine.handshake();
    let counted = machine.kernel.read_table().unwrap().unwrap().counters;
    assert!(counted.ipv4_out > 0);
    let reader = Reader::start(&machine.sandbox, "wg0");
    for _ in 0..3 {
        machine.unit.crash(&machine.sandbox);
        machine.unit.start(&machine.sandbox);
        machine.unit.restart(&machine.sandbox);
    }
    assert_eq!(machine.client().status().counters, machine.kernel.read_table().unwrap().unwrap().counters);
    let seen = reader.stop(&machine.sandbox);
    assert_eq!((seen.states, seen.counters_lost), (vec![Some(only("wg0"))], 0));
    assert_eq!(seen.announced, [""; 0], "between two looks either");
    assert!(machine.kernel.read_table().unwrap().unwrap().counters.ipv4_out >= counted.ipv4_out);
    assert_eq!(machine.client().off("wg0"), Ok(true), "what was found can still be changed");
    assert_eq!(machine.clamped(), None);
}

#[test]
fn stopped_it_leaves_no_rule() {
    let mut machine = Machine::clamping();
    machine.sandbox.sh("nft add table ip other").unwrap();
    machine.unit.stop(&machine.sandbox);
    assert_eq!(machine.sandbox.sh("nft list ruleset").unwrap(), "table ip other {\n}");
    assert!(machine.log().contains("event=table-removed cause=stopped"), "{}", machine.log());
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.clamped(), None, "what was not to be kept is not remembered");
}

#[test]
fn stopped_while_it_waits_to_be_restarted_after_a_crash_it_leaves_no_rule_either() {
    let mut machine = Machine::clamping();
    machine.unit.kill();
    *machine.unit.job.lock().unwrap() = Some("stop");
    Unit::after_stop(&machine.sandbox, "signal", "KILL");
    assert_eq!(machine.clamped(), None);
}

#[test]
fn given_up_it_leaves_no_rule_and_where_systemd_cannot_be_asked_a_success_is_a_stop_and_a_failure_a_restart() {
    for (result, status, has_bus, stays) in [
        ("exit-code", "11", true, false),
        ("exit-code", "14", true, true),
        ("exit-code", "17", false, false),
        ("exit-code", "15", false, true),
        ("success", "TERM", false, false),
        ("success", "TERM", true, false),
    ] {
        let mut machine = Machine::clamping();
        machine.unit.kill();
        if !has_bus {
            machine.sandbox.stop_bus();
        }
        Unit::after_stop(&machine.sandbox, result, status);
        assert_eq!(machine.clamped().is_some(), stays, "{result} {status} {has_bus}");
    }
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let machine = Machine::clamping();
    for signal in [Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM] {
        machine.unit.signal(signal);
        assert_eq!(machine.client().on_link("wg0"), Ok(false), "{signal}: the clamp is there and it answers");
    }
}

#[test]
fn a_gap_between_two_reads_is_announced_all_the_same() {
    let machine = Machine::clamping();
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
    let mut machine = Machine::clamping();
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
fn rules_that_changed_without_a_helper_are_repaired_at_the_start() {
    let mut machine = Machine::clamping();
    machine.unit.kill();
    // Simulates a crash between the change of the rules and the write of the file.
    machine.sandbox.sh("sed -i 's/\"wg0\"/\"wg7\"/g' /run/airpods-helper/state.json").unwrap();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.clamped(), Some(only("wg7")));
}

#[test]
fn a_saved_ruleset_loads_with_the_helper_up_and_down_and_the_clamp_is_right_afterwards() {
    let mut machine = Machine::clamping();
    machine.sandbox.sh("nft 'table ip fw { chain c { ip saddr 10.0.0.1 drop; }; }'").unwrap();
    let others = machine.sandbox.sh("nft list table ip fw").unwrap();
    machine.sandbox.sh("(echo flush ruleset; nft list ruleset) > /run/saved.nft").unwrap();
    let is_right = |machine: &mut Machine, what: &str| {
        crate::unit::until(what, || {
            let right = machine.kernel.read_table().unwrap().is_some_and(|held| held.is_ours);
            (right && machine.clamped() == Some(only("wg0"))).then_some(())
        });
        assert_eq!(machine.sandbox.sh("nft list table ip fw").unwrap(), others, "{what}");
    };
    machine.sandbox.sh("nft -f /run/saved.nft").unwrap();
    is_right(&mut machine, "loaded while it is up");
    machine
        .sandbox
        .sh("sed 1d /run/saved.nft > /run/appended.nft; nft delete table ip fw; nft -f /run/appended.nft")
        .unwrap();
    is_right(&mut machine, "loaded on top of what is there");
    machine.unit.kill();
    machine.sandbox.sh("nft -f /run/saved.nft").unwrap();
    machine.unit.start(&machine.sandbox);
    is_right(&mut machine, "loaded while it is down");
    machine.unit.stop(&machine.sandbox);
    machine.sandbox.sh("nft -f /run/saved.nft").unwrap();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.clamped(), None, "nothing is desired any more, and what was ours does not come back");
    assert_eq!(machine.sandbox.sh("nft list table ip fw").unwrap(), others);
}
