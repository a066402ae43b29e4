//! 256 connections with 128 calls each, of every kind.

use std::time::Duration;

use airpods_lab::on_both_buses;
use airpods_lab::raw_bus::RawMessage;

use crate::flood::Flood;
use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{sound, unsound};

/// How long one kind of message is sent, at most.
const EACH: Duration = Duration::from_secs(4);

/// What a message of the flood may cost a debug build of the helper, which gets to root's call after all of them. It is time on a processor,
/// and so nearly the same on a busy machine: 25 us, and 60 us beside other tests. It was 108 us while every call was read to its end, and
/// root waited for 5 s.
const EACH_MESSAGE: Duration = Duration::from_micros(90);

/// Kinds that grow most in the helper, each alone: the longest answer, all properties, the longest message.
const ALONE: &[&str] = &["Introspect", "GetAll", "64 KiB"];

on_both_buses! {
    fn one_user_at_every_limit_of_the_bus_leaves_the_helper_small(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on(""));
        host.assert_stayed_small("before");
        let kinds = || sound().into_iter().chain(unsound());
        for what in ALONE {
            let (_, message) = kinds().find(|(name, _)| name == what).unwrap();
            let flood = Flood::start(ALICE, &host.socket(), &[message]);
            flood.wait_for(2, EACH);
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
        let mixed: Vec<RawMessage> = sound().into_iter().map(|(_, message)| message).collect();
        let before = host.helper_time();
        let flood = Flood::start(ALICE, &host.socket(), &mixed);
        flood.wait_for(1, EACH);
        host.assert_new_link_is_clamped("in the flood");
        host.answer_delays(10).assert_answered("in the flood");
        host.assert_new_link_is_clamped("later in the flood");
        host.assert_same_helper_serves("the flood");
        let (sent, spent) = (flood.end(), host.helper_time().saturating_sub(before));
        println!("{sent} messages, {spent:?} of the helper");
        let each = spent / u32::try_from(sent).unwrap();
        assert!(each <= EACH_MESSAGE, "{each:?} for each of {sent} messages, more than {EACH_MESSAGE:?}");
        // Behind what was still on its way.
        host.assert_same_helper_serves("the flood's end");
        host.assert_stayed_small("the flood");
        host.answer_delays(100).assert_served_as(&alone, "afterwards");
        host.assert_small_again();
    }
}
