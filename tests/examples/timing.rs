//! Scratch.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
use airpods_lab::*;
fn main() {
    for _ in 0..4 {
        let t = std::time::Instant::now();
        let world = World::new(WorldPlan::with_hole(BlackHole::None)).unwrap();
        println!("world {:?}", t.elapsed());
        let m = world.add_machine("wide").unwrap();
        println!("machine {:?}", t.elapsed());
        for place in [world.sandbox().seat(), &m] {
            for f in FAMILIES {
                for k in 0..2 {
                    let t = std::time::Instant::now();
                    let r = if k == 0 { world.download(place, f) } else { world.upload(place, f) };
                    println!("{f:?} {k} {:?} {:?}", t.elapsed(), r);
                }
            }
        }
    }
}
