//! What measuring costs a start behind a VPN whose path is good: nobody should have to wait for it.

use std::time::{Duration, Instant};

use airpods_lab::path::{Rules, Server};
use airpods_lab::{Family, Image, PathWorld, Place, Seat};

use super::figures::{Series, table};
use super::{BenchError, Result};

/// Timed rounds.
const ROUNDS: usize = 15;

const IMAGE: &str = "registry.example/lab/model:1";

/// One service whose image comes from the server to measure with. Nobody waits for the service itself.
const SERVICE: &str = r#"
services.ollama.enabled = false
services.open-webui.enabled = false
services.comfyui.enabled = false
[services.model]
image = "registry.example/lab/model:1"
command_args = ["serve-http", "7001"]
[runtime.network]
measure = "#;

/// The two configurations, and what each is called.
const CONTENDERS: [(&str, &str, &str); 2] = [
    ("/etc/airpods-unmeasured.toml", "false", "airpods start, measure = false"),
    ("/etc/airpods-measured.toml", "true", "airpods start, in a network not measured before"),
];

/// Measures, and prints the table.
///
/// # Errors
/// [`BenchError`], when the world cannot be built or a start fails.
pub(super) fn start() -> Result<()> {
    let mut world = PathWorld::new(Rules::default(), 1)?;
    world.serve(Server::Rustls)?;
    let sandbox = world.sandbox();
    let address = Server::Rustls.address(Family::V4);
    sandbox.sh(&format!("echo '{address} registry.example' >> /etc/hosts"))?;
    for (path, measures, _) in CONTENDERS {
        sandbox.write_file(path, format!("{SERVICE}{measures}\n"))?;
    }
    let alice = sandbox.as_user("alice");
    Image::serving(IMAGE, 7001).import(&alice)?;
    let mut times = [const { Vec::new() }; 2];
    for round in 0..=ROUNDS {
        for ((path, _, _), times) in CONTENDERS.iter().zip(&mut times) {
            let took = one(&alice, path)?;
            // In the first turn files are read for the first time.
            times.extend((round > 0).then_some(took));
        }
    }
    let series = CONTENDERS.iter().zip(&times).filter_map(|((_, _, name), times)| Series::new(*name, times));
    println!("{}", table("ms", &series.collect::<Vec<_>>(), CONTENDERS[0].2));
    Ok(())
}

/// From before the process is made to after its end. What was launched and remembered is removed off the clock.
fn one(alice: &Seat, config: &str) -> Result<Duration> {
    let airpods = |words: &[&str]| {
        let mut command = alice.command("airpods");
        command.env("AIRPODS_CONFIG", config).args(words);
        let begin = Instant::now();
        let output = command.output().map_err(|source| BenchError::Io { doing: "start airpods", source })?;
        let took = begin.elapsed();
        if output.status.success() {
            return Ok((took, String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        Err(BenchError::Failed { line: format!("airpods {}", words.join(" ")) })
    };
    let (took, said) = airpods(&["start"])?;
    if said.contains("measured just now") != config.ends_with("-measured.toml") {
        return Err(BenchError::Unproven { line: format!("airpods start with {config}"), proof: "its answer" });
    }
    airpods(&["stop", "--remove", "--yes"])?;
    alice.sh("rm -rf ~/.local/state/airpods")?;
    Ok(took)
}
