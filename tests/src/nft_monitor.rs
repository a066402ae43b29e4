//! The kernel's announcements of nftables changes (`NFNLGRP_NFTABLES`), by `nft monitor`. Polling
//! could miss a moment without the rules. A listener hears every change, however slow the machine
//! is.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::place::Place;

/// A shell line that ends `nft monitor` at the end of standard input, which nft itself does not
/// watch.
const MONITOR: &str = "nft monitor & monitor=$!; cat; kill $monitor";

/// Time limit for an announcement to arrive. It is long because an emulated machine on a busy host
/// is slow.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A listener that hears every change of the rules in a place.
#[derive(Debug)]
pub struct NftMonitor {
    process: Child,
    lines: Receiver<String>,
}

impl NftMonitor {
    /// Listens from now on: every change after this call is heard.
    ///
    /// # Errors
    /// When nft does not start there, or reports nothing.
    pub fn listen(place: &impl Place) -> Result<Self> {
        let mut command = place.command("sh");
        command.args(["-c", &format!("exec 2>&1; {MONITOR}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().doing(|| "start `nft monitor`".into())?;
        let (send, lines) = channel();
        if let Some(out) = process.stdout.take() {
            thread::spawn(move || {
                BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
            });
        }
        let listening = Self { process, lines };
        listening.up_to(place, "lab_begins")?;
        Ok(listening)
    }

    /// Every change to a table since then, in the words of `nft monitor`, such as
    /// `delete element inet airpods links { "wg0" }`.
    ///
    /// # Errors
    /// When nft lost announcements, so that the list would be incomplete.
    pub fn of(self, place: &impl Place, table: &str) -> Result<Vec<String>> {
        let lines = self.up_to(place, "lab_ends")?;
        if let Some(lost) = lines.iter().find(|line| line.contains("ERROR") || line.starts_with("W:")) {
            return Err(Error::NotReady { what: "`nft monitor`".into(), reason: lost.clone() });
        }
        // nft names the table in the same place for elements and rules: `add element inet airpods
        // links …`.
        let is_of_it = |line: &&String| line.split(' ').skip(2).take(2).eq(table.split(' '));
        Ok(lines.iter().filter(is_of_it).map(|line| line.trim_end().to_owned()).collect())
    }

    /// The lines heard until a marker table is made and deleted. The first markers may go unheard,
    /// because nft lists the ruleset before it listens, so they are repeated.
    fn up_to(&self, place: &impl Place, mark: &str) -> Result<Vec<String>> {
        let (mut heard, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < TIMEOUT {
            place.sh(&format!("nft 'add table inet {mark}; delete table inet {mark}'"))?;
            let again = Instant::now() + Duration::from_secs(1);
            while let Ok(line) = self.lines.recv_timeout(again.saturating_duration_since(Instant::now())) {
                if line.trim_end() == format!("delete table inet {mark}") {
                    return Ok(heard);
                }
                heard.push(line);
            }
        }
        Err(Error::NotReady { what: "`nft monitor`".into(), reason: heard.join("\n") })
    }
}

impl Drop for NftMonitor {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
