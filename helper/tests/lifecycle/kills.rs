//! A thousand crashes at random moments.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::private_bus::Client;
use crate::reader::Reader;
use crate::unit::until;

const KILLS: usize = 1000;

/// Time limit for a new helper to restore the table and report readiness. Of 100 starts 99 must
/// keep it: on a busy machine a process may not run at all for a while.
const CONVERGES_WITHIN: Duration = Duration::from_secs(1);

/// Switches the clamp of a second link on and off until `stop` is set, and counts the served calls.
fn traffic(client: Client, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for on in [true, false] {
                let answer = zruntime::block_on(async {
                    if on {
                        client.helper.clamp_on("wg1", HashMap::new()).await
                    } else {
                        client.helper.clamp_off("wg1").await
                    }
                });
                if answer.is_ok() {
                    served.fetch_add(1, Ordering::Relaxed);
                } else {
                    // While the helper is away, calls fail.
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    })
}

#[test]
fn killed_at_a_thousand_random_points_the_table_is_the_old_or_the_new_one_and_a_restart_converges() {
    let mut machine = Machine::clamping();
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let calling = traffic(machine.client(), Arc::clone(&stop), Arc::clone(&served));
    let reader = Reader::start(&machine.sandbox, "wg0");
    let mut converged_after = vec![Duration::from_millis(20)];
    let mut started = Instant::now();
    for round in 0..KILLS {
        // Of four kills, one comes before the helper is ready, one while it joins the bus, and two
        // during calls.
        if round % 4 == 0 {
            let usually = (*converged_after.last().unwrap()).min(Duration::from_millis(100));
            thread::sleep(usually.mul_f64(fastrand::f64()));
        } else {
            machine.unit.ready();
            converged_after.push(started.elapsed());
            let before = served.load(Ordering::Relaxed);
            if round % 4 > 1 {
                until("a call is served", || (served.load(Ordering::Relaxed) > before).then_some(()));
            }
            thread::sleep(Duration::from_micros(fastrand::u64(..8000)));
        }
        machine.unit.kill();
        machine.unit.spawn(&machine.sandbox);
        started = Instant::now();
    }
    machine.unit.ready();
    stop.store(true, Ordering::Relaxed);
    calling.join().unwrap();
    let seen = reader.stop(&machine.sandbox);
    let both = || Some(vec!["wg0".to_owned(), "wg1".to_owned()]);
    let one = || Some(vec!["wg0".to_owned()]);
    for state in &seen.states {
        assert!([one(), both()].contains(state), "{seen:?}");
    }
    assert_eq!(seen.states.len(), 2, "the premise: the second link came and went, {seen:?}");
    let is_of_the_second = |line: &String| line.ends_with("element inet airpods links { \"wg1\" }");
    assert!(!seen.announced.is_empty() && seen.announced.iter().all(is_of_the_second), "{:?}", seen.announced);
    converged_after.sort_unstable();
    let slow = converged_after.iter().filter(|after| **after > CONVERGES_WITHIN).count();
    println!(
        "half have converged after {:?}, all after {:?}",
        converged_after[converged_after.len() / 2],
        converged_after.last()
    );
    assert!(slow * 100 <= converged_after.len(), "{slow} of {}: {converged_after:?}", converged_after.len());

    let client = machine.client();
    assert_eq!(client.off("wg1").map(drop), Ok(()));
    assert_eq!(machine.clamped(), one());
    let status = client.status();
    assert_eq!(status.clamps.iter().map(|clamp| clamp.link.as_str()).collect::<Vec<_>>(), ["wg0"]);
}
