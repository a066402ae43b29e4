//! 256 connections with 128 calls each, of every kind.

use std::time::Duration;

use airpods_lab::raw_bus::RawMessage;
use airpods_lab::{BusDaemon, on_both_buses};

use crate::flood::Flood;
use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{sound, unsound};

/// Time limit for sending one kind of message.
const EACH: Duration = Duration::from_secs(4);

/// Time limit of a bus for a burst. On an idle machine it takes dbus-broker a second, and
/// dbus-daemon eleven.
const BURST: Duration = Duration::from_secs(120);

/// The suffix of the names of kinds that expect no reply.
const NO_REPLY: &str = "and no reply wanted";

/// Kinds that are also sent alone: one for each code path of the helper, and those with the longest
/// answer and message.
const ALONE: &[&str] = &["Introspect", "GetAll", "64 KiB", "Ping", "GetStatus", "ClampOn", "an unknown path"];

/// The number of these that dbus-daemon gets: it takes longer for each.
/// `helper/tests/bus_flood.rs` sends each kind alone over fewer connections there.
const ALONE_ON_DBUS_DAEMON: usize = 3;

/// Kinds that load the bus more than the helper: its policy blocks them, or it has to pass on very
/// many bytes.
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
        let taken = flood.wait_for(1, BURST);
        // The answer comes after all messages of the flood.
        host.assert_same_helper_serves("the burst");
        let spent = host.helper_time().saturating_sub(before);
        println!("{:?} of the helper for each of them", spent / u32::try_from(taken.max(1)).unwrap());
        host.assert_new_link_is_clamped("in the flood");
        // dbus-daemon searches its list of all open calls for each message, so an answer takes it
        // longer than it takes dbus-broker.
        let count = if bus == BusDaemon::DbusBroker { 500 } else { 100 };
        host.answer_delays(count).assert_served_as(&alone, "in the flood");
        host.assert_same_helper_serves("the flood");
        flood.end();
        // This call is queued behind the messages still in flight.
        host.assert_same_helper_serves("the flood's end");
        host.assert_stayed_small("the flood");
        host.answer_delays(100).assert_served_as(&alone, "afterwards");
        host.assert_small_again();
    }

    // A bus limits these messages only by their bytes, and accepts them faster than it delivers
    // them. root's call waits behind the accepted ones.
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
        // The answer comes after all messages of the flood.
        host.assert_same_helper_serves("the flood");
        let spent = host.helper_time().saturating_sub(before);
        println!("{:?} of the helper for each of them", spent / u32::try_from(taken.max(1)).unwrap());
        host.assert_stayed_small("the flood");
        // The bus reads and delivers the rest of the closed sockets.
        host.answer_delays(100).assert_answered("behind what was still on its way");
        host.answer_delays(100).assert_served_as(&alone, "afterwards");
        host.assert_small_again();
    }
}
