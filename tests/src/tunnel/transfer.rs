//! Transfers through the tunnel, and how they end.

use std::process::Command;

use super::{PROBE, World};
use crate::capture::{FAMILIES, Family};
use crate::error::{Doing, Error, Result};
use crate::place::{Place, command_line, tail};

/// How a transfer of 1 MB over HTTPS ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// All of it arrived and its checksum is right.
    Completed,
    /// Nothing moved any more, until the client's time limit.
    Hung {
        /// The client's sentence, which names the step: connecting, TLS handshake, sending,
        /// receiving.
        step: String,
    },
}

/// Seconds without progress after which a transfer counts as hung. A working transfer takes a few
/// hundredths of a second, the first with a WireGuard handshake a few tenths. Retransmissions start
/// after 0.2 s, and are in vain in a black hole.
const TIMEOUT: &str = "3";

impl Transfer {
    /// Whether it came through.
    #[must_use]
    pub fn completed(&self) -> bool {
        *self == Self::Completed
    }

    /// Runs a command that ends in `lab-probe get …` or `lab-probe put …`, in a container for
    /// example.
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

/// The direction of the transfer, seen from the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To it.
    Download,
    /// From it.
    Upload,
}

/// Both directions over both families, tried at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trials(pub Vec<(Direction, Family, Transfer)>);

impl Trials {
    /// Whether all came through.
    #[must_use]
    pub fn all_completed(&self) -> bool {
        self.0.iter().all(|(_, _, ended)| ended.completed())
    }

    /// Whether none came through.
    #[must_use]
    pub fn all_hung(&self) -> bool {
        self.0.iter().all(|(_, _, ended)| !ended.completed())
    }
}

impl World {
    /// Downloads 1 MB over HTTPS from a place of this world.
    ///
    /// # Errors
    /// When it fails for any other reason than that it hung.
    pub fn download(&self, place: &dyn Place, family: Family) -> Result<Transfer> {
        self.transfer(Direction::Download, family, &|| place.command(PROBE))
    }

    /// Uploads 1 MB over HTTPS from a place of this world.
    ///
    /// # Errors
    /// When it fails for any other reason than that it hung.
    pub fn upload(&self, place: &dyn Place, family: Family) -> Result<Transfer> {
        self.transfer(Direction::Upload, family, &|| place.command(PROBE))
    }

    /// Both, over both families, at the same time: 3 s when they hang.
    ///
    /// # Errors
    /// When one fails for any other reason than that it hung.
    pub fn try_from(&self, place: &(dyn Place + Sync)) -> Result<Trials> {
        self.try_by(&FAMILIES, || place.command(PROBE))
    }

    /// Like [`World::try_from`], over these families, with any command that runs the probe, such as
    /// `podman exec web /lab-probe`. The image needs the certificate, see [`World::image`].
    ///
    /// # Errors
    /// When one fails for any other reason than that it hung.
    pub fn try_by(&self, families: &[Family], probe: impl Fn() -> Command + Sync) -> Result<Trials> {
        let probe: &(dyn Fn() -> Command + Sync) = &probe;
        std::thread::scope(|scope| {
            let running: Vec<_> = [Direction::Download, Direction::Upload]
                .into_iter()
                .flat_map(|direction| families.iter().map(move |family| (direction, *family)))
                .map(|(direction, family)| {
                    (direction, family, scope.spawn(move || self.transfer(direction, family, probe)))
                })
                .collect();
            let ended = running.into_iter().map(|(direction, family, thread)| {
                let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok((direction, family, ended))
            });
            ended.collect::<Result<_>>().map(Trials)
        })
    }

    fn transfer(&self, direction: Direction, family: Family, probe: &dyn Fn() -> Command) -> Result<Transfer> {
        let words = match direction {
            Direction::Download => ["get".to_owned(), self.url(family, "/download")],
            Direction::Upload => ["put".to_owned(), self.url(family, "/upload")],
        };
        Transfer::of(probe().args(words).args(["--timeout", TIMEOUT]))
    }
}
