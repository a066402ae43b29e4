//! SIGTERM at random moments.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use airpods_dbus::{Error, ErrorKind};
use nix::sys::signal::Signal;
use zbus::fdo;

use crate::machine::Machine;
use crate::private_bus::Client;
use crate::reader::Reader;

/// Switches the clamp of `wg1` on and off until `stop` is set. A call that is not served must get
/// `ShuttingDown` from the helper, or `ServiceUnknown` from the bus. Returns the number of served
/// calls, and of those that the helper refused.
fn traffic(client: Client, stop: Arc<AtomicBool>) -> thread::JoinHandle<(usize, usize)> {
    thread::spawn(move || {
        let (mut served, mut turned_away) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            for on in [true, false] {
                let answer = zruntime::block_on(async {
                    if on {
                        client.helper.clamp_on("wg1", HashMap::new()).await
                    } else {
                        client.helper.clamp_off("wg1").await
                    }
                });
                match answer {
                    Ok(_) => served += 1,
                    Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::ServiceUnknown(_)) => {
                        thread::sleep(Duration::from_millis(1));
                    }
                    Err(error) => {
                        let kind = Error::from_bus(&error).unwrap_or_else(|| panic!("{error:?}")).kind();
                        assert_eq!(kind, ErrorKind::ShuttingDown);
                        turned_away += 1;
                    }
                }
            }
        }
        (served, turned_away)
    })
}

#[test]
fn restarted_in_the_middle_of_changes_it_ends_at_once_with_a_whole_table_and_no_call_is_lost() {
    let mut machine = Machine::clamping();
    let stop = Arc::new(AtomicBool::new(false));
    let calling: Vec<_> = (0..3).map(|_| traffic(machine.client(), Arc::clone(&stop))).collect();
    let reader = Reader::start(&machine.sandbox, "wg0");
    for _ in 0..30 {
        thread::sleep(Duration::from_micros(fastrand::u64(..30_000)));
        let asked = Instant::now();
        machine.unit.signal(Signal::SIGTERM);
        assert!(machine.unit.ended().success());
        // The helper takes half a second at most. The limit leaves room for a busy machine.
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        machine.unit.start(&machine.sandbox);
    }
    stop.store(true, Ordering::Relaxed);
    let counts: Vec<_> = calling.into_iter().map(|calling| calling.join().unwrap()).collect();
    assert!(counts.iter().any(|(served, _)| *served > 0), "the premise: calls are served, {counts:?}");
    let seen = reader.stop(&machine.sandbox);
    let states = [vec!["wg0".to_owned()], vec!["wg0".to_owned(), "wg1".to_owned()]].map(Some);
    assert!(seen.states.iter().all(|state| states.contains(state)), "{seen:?}");
    let is_of_the_second = |line: &String| line.ends_with("element inet airpods links { \"wg1\" }");
    assert!(!seen.announced.is_empty() && seen.announced.iter().all(is_of_the_second), "{:?}", seen.announced);
}
