//! Measuring from within a container's network, see [`crate::inside`].

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::path::{Job, measure};
use super::report::PathReport;
use crate::inside::{self, enter};

/// The name of the hidden command that does it.
pub const COMMAND: &str = "measure-inside";

/// How long that process may take: what it measures ends in time, and a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest list of jobs that is read: two families with two servers each have 1 kB.
const JOBS: u64 = 64 << 10;

/// Measures from within the network of the process `pid`, by a process of our own.
///
/// # Errors
/// Where that may not be entered.
pub(super) async fn measure_inside(pid: u32, jobs: &[Job]) -> io::Result<Vec<PathReport>> {
    let answer = inside::run(COMMAND, pid, &serde_json::to_vec(jobs)?, PATIENCE).await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Enters the network of the process `pid` for good, reads jobs from standard input and measures them side by side.
///
/// # Errors
/// The kernel's, mostly that this user may not.
pub fn enter_and_measure(pid: u32) -> io::Result<Vec<PathReport>> {
    let jobs: Vec<Job> = serde_json::from_reader(io::Read::take(io::stdin().lock(), JOBS)).map_err(io::Error::other)?;
    enter(pid)?;
    Ok(measure_all(&jobs))
}

fn measure_all(jobs: &[Job]) -> Vec<PathReport> {
    let stop = AtomicBool::new(false);
    // Threads that are started now are in there as well.
    std::thread::scope(|scope| {
        let started: Vec<_> = jobs.iter().map(|job| scope.spawn(|| measure(job, &stop, &|_| {}))).collect();
        started.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}
