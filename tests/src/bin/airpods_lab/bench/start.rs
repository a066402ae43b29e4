//! The cost of measuring for a start behind a VPN with a good path. The measurement runs beside
//! podman, so the start waits for it only if podman is faster.

use std::time::{Duration, Instant};

use airpods_lab::client::{self, ALONE};
use airpods_lab::path::{Rules, Server};
use airpods_lab::{CommandOutput, Image, PathWorld, Place, User};

use super::figures::{Series, table};
use super::{BenchError, Result};

/// Timed rounds.
const ROUNDS: usize = 15;

/// The image's registry, which `airpods start` measures with.
const REGISTRY: &str = "registry.example";

/// `runtime.network.measure` of the two configurations, and the name of each.
const CONTENDERS: [(bool, &str); 2] =
    [(false, "airpods start, measure = false"), (true, "airpods start, in a network not measured before")];

/// Measures, and prints the table.
///
/// # Errors
/// [`BenchError`], when the world cannot be built or a start fails.
pub(super) fn start() -> Result<()> {
    let mut world = PathWorld::new(Rules::default(), 1)?;
    world.serve_as(Server::Rustls, REGISTRY)?;
    let image = format!("{REGISTRY}/lab/model:1");
    // The service has no health check, so `start` does not wait for it.
    let service = format!("{ALONE}[services.model]\nimage = \"{image}\"\ncommand_args = [\"serve-http\", \"7001\"]\n");
    let alice = world.sandbox().as_user("alice");
    Image::serving(&image, 7001).import(&alice)?;
    let mut times = [const { Vec::new() }; 2];
    for round in 0..=ROUNDS {
        for ((measures, _), times) in CONTENDERS.iter().zip(&mut times) {
            client::configure(world.sandbox(), &format!("runtime.network.measure = {measures}\n{service}"))?;
            let took = one(&alice, *measures)?;
            // Skip the first turn, which reads the files from the disk.
            times.extend((round > 0).then_some(took));
        }
    }
    let series = CONTENDERS.iter().zip(&times).filter_map(|((_, name), times)| Series::new(*name, times));
    println!("{}", table("ms", &series.collect::<Vec<_>>(), CONTENDERS[0].1));
    Ok(())
}

/// The time from before the process is made until after its end. Containers and the remembered
/// measurement are removed off the clock.
fn one(alice: &User, measures: bool) -> Result<Duration> {
    let begin = Instant::now();
    // Only `--verbose` reports a good path.
    let output = succeed(alice, "start --verbose")?;
    let took = begin.elapsed();
    if output.err.contains("measured just now") != measures {
        let line = format!("airpods start, measure = {measures}");
        return Err(BenchError::Unproven { line, proof: "its answer" });
    }
    succeed(alice, "stop --remove --yes")?;
    alice.sh("rm -rf ~/.local/state/airpods")?;
    Ok(took)
}

fn succeed(alice: &User, arguments: &str) -> Result<CommandOutput> {
    let output = client::run(alice, arguments).map_err(|source| BenchError::Io { doing: "start airpods", source })?;
    if output.code == 0 {
        return Ok(output);
    }
    eprintln!("{}", output.err);
    Err(BenchError::Failed { line: format!("airpods {arguments}") })
}
