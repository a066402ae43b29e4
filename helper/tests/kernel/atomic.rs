//! Nobody ever sees a table that is half made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airpods_helper::kernel::{Kernel, Ruleset};
use airpods_lab::{Netns, Place};

use crate::host::{Host, ruleset, without_owner};

/// Lists the table again and again until told to stop; every different text it saw, and how often it looked.
fn reader(net: Arc<Netns>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<(Vec<String>, usize)> {
    std::thread::spawn(move || {
        let (mut seen, mut looks) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let text = without_owner(&net.sh("nft list ruleset").unwrap());
            if !seen.contains(&text) {
                seen.push(text);
            }
            looks += 1;
        }
        (seen, looks)
    })
}

#[test]
fn a_thousand_changes_under_a_readers_eyes_show_only_before_and_after() {
    let Host { net, mut kernel } = Host::new();
    let net = Arc::new(net);
    let states = [
        Ruleset::default(),
        ruleset(&["wg0"], &[]),
        ruleset(&["wg0", "wg1"], &[]),
        ruleset(&["wg1"], &[("wg0", 1300)]),
    ];
    let mut expected = Vec::new();
    for state in &states {
        kernel.apply(state).unwrap();
        expected.push(without_owner(&net.sh("nft list ruleset").unwrap()));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let reading = reader(Arc::clone(&net), Arc::clone(&stop));
    for cycle in 0..1000 {
        kernel.apply(&states[1 + cycle % 3]).unwrap();
        // Elements, the one structure and the other: most ways there are between two states.
        if cycle % 4 != 0 {
            kernel.apply(&states[1 + cycle % 2]).unwrap();
        }
        kernel.apply(&states[0]).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (seen, looks) = reading.join().unwrap();
    assert!(looks >= 20, "{looks} looks");
    for text in seen {
        assert!(expected.contains(&text), "a state in between was seen:\n{text}");
    }
}
