//! Changes of the table are atomic: no reader sees a half-made table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Kernel, Ruleset, TableState};

use crate::generation::Generations;
use crate::host::{Host, another_helper, ruleset};

/// The number of undisturbed reads without which the test proves nothing.
const ENOUGH: usize = 200;

/// Reads the table repeatedly while it changes.
struct Reader {
    stop: Arc<AtomicBool>,
    undisturbed: Arc<AtomicUsize>,
    reading: JoinHandle<Vec<Option<TableState>>>,
}

impl Reader {
    fn start(mut kernel: Netlink, generations: Generations) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let undisturbed = Arc::new(AtomicUsize::new(0));
        let (is_over, count) = (Arc::clone(&stop), Arc::clone(&undisturbed));
        let reading = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let Ok(held) = look(&mut kernel, &generations) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                if !seen.contains(&held) {
                    seen.push(held);
                }
            }
            seen
        });
        Self { stop, undisturbed, reading }
    }

    fn undisturbed(&self) -> usize {
        self.undisturbed.load(Ordering::Relaxed)
    }

    /// Stops reading, and returns every different state.
    fn end(self) -> Vec<Option<TableState>> {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.join().unwrap()
    }
}

/// The rules changed during a read.
struct Disturbed;

/// Reads the rules; an error if they changed meanwhile.
///
/// A read of a table takes many requests, and the kernel raises the generation in the middle of a
/// transaction. Before that, it has already lowered the table's count of objects. After it, the
/// kernel lists removed objects until the transaction is complete. A read then finds the new chains
/// but no rules, because it takes the old table for the requested one. Since version 1.1, nft
/// requests one table's rules like the helper does, and lists such states for any table. It
/// compares the generations, but does not wait for the end of a transaction.
fn look(kernel: &mut Netlink, generations: &Generations) -> Result<Option<TableState>, Disturbed> {
    let before = generations.now();
    generations.wait_for_the_transaction();
    // A dump that was interrupted too often is an error, and does not count as a read.
    let held = kernel.read_table();
    generations.wait_for_the_transaction();
    if generations.now() == before { Ok(held.unwrap()) } else { Err(Disturbed) }
}

#[test]
fn during_a_thousand_changes_a_reader_sees_only_before_and_after() {
    let Host { net, mut kernel } = Host::new();
    let states = [
        Ruleset::default(),
        ruleset(&["wg0"], &[]),
        ruleset(&["wg0", "wg1"], &[]),
        ruleset(&["wg1"], &[("wg0", 1300)]),
    ];
    let mut other = another_helper(&net);
    let expected = states.each_ref().map(|state| {
        kernel.apply(state).unwrap();
        other.read_table().unwrap()
    });
    let reader = Reader::start(other, net.run(Generations::open));
    let mut cycle = 0;
    while cycle < 1000 || reader.undisturbed() < ENOUGH {
        let can_go_on = cycle < 100_000 && !reader.reading.is_finished();
        assert!(can_go_on, "{} looks were undisturbed in {cycle} cycles", reader.undisturbed());
        kernel.apply(&states[1 + cycle % 3]).unwrap();
        // Alternates between changes of elements and of the structure: most kinds of change between
        // two states.
        if cycle % 4 != 0 {
            kernel.apply(&states[1 + cycle % 2]).unwrap();
        }
        kernel.apply(&states[0]).unwrap();
        cycle += 1;
    }
    let seen = reader.end();
    assert!(seen.len() > 1, "{seen:?}");
    for held in seen {
        assert!(expected.contains(&held), "a state in between was seen: {held:#?}");
    }
}

#[test]
fn every_change_is_one_transaction() {
    let Host { net, mut kernel } = Host::new();
    let generations = net.run(Generations::open);
    let states = [
        Ruleset::default(),
        ruleset(&["wg0"], &[]),
        ruleset(&["wg0", "wg1"], &[]),
        ruleset(&["wg1"], &[("wg0", 1300)]),
        ruleset(&[], &[("wg0", 1280), ("wg1", 1300)]),
    ];
    for from in &states {
        for to in &states {
            kernel.apply(from).unwrap();
            let before = generations.now();
            kernel.apply(to).unwrap();
            assert_eq!(generations.now() - before, u32::from(from != to), "from {from:?} to {to:?}");
        }
    }
}
