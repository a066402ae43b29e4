//! Remembered measurements, by network: `paths.json` in the state folder. Also the attempts of
//! starts to measure by themselves: one that shows nothing is not repeated soon.
//!
//! A network is kept as hashes, with a salt of the file's own: of the link, its kind and MTU, the
//! router and the router's MAC address. A reader of the file can tell two networks apart, but
//! cannot name them. Names of servers, addresses and links are not kept.

mod network;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airpods_dbus::Status;
use serde::{Deserialize, Serialize};

pub use network::Network;

use super::report::{Link, PathReport, PlaceReport, Report};
use super::verdict::{Code, Severity};
use crate::cure::{Remedy, fixed_clamp_command, is_fixed, remedy};
use crate::egress::Egress;
use crate::file::{self, Links, Lock, Owner};
use network::Fingerprint;

const FILE: &str = "paths.json";

/// How long a measurement stays valid: paths change.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of measurements that are kept.
const MAX_ENTRIES: usize = 64;

/// Time between two attempts in the same network.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// The same after [`FAILURES`] attempts that showed nothing.
const LONG_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The number of failures in a row after which the pause is long.
const FAILURES: u32 = 2;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    salt: String,
    paths: Vec<Remembered>,
    attempts: Vec<Attempt>,
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Remembered {
    network: Fingerprint,
    /// Seconds since 1970.
    at: u64,
    /// The verdict.
    pub verdict: Code,
    /// The cure that the path needs.
    pub remedy: Remedy,
    /// It was also measured from within the services' network.
    pub from_network: bool,
    /// It was measured behind a clamp, so it shows only what the clamp allows.
    clamped: bool,
}

/// The place from which a measurement can see the services' packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenFrom {
    /// The host, whose sockets send them.
    Host,
    /// Their network, if services run there already.
    Network,
    /// Their network, because services run there now.
    RunningNetwork,
}

/// The latest attempt in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    network: Fingerprint,
    /// Seconds since 1970.
    at: u64,
    /// Attempts in a row that measured nothing.
    failures: u32,
    /// It tried to measure from within the services' network.
    inside: bool,
}

/// The remembered measurement of a link, in the network that it is in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The link's name.
    pub link: String,
    /// The verdict.
    pub verdict: Code,
    /// The cure that the path needs.
    pub remedy: Remedy,
    /// It was also measured from within the services' network.
    pub from_network: bool,
    /// How long ago it was measured.
    pub age: Duration,
}

/// A fixed clamp whose value was measured on another network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleClamp {
    /// The link's name.
    pub link: String,
    /// Its clamp, in bytes.
    pub mtu: u32,
    /// How long ago it was measured.
    pub age: Duration,
    /// The command that measures it here.
    pub cure: String,
}

impl fmt::Display for StaleClamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, mtu, age, .. } = self;
        write!(f, "`{link}` is clamped to {mtu} bytes, which was measured on another network ({})", ago(*age))
    }
}

impl Memory {
    /// The measurements kept in a folder; empty if there is no file, or one that cannot be trusted.
    #[must_use]
    pub fn load(folder: Option<&Path>) -> Self {
        let text = folder.and_then(|folder| file::read(&folder.join(FILE), Links::Refused, Owner::Alone).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// The latest measurement of a link in this network, if it is still valid.
    #[must_use]
    pub fn known(&self, network: &Network, now: SystemTime) -> Option<Known> {
        let here = network.fingerprint(&self.salt);
        let found = self.paths.iter().rfind(|path| path.network.is_of(&here))?;
        let age = age(found.at, now).filter(|age| *age < MAX_AGE)?;
        let Remembered { verdict, remedy, from_network, .. } = found.clone();
        Some(Known { link: network.link.clone(), verdict, remedy, from_network, age })
    }

    /// How long ago the value of a link's clamp was measured, if that was on other networks only.
    #[must_use]
    pub fn stale_clamp_age(&self, network: &Network, clamped_to: u32, now: SystemTime) -> Option<Duration> {
        let here = network.fingerprint(&self.salt);
        let is_value = |path: &&Remembered| {
            let fixed = match path.remedy {
                Remedy::Fixed { mtu, .. } => Some(u32::from(mtu)),
                _ => None,
            };
            path.network.is_link_of(&here) && fixed == Some(clamped_to)
        };
        // A measurement behind the clamp does not count as one of this network.
        if self.paths.iter().any(|path| path.network.is_of(&here) && !path.clamped) {
            return None;
        }
        age(self.paths.iter().rfind(is_value)?.at, now)
    }

    /// The fixed clamp of a link, and how long ago its value was measured, if that was on other
    /// networks only.
    #[must_use]
    pub fn stale_clamp(
        &self,
        status: &Status,
        egress: &Egress,
        network: &Network,
        now: SystemTime,
    ) -> Option<StaleClamp> {
        let link = egress.link.as_str();
        let mtu = is_fixed(status, link)?;
        let age = self.stale_clamp_age(network, mtu, now)?;
        Some(StaleClamp { link: link.to_owned(), mtu, age, cure: fixed_clamp_command(egress, "auto") })
    }

    /// Adds a measurement, and removes an older one of the same network.
    fn take(&mut self, network: &Network, report: &Report, now: SystemTime) {
        let here = network.fingerprint(&self.salt);
        let earlier = self.paths.iter().rfind(|path| path.network.is_of(&here)).cloned();
        let (verdict, remedy, clamped) = judged(report, &network.link, earlier);
        let from_network = report.places.iter().any(PlaceReport::is_measured_inside);
        let remembered = Remembered { network: here, at: seconds(now), verdict, remedy, from_network, clamped };
        replace(&mut self.paths, remembered, |path| &path.network);
    }

    /// Changes the file in a folder; `None` if that fails. A later command then measures again.
    fn change<R>(folder: &Path, change: impl FnOnce(&mut Self) -> R) -> Option<R> {
        let path: PathBuf = folder.join(FILE);
        let _lock = Lock::of(&path).ok()?;
        let mut memory = Self::load(Some(folder));
        if memory.salt.is_empty() {
            memory = Self { salt: salt(), ..Self::default() };
        }
        let result = change(&mut memory);
        file::put(&path, &serde_json::to_string_pretty(&memory).ok()?, true).ok()?;
        Some(result)
    }
}

impl Memory {
    /// Whether a start may measure by itself; `known` is the valid result.
    #[must_use]
    pub fn may_measure(&self, network: &Network, known: Option<&Known>, from: SeenFrom, now: SystemTime) -> bool {
        if known.is_some_and(|known| known.from_network || from == SeenFrom::Host) {
            return false;
        }
        let here = network.fingerprint(&self.salt);
        let latest = self.attempts.iter().rfind(|attempt| attempt.network.is_of(&here));
        let Some((attempt, age)) = latest.and_then(|attempt| Some((attempt, age(attempt.at, now)?))) else {
            return true;
        };
        let pause = match known {
            None if attempt.failures >= FAILURES => LONG_PAUSE,
            // This user may not enter the network.
            Some(_) if attempt.inside => MAX_AGE,
            Some(_) if from == SeenFrom::RunningNetwork => Duration::ZERO,
            _ => PAUSE,
        };
        age >= pause
    }

    /// Adds an attempt, and removes an earlier one in the same network.
    fn note(&mut self, network: &Network, measured: bool, inside: bool, now: SystemTime) {
        let here = network.fingerprint(&self.salt);
        let earlier = self.attempts.iter().rfind(|attempt| attempt.network.is_of(&here));
        let failures = if measured { 0 } else { earlier.map_or(0, |earlier| earlier.failures) + 1 };
        let attempt = Attempt { network: here, at: seconds(now), failures, inside };
        replace(&mut self.attempts, attempt, |attempt| &attempt.network);
    }
}

/// Adds an entry in place of an earlier one of its network. The oldest ones give way.
fn replace<T>(entries: &mut Vec<T>, entry: T, network: fn(&T) -> &Fingerprint) {
    entries.retain(|other| !network(other).is_of(network(&entry)));
    entries.push(entry);
    let surplus = entries.len().saturating_sub(MAX_ENTRIES);
    entries.drain(..surplus);
}

/// The verdict and the remedy to keep, and whether a clamp limits them. Behind a clamp every path
/// looks as wide as the clamp, so an earlier result without it stays.
fn judged(report: &Report, link: &str, earlier: Option<Remembered>) -> (Code, Remedy, bool) {
    let paths = || report.places.iter().flat_map(|place| &place.paths);
    let is_fault_of_tcp =
        |path: &PathReport| path.verdict.severity() == Severity::Broken && path.verdict != Code::UdpNarrow;
    let remedy = remedy(report, link);
    let tcp_works = match remedy {
        Remedy::Nothing => true,
        Remedy::OtherFault => !paths().any(is_fault_of_tcp),
        Remedy::Route | Remedy::Fixed { .. } | Remedy::NotMeasured => false,
    };
    let behind_clamp = tcp_works && paths().any(PathReport::is_clamped);
    match earlier {
        Some(Remembered { verdict, remedy: remedy @ (Remedy::Fixed { .. } | Remedy::Route), clamped, .. })
            if behind_clamp =>
        {
            (verdict, remedy, clamped)
        }
        _ => {
            let shows_clamp = matches!(report.verdict, Code::Clamped | Code::UdpNarrow);
            (report.verdict, remedy, behind_clamp && shows_clamp)
        }
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn age(at: u64, now: SystemTime) -> Option<Duration> {
    now.duration_since(UNIX_EPOCH + Duration::from_secs(at)).ok()
}

/// Keeps the result of a check that measured anything. If it cannot be kept, a later command
/// measures again.
pub fn remember(folder: Option<&Path>, report: &Report) {
    let Some((folder, link)) = folder.zip(measured_link(report)) else { return };
    Memory::change(folder, |memory| memory.take(&Network::of(&link.name), report, SystemTime::now()));
}

/// Keeps the report of a start that has tried to measure behind a link, and notes the attempt.
/// There is no report if that did not end in time. Returns the valid result.
#[must_use]
pub fn remember_attempt(folder: &Path, link: &str, report: Option<&Report>) -> Option<Known> {
    let change = |memory: &mut Memory| {
        let (network, now) = (Network::of(link), SystemTime::now());
        if let Some((report, link)) = report.and_then(|report| Some((report, measured_link(report)?))) {
            memory.take(&Network::of(&link.name), report, now);
        }
        let measured = report.is_some_and(|report| remedy(report, link) != Remedy::NotMeasured);
        let inside = report.is_some_and(|report| report.places.iter().any(PlaceReport::is_tried_inside));
        memory.note(&network, measured, inside, now);
        memory.known(&network, now)
    };
    Memory::change(folder, change)?
}

/// The link by which the host's packets leave, if anything was measured behind it.
fn measured_link(report: &Report) -> Option<&Link> {
    link_of(report).filter(|link| remedy(report, &link.name) != Remedy::NotMeasured)
}

/// The link by which the host's packets leave.
#[must_use]
pub fn link_of(report: &Report) -> Option<&Link> {
    report.places.first()?.link.as_ref()
}

/// A salt, so that hashes of two files cannot be compared. It need not be secret from the file's
/// owner.
fn salt() -> String {
    format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..))
}

/// A time span in minutes, hours or days.
#[must_use]
pub fn ago(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let (count, unit) = match minutes {
        0 => return "just now".to_owned(),
        1..60 => (minutes, "minute"),
        60..1440 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
