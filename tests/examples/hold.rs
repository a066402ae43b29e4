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
    world.sandbox().install_helper().unwrap();
    world
        .sandbox()
        .add_polkit_rule(
            "50-alice",
            r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.airpods.") == 0 && subject.user == "alice") return polkit.Result.YES;
});"#,
        )
        .unwrap();
    world.sandbox().start_bus().unwrap();
    world.sandbox().start_polkit().unwrap();
    world.image("docker.io/ollama/ollama:latest", 11434).unwrap().import(world.sandbox()).unwrap();
    println!("ready");
    std::thread::sleep(std::time::Duration::from_secs(100000));
}
