//! Transfers through the tunnel, and how they end.

use std::process::Command;

use super::{CA, PROBE, World};
use crate::capture::Family;
use crate::error::{Doing, Error, Result};
use crate::place::{Place, command_line, tail};

/// How a transfer of 1 MB over HTTPS ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// All of it arrived and its checksum is right.
    Completed,
    /// Nothing more came, until the client's deadline.
    Hung {
        /// The client's sentence, which names the step: connecting, TLS handshake, sending, receiving.
        step: String,
    },
}

/// A transfer that works takes a few hundredths of a second here, the first with a WireGuard handshake a few tenths;
/// retransmissions of one that hangs start after 0.2 s and bring nothing.
const DEADLINE: &str = "3";

impl Transfer {
    /// Whether it came through.
    #[must_use]
    pub fn completed(&self) -> bool {
        *self == Self::Completed
    }

    /// Runs a command that ends in `lab-probe get …` or `lab-probe put …`, in a container for example.
    ///
    /// # Errors
    /// When it fails for any other reason than that it hung.
    pub fn of(command: &mut Command) -> Result<Self> {
        let line = command_line(command);
        let output = command.output().doing(|| format!("run `{line}`"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(Self::Completed);
        }
        match stderr.lines().find(|line| line.contains("timed out")) {
            Some(step) => Ok(Self::Hung { step: step.trim_start_matches("error: ").to_owned() }),
            None => Err(Error::Command { line, status: output.status, stderr: tail(&stderr) }),
        }
    }
}

impl World {
    /// Downloads 1 MB over HTTPS from a place of this world.
    ///
    /// # Errors
    /// When it fails for any other reason than that it hung.
    pub fn download(&self, place: &dyn Place, family: Family) -> Result<Transfer> {
        self.transfer(place, "get", &self.url(family, "/download"))
    }

    /// Uploads 1 MB over HTTPS from a place of this world.
    ///
    /// # Errors
    /// When it fails for any other reason than that it hung.
    pub fn upload(&self, place: &dyn Place, family: Family) -> Result<Transfer> {
        self.transfer(place, "put", &self.url(family, "/upload"))
    }

    #[expect(clippy::unused_self, reason = "only a world has the probe and the certificate at these places")]
    fn transfer(&self, place: &dyn Place, what: &str, url: &str) -> Result<Transfer> {
        Transfer::of(place.command(PROBE).args([what, url, "--ca", CA, "--timeout", DEADLINE]))
    }
}
