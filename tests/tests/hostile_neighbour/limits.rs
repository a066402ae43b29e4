//! 256 connections with 128 calls each, of every kind.

use std::time::Duration;

use airpods_lab::raw_bus::RawMessage;
use airpods_lab::{BusDaemon, on_both_buses};

use crate::flood::Flood;
use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{sound, unsound};

/// How long one kind of message is sent, at most.
const EACH: Duration = Duration::from_secs(4);

/// How long dbus-broker may take for a burst, at most. On a machine with nothing else to do it is a second.
const BURST: Duration = Duration::from_secs(120);

/// How the names of kinds end to which no reply is wanted.
const NO_REPLY: &str = "and no reply wanted";

/// Kinds that are sent alone as well: one of each way through the helper, and the longest answer and message.
const ALONE: &[&str] = &["Introspect", "GetAll", "64 KiB", "Ping", "GetStatus", "ClampOn", "an unknown path"];

/// How many of them dbus-daemon gets: it looks through its list of all open calls for each message, so that one burst takes it a
/// minute or more. `helper/tests/bus_flood.rs` sends each kind alone over fewer connections there.
const ALONE_ON_DBUS_DAEMON: usize = 3;

/// Kinds that take the bus's time and not the helper's: its policy does not let them through, or it has to hand on very many bytes.
const FOR_THE_BUS: &[&str] = &[
    "an unknown interface",
    "no interface",
    "an answer to nothing",
    "an error about nothing",
    "64 KiB",
    "a signal of 64 KiB",
    "a path of 16 KiB",
];

fn of_kind(wanted: impl Fn(&str) -> bool) -> Vec<RawMessage> {
    let kinds = sound().into_iter().chain(unsound());
    kinds.filter(|(what, _)| wanted(what)).map(|(_, message)| message).collect()
}

on_both_buses! {
    fn one_user_at_every_limit_of_the_bus_leaves_the_helper_small(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on(""));
        host.assert_stayed_small("before");
        let count = if bus == BusDaemon::DbusBroker { ALONE.len() } else { ALONE_ON_DBUS_DAEMON };
        let alone = ALONE.iter().take(count).map(|what| (*what, of_kind(|kind| kind == *what)));
        for (what, messages) in alone.chain([("every kind", of_kind(|_| true))]) {
            let flood = Flood::start(ALICE, &host.socket(), &messages);
            flood.wait_for(1, EACH);
            host.assert_stayed_small(&format!("in the middle of {what}"));
            host.assert_same_helper_serves(what);
            let sent = flood.end();
            host.assert_same_helper_serves(what);
            host.assert_stayed_small(&format!("{what}, {sent} times"));
        }
        host.assert_small_again();
    }

    fn one_user_at_every_limit_of_the_bus_keeps_neither_root_nor_links_waiting(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on(""));
        let alone = host.answer_delays(100);
        alone.assert_answered("alone");
        host.assert_new_link_is_clamped("alone");
        let mixed: Vec<_> = sound().into_iter().filter(|(what, _)| !FOR_THE_BUS.contains(what)).collect();
        let mixed: Vec<RawMessage> = mixed.into_iter().map(|(_, message)| message).collect();
        let before = host.helper_time();
        let flood = Flood::start(ALICE, &host.socket(), &mixed);
        host.assert_new_link_is_clamped("while the flood rises");
        let taken = flood.wait_for(1, if bus == BusDaemon::DbusBroker { BURST } else { EACH });
        // Behind all that has been sent.
        host.assert_same_helper_serves("the burst");
        let spent = host.helper_time().saturating_sub(before);
        host.assert_new_link_is_clamped("in the flood");
        if bus == BusDaemon::DbusBroker {
            println!("{:?} of the helper for each of them", spent / u32::try_from(taken.max(1)).unwrap());
            host.answer_delays(500).assert_served_as(&alone, "in the flood");
        } else {
            // dbus-daemon looks through its list of all open calls for each message, so that it is slow itself, and hands on about 10
            // small messages to a connection before everybody else has their turn.
            host.answer_delays(20).assert_answered("in the flood");
        }
        host.assert_same_helper_serves("the flood");
        flood.end();
        // Behind what was still on its way.
        host.assert_same_helper_serves("the flood's end");
        host.assert_stayed_small("the flood");
        host.answer_delays(100).assert_served_as(&alone, "afterwards");
        host.assert_small_again();
    }

    // A bus bounds these by their bytes alone, and takes more of them than it hands on: root's call waits behind what it has taken.
    fn one_user_who_wants_no_replies_leaves_the_helper_small_and_links_clamped_and_root_served_behind_it(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on(""));
        let alone = host.answer_delays(100);
        host.assert_new_link_is_clamped("alone");
        let unanswered = of_kind(|what| what.ends_with(NO_REPLY) || what == "a signal");
        let before = host.helper_time();
        let flood = Flood::start(ALICE, &host.socket(), &unanswered);
        flood.wait_for(1, EACH);
        host.assert_new_link_is_clamped("in the flood");
        host.assert_stayed_small("in the flood");
        let taken = flood.end();
        // Behind all that has been sent.
        host.assert_same_helper_serves("the flood");
        let spent = host.helper_time().saturating_sub(before);
        println!("{:?} of the helper for each of them", spent / u32::try_from(taken.max(1)).unwrap());
        host.assert_stayed_small("the flood");
        // The bus reads what was still in the closed sockets, and hands it on.
        host.answer_delays(100).assert_answered("behind what was still on its way");
        host.answer_delays(100).assert_served_as(&alone, "afterwards");
        host.assert_small_again();
    }
}
