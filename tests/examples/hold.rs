//! Scratch.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
use airpods_lab::*;
fn main() {
    let hole = match std::env::args().nth(1).as_deref() {
        Some("AB") => BlackHole::AB,
        Some("N") => BlackHole::NarrowPath { mtu: 1300 },
        _ => BlackHole::A,
    };
    let world = World::new(WorldPlan::with_hole(hole)).unwrap();
    world.add_machine("wide").unwrap();
    println!("{}", world.sandbox().init());
    std::thread::sleep(std::time::Duration::from_secs(100000));
}
