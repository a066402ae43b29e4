//! One message of each kind: the helper keeps running after any content.

use airpods_lab::raw_bus::kind;
use airpods_lab::{Place, on_both_buses};

use crate::host::{ALICE, Host, clamp_on};
use crate::messages::{sound, unsound};

on_both_buses! {
    fn no_message_ends_the_helper_or_changes_a_rule(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on("wg0"));
        let before = host.sandbox.sh("nft list ruleset").unwrap();
        for (what, message) in sound().into_iter().chain(unsound()) {
            // Each message has its own connection, because the bus may close it.
            let mut alice = host.enter(ALICE);
            let sent = alice.send(&message).and_then(|_| alice.settle());
            println!("{what}: {}", sent.map_or_else(|error| format!("the bus ends it ({error})"), |()| "sent".into()));
            host.assert_same_helper_serves(what);
        }
        let after = host.sandbox.sh("nft list ruleset").unwrap();
        assert_eq!(after, before);
        host.assert_small_again();
    }

    fn every_sound_call_has_an_answer_and_those_who_may_not_change_are_refused(bus: BusDaemon) {
        let host = Host::new(bus);
        for (what, message) in sound() {
            let wants_answer = message.kind == kind::CALL && message.flags & 1 == 0;
            if wants_answer {
                let answer = host.enter(ALICE).call(&message).unwrap_or_else(|error| panic!("{what}: {error}"));
                let is_named = answer.error.as_ref().is_some_and(|name| name.contains('.'));
                assert!(answer.kind == kind::RETURN || is_named, "{what}: {answer:?}");
                let may_change = what.starts_with("Clamp") || what == "Reset";
                // The answer is `false` if nothing changed.
                assert!(!may_change || is_named || answer.body == [0; 4], "{what}: {answer:?}");
            }
        }
    }
}
