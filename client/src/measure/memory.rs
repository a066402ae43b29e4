//! Remembered measurements, by network: `paths.json` in the state folder.
//!
//! A network is kept as hashes of the link, the router and the router's MAC address, with a salt of
//! the file's own. A reader of the file can tell two networks apart, but cannot name them. Names of
//! servers, addresses and links are not kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airpods_dbus::Status;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::report::{Link, Report};
use super::verdict::Code;
use crate::cure::{Remedy, fixed_clamp_command, is_fixed, remedy};
use crate::egress::Egress;
use crate::file::{self, Links, Lock, Owner};
use crate::kernel::{Gateway, gateways};

const FILE: &str = "paths.json";

/// How long a measurement stays valid: paths change.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of measurements that are kept.
const MAX_ENTRIES: usize = 64;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    salt: String,
    paths: Vec<Remembered>,
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
}

/// A network, as salted hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    link: String,
    gateways: String,
    /// `None` as long as the kernel does not know the routers' MAC addresses.
    hardware: Option<String>,
}

impl Fingerprint {
    /// Whether both are the same network. The router's MAC address decides, or its IP address if
    /// the MAC address is unknown.
    fn is_of(&self, other: &Self) -> bool {
        let same_router = match (&self.hardware, &other.hardware) {
            (Some(one), Some(other)) => one == other,
            _ => self.gateways == other.gateways,
        };
        self.link == other.link && same_router
    }
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

    /// The fingerprint of a link and the routers around it.
    fn fingerprint(&self, link: &str, gateways: &[Gateway]) -> Fingerprint {
        let hash = |parts: &[String]| {
            let digest = Sha256::digest(format!("{}\0{}", self.salt, parts.join("\0")));
            format!("{:032x}", digest.first_chunk().copied().map_or(0, u128::from_be_bytes))
        };
        let addresses: Vec<String> =
            gateways.iter().map(|gateway| format!("{} {}", gateway.link, gateway.address)).collect();
        let cards: Vec<String> = gateways.iter().filter_map(|gateway| gateway.hardware.clone()).collect();
        Fingerprint {
            link: hash(&["link".to_owned(), link.to_owned()]),
            gateways: hash(&addresses),
            hardware: (!cards.is_empty()).then(|| hash(&cards)),
        }
    }

    /// The latest measurement of a link in the network of these routers, if it is still valid.
    #[must_use]
    pub fn known(&self, link: &str, gateways: &[Gateway], now: SystemTime) -> Option<Known> {
        let here = self.fingerprint(link, gateways);
        let found = self.paths.iter().rfind(|path| path.network.is_of(&here))?;
        let age = age(found.at, now).filter(|age| *age < MAX_AGE)?;
        let Remembered { verdict, remedy, from_network, .. } = found.clone();
        Some(Known { link: link.to_owned(), verdict, remedy, from_network, age })
    }

    /// How long ago the value of a link's clamp was measured, if that was on other networks only.
    #[must_use]
    pub fn stale_clamp_age(
        &self,
        link: &str,
        clamped_to: u32,
        gateways: &[Gateway],
        now: SystemTime,
    ) -> Option<Duration> {
        let here = self.fingerprint(link, gateways);
        let is_value = |path: &&Remembered| {
            let fixed = match path.remedy {
                Remedy::Fixed { mtu, .. } => Some(u32::from(mtu)),
                _ => None,
            };
            path.network.link == here.link && fixed == Some(clamped_to)
        };
        // A measurement behind the clamp shows only what the clamp allows, so `clamped` does not
        // count as one of this network.
        if self.paths.iter().any(|path| path.network.is_of(&here) && path.verdict != Code::Clamped) {
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
        gateways: &[Gateway],
        now: SystemTime,
    ) -> Option<StaleClamp> {
        let link = egress.link.as_str();
        let mtu = is_fixed(status, link)?;
        let age = self.stale_clamp_age(link, mtu, gateways, now)?;
        Some(StaleClamp { link: link.to_owned(), mtu, age, cure: fixed_clamp_command(egress, "auto") })
    }

    /// Adds a measurement, and removes an older one of the same network.
    fn take(&mut self, link: &str, gateways: &[Gateway], report: &Report, now: SystemTime) {
        let network = self.fingerprint(link, gateways);
        let earlier = self.paths.iter().rfind(|path| path.network.is_of(&network)).cloned();
        let (verdict, remedy) = judged(report, link, earlier);
        self.paths.retain(|path| !path.network.is_of(&network));
        let from_network = report.places.iter().any(|place| place.place != "host" && place.judged_from_host.is_none());
        let at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.paths.push(Remembered { network, at, verdict, remedy, from_network });
        let surplus = self.paths.len().saturating_sub(MAX_ENTRIES);
        self.paths.drain(..surplus);
    }
}

/// The verdict and the remedy to keep. Behind a clamp every path looks as wide as the clamp, so an
/// earlier result without it stays.
fn judged(report: &Report, link: &str, earlier: Option<Remembered>) -> (Code, Remedy) {
    let is_clamped = report.places.iter().flat_map(|place| &place.paths).any(|path| path.verdict == Code::Clamped);
    match (remedy(report, link), earlier) {
        (
            Remedy::Nothing,
            Some(Remembered { verdict, remedy: remedy @ (Remedy::Fixed { .. } | Remedy::Route), .. }),
        ) if is_clamped => (verdict, remedy),
        (remedy, _) => (report.verdict, remedy),
    }
}

fn age(at: u64, now: SystemTime) -> Option<Duration> {
    now.duration_since(UNIX_EPOCH + Duration::from_secs(at)).ok()
}

/// Keeps the result of a check that measured anything. If it cannot be kept, a later command
/// measures again.
pub fn remember(folder: Option<&Path>, report: &Report) {
    let Some((folder, link)) = folder.zip(link_of(report)) else { return };
    if remedy(report, &link.name) == Remedy::NotMeasured {
        return;
    }
    let path: PathBuf = folder.join(FILE);
    let Ok(_lock) = Lock::of(&path) else { return };
    let mut memory = Memory::load(Some(folder));
    if memory.salt.is_empty() {
        memory.salt = salt();
        memory.paths.clear();
    }
    memory.take(&link.name, &gateways(&link.name), report, SystemTime::now());
    if let Ok(text) = serde_json::to_string_pretty(&memory) {
        // If this fails, the next command measures again.
        let _ = file::put(&path, &text, true);
    }
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cure::remedy::tests::{path, place, report};
    use crate::measure::report::Confidence;

    fn router(address: &str, card: Option<&str>) -> Vec<Gateway> {
        let hardware = card.map(str::to_owned);
        vec![Gateway { link: "eth0".to_owned(), address: address.parse().unwrap(), hardware }]
    }

    fn narrow(size: u16) -> Report {
        report(vec![place("host", "wg0", vec![path(Code::PathNarrow, Some(size), Confidence::Sure)])])
    }

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn at(later: u64) -> SystemTime {
        UNIX_EPOCH + NOW + Duration::from_secs(later)
    }

    /// A value of 1300, measured in the network of this router.
    fn measured(gateways: &[Gateway]) -> Memory {
        let mut memory = Memory { salt: "salt".to_owned(), paths: Vec::new() };
        memory.take("wg0", gateways, &narrow(1300), at(0));
        memory
    }

    #[test]
    fn a_measurement_is_valid_in_the_same_network_for_a_day() {
        let home = router("192.0.2.1", Some("52:54:00:00:00:01"));
        let memory = measured(&home);
        let known = memory.known("wg0", &home, at(300)).unwrap();
        assert_eq!((known.verdict, known.age), (Code::PathNarrow, Duration::from_secs(300)));
        assert_eq!(memory.known("wg0", &home, at(90_000)), None, "too long ago");
        assert_eq!(memory.known("wg1", &home, at(300)), None, "another link");
        assert_eq!(memory.stale_clamp_age("wg0", 1300, &home, at(300)), None);
    }

    #[test]
    fn another_router_is_another_network_and_its_value_is_of_elsewhere() {
        let memory = measured(&router("192.0.2.1", Some("52:54:00:00:00:01")));
        // A router with the same address and another MAC address, and one with another address.
        for other in [router("192.0.2.1", Some("52:54:00:00:00:02")), router("192.0.2.254", None)] {
            assert_eq!(memory.known("wg0", &other, at(300)), None);
            assert_eq!(memory.stale_clamp_age("wg0", 1300, &other, at(300)), Some(Duration::from_secs(300)));
            assert_eq!(memory.stale_clamp_age("wg0", 1280, &other, at(300)), None, "nobody measured that");
        }
    }

    #[test]
    fn a_router_whose_card_the_kernel_has_forgotten_is_known_by_its_address() {
        let memory = measured(&router("192.0.2.1", Some("52:54:00:00:00:01")));
        assert!(memory.known("wg0", &router("192.0.2.1", None), at(1)).is_some());
    }

    #[test]
    fn a_measurement_behind_a_clamp_does_not_replace_one_without() {
        let home = router("192.0.2.1", None);
        let mut memory = measured(&home);
        let clamped = report(vec![place("host", "wg0", vec![path(Code::Clamped, None, Confidence::AtLeast)])]);
        memory.take("wg0", &home, &clamped, at(50));
        let known = memory.known("wg0", &home, at(60)).unwrap();
        assert_eq!((known.verdict, known.age), (Code::PathNarrow, Duration::from_secs(10)));
        let fine = report(vec![place("host", "wg0", vec![path(Code::Fine, None, Confidence::Sure)])]);
        memory.take("wg0", &home, &fine, at(60));
        assert_eq!(memory.known("wg0", &home, at(60)).unwrap().remedy, Remedy::Nothing);
    }

    #[test]
    fn one_measurement_for_each_network_is_kept_and_not_more_than_so_many() {
        let home = router("192.0.2.1", None);
        let mut memory = measured(&home);
        memory.take("wg0", &home, &narrow(1280), at(10));
        assert_eq!(memory.paths.len(), 1);
        for last in 0..=255u8 {
            memory.take("wg0", &router(&format!("198.51.100.{last}"), None), &narrow(1300), at(20));
        }
        assert_eq!(memory.paths.len(), MAX_ENTRIES);
    }

    #[test]
    fn no_name_and_no_address_is_in_the_file() {
        let text = serde_json::to_string(&measured(&router("192.0.2.1", Some("52:54:00:00:00:01")))).unwrap();
        for name in ["wg0", "eth0", "192.0.2.1", "52:54", "registry"] {
            assert!(!text.contains(name), "{name}: {text}");
        }
    }

    #[test]
    fn a_saved_measurement_is_read_unless_others_could_have_written_it() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        remember(Some(home.path()), &narrow(1300));
        let memory = Memory::load(Some(home.path()));
        assert_eq!(memory.paths.len(), 1);
        let file = home.path().join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Memory::load(Some(home.path())), Memory::default());
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(Memory::load(Some(home.path())), Memory::default());
    }

    #[test]
    fn a_check_that_measured_nothing_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        remember(
            Some(home.path()),
            &report(vec![place("host", "wg0", vec![path(Code::NotMeasured, None, Confidence::NotMeasured)])]),
        );
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn durations_are_shown_in_words() {
        for (seconds, expected) in [
            (5, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (90_000, "1 day ago"),
            (260_000, "3 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), expected);
        }
    }
}
