//! Nobody ever sees a table that is half made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Held, Kernel, Ruleset};

use crate::generation::Generations;
use crate::host::{Host, another_helper, ruleset};

/// Looks that must have been undisturbed for the test to mean something.
const ENOUGH: usize = 200;

/// Reads the table again and again, beside its reconciler.
struct Reader {
    stop: Arc<AtomicBool>,
    undisturbed: Arc<AtomicUsize>,
    reading: JoinHandle<Vec<Option<Held>>>,
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

    /// Every different state that was seen.
    fn end(self) -> Vec<Option<Held>> {
        self.stop.store(true, Ordering::Relaxed);
        self.reading.join().unwrap()
    }
}

/// The rules changed during a look.
struct Disturbed;

/// The rules, if nobody changed them during the look.
///
/// A table is read in many questions, and the generation's number is raised in the middle of a transaction. Before that,
/// the table's count of its objects is lowered already. After it, the kernel goes on listing what the transaction removes
/// until that has made its way through it: a look then finds the new chains and, taking the old table for the one it
/// asked for, no rules. nft from 1.1 on, which asks for one table's rules as the helper does, lists such a thing for
/// anybody's tables: it compares the generations, but does not wait for a transaction's end.
fn look(kernel: &mut Netlink, generations: &Generations) -> Result<Option<Held>, Disturbed> {
    let before = generations.now();
    generations.wait_for_the_transaction();
    // A dump that was torn too often is an error, and no look.
    let held = kernel.held();
    generations.wait_for_the_transaction();
    if generations.now() == before { Ok(held.unwrap()) } else { Err(Disturbed) }
}

#[test]
fn a_thousand_changes_under_a_readers_eyes_show_only_before_and_after() {
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
        other.held().unwrap()
    });
    let reader = Reader::start(other, net.run(Generations::open));
    let mut cycle = 0;
    while cycle < 1000 || reader.undisturbed() < ENOUGH {
        let can_go_on = cycle < 100_000 && !reader.reading.is_finished();
        assert!(can_go_on, "{} looks were undisturbed in {cycle} cycles", reader.undisturbed());
        kernel.apply(&states[1 + cycle % 3]).unwrap();
        // Elements, the one structure and the other: most ways there are between two states.
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
