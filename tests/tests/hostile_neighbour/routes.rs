//! A host with as many routes as a full internet routing table had some years ago.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use airpods_lab::raw_bus::{RawConnection, kind};
use airpods_lab::{Place, on_both_buses};

use crate::host::{ALICE, Host, clamp_on};

const ROUTES: usize = 131_072;
/// More calls than the helper admits from one user.
const CONNECTIONS: usize = 8;
const CALLS: usize = 32;

/// Repeatedly requests a clamp of every link, and is refused because there is no polkit.
fn ask_in_vain(mut connection: RawConnection, ends: &AtomicBool) -> usize {
    let mut refused = 0;
    while !ends.load(Ordering::Relaxed) {
        let sent: Vec<u32> = (0..CALLS).map(|_| connection.send(&clamp_on("")).unwrap()).collect();
        let mut awaited = sent.len();
        while awaited > 0 {
            let received = connection.receive().unwrap();
            assert_ne!(received.kind, kind::RETURN, "{received:?}");
            // Skip signals, which the bus sends as well.
            let is_refusal = usize::from(received.kind == kind::ERROR);
            awaited -= is_refusal;
            refused += is_refusal;
        }
    }
    refused
}

on_both_buses! {
    fn refused_calls_on_a_host_with_very_many_routes_delay_no_other_caller(bus: BusDaemon) {
        let mut host = Host::new(bus);
        let last = ROUTES - 1;
        let line = r#"print "route add 172." 16 + int($1 / 65536) "." int($1 / 256) % 256 "." $1 % 256 "/32 dev wg0""#;
        host.sandbox.sh(&format!("seq 0 {last} | awk '{{ {line} }}' | ip -batch -")).unwrap();
        host.change(&clamp_on("wg0"));
        let alone = host.answer_delays(100);
        alone.assert_answered("alone");
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            let askers: Vec<_> = (0..CONNECTIONS).map(|_| host.enter(ALICE)).collect();
            let ends = &ends;
            let asking: Vec<_> = askers.into_iter().map(|alice| scope.spawn(move || ask_in_vain(alice, ends))).collect();
            let delays = host.answer_delays(100);
            ends.store(true, Ordering::Relaxed);
            let refused: usize = asking.into_iter().map(|asker| asker.join().unwrap()).sum();
            println!("{refused} calls refused meanwhile");
            assert!(refused > 0);
            delays.assert_served_as(&alone, "while a user is refused");
        });
        host.assert_same_helper_serves("the refusals");
    }
}
