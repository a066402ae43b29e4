//! The report of a check: the measurements from each place, and the one verdict that follows. Pure.
//! `airpods net check --json` prints it.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::targets::Target;
use super::verdict::{Code, Severity, Words, is_clamped, words};

/// A whole check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The worst verdict of all places, if any.
    pub verdict: Code,
    /// The verdict in one sentence, with its numbers.
    pub sentence: String,
    /// Causes that the check ruled out.
    pub not_to_blame: Option<String>,
    /// One command, or one action.
    pub cure: Option<String>,
    /// How sure the verdict is.
    pub confidence: Confidence,
    /// Each place that packets were sent from.
    pub places: Vec<PlaceReport>,
    /// How long the check took.
    pub seconds: f64,
    /// TCP connections that were opened.
    pub connections: u32,
}

/// The measurement from one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlaceReport {
    /// `host`, or the name of the network that was entered.
    pub place: String,
    /// The services whose packets take this way.
    pub services: Vec<String>,
    /// Why the place was judged from the host, if it was.
    pub judged_from_host: Option<String>,
    /// The link that the packets leave the host by.
    pub link: Option<Link>,
    /// The MTU of the link in the place itself, if it differs from the host's.
    pub own_mtu: Option<u32>,
    /// One for each family and server.
    pub paths: Vec<PathReport>,
}

impl PlaceReport {
    /// Whether sizes were measured from within a network.
    pub(super) fn is_measured_inside(&self) -> bool {
        let measured = |path: &PathReport| path.verdict.severity() != Severity::Unmeasured;
        self.place != "host" && self.judged_from_host.is_none() && self.paths.iter().any(measured)
    }

    /// Whether packets from within a network were tried: with a result, or in vain.
    #[must_use]
    pub fn is_tried_inside(&self) -> bool {
        self.is_measured_inside() || self.judged_from_host.is_some()
    }
}

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The kernel's name for its kind; empty for a network card.
    pub kind: String,
    /// It belongs to a VPN.
    pub vpn: bool,
    /// Its MTU in bytes, or the route's if that is smaller.
    pub mtu: u32,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// One path, in both directions. Sizes are those of whole IP packets, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PathReport {
    /// The family.
    pub family: Family,
    /// The server's name.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// The largest size that was tried: the link's MTU, at most 1500.
    pub top: u16,
    /// The path MTU that the kernel had learnt before anything was sent, if it is below the link's.
    pub learnt: Option<u16>,
    /// From here to the server.
    pub up: Direction,
    /// From the server to here.
    pub down: Direction,
    /// The packet sizes that UDP carries to the server's port, if they were tried.
    pub udp: Option<Udp>,
    /// The size to clamp to, if a direction is too narrow: a packet of this size passed.
    pub narrow_to: Option<u16>,
    /// The verdict on this path.
    pub verdict: Code,
    /// The kernel's error for a connection that failed.
    pub error: Option<String>,
    /// The shortest round trip.
    pub rtt_ms: Option<f64>,
    /// Plain transfers from this place.
    pub transfers: Option<TransferReport>,
    /// Seconds that this path took.
    pub seconds: f64,
    /// TCP connections opened for it.
    pub connections: u32,
    /// Bytes sent for it.
    pub bytes_up: u64,
}

impl PathReport {
    /// Whether a clamp keeps TCP's packets small, even if the verdict is one on UDP.
    pub(super) fn is_clamped(&self) -> bool {
        let limit = |direction: &Direction| direction.limit.zip(direction.limited_by);
        match self.verdict {
            Code::UdpNarrow => is_clamped(limit(&self.up), limit(&self.down)),
            verdict => verdict == Code::Clamped,
        }
    }

    /// A report without a measurement.
    #[must_use]
    pub fn without(family: Family, server: &str, port: u16, verdict: Code) -> Self {
        Self {
            family,
            server: server.to_owned(),
            port,
            top: 0,
            learnt: None,
            up: Direction::default(),
            down: Direction::default(),
            udp: None,
            narrow_to: None,
            verdict,
            error: None,
            rtt_ms: None,
            transfers: None,
            seconds: 0.0,
            connections: 0,
            bytes_up: 0,
        }
    }
}

/// One direction of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Direction {
    /// The largest packet that arrived. This is never an estimate.
    pub proven: Option<u16>,
    /// The smallest size above it that repeatedly did not arrive.
    pub failed: Option<u16>,
    /// The largest size that could be tried, if it is below `top`.
    pub limit: Option<u16>,
    /// Why no larger size could be tried.
    pub limited_by: Option<LimitedBy>,
    /// The path MTU that a router on the way reported.
    pub reported: Option<u16>,
    /// How sure `proven` is as the largest size.
    pub confidence: Confidence,
    /// Why it is not `sure`.
    pub reason: Option<String>,
}

/// Why packets of a direction stay below the largest size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitedBy {
    /// The MSS that arrived: the server's, or a clamp's on the way.
    Mss,
    /// The server sent its whole flight in smaller packets.
    Flight,
    /// A path MTU that the kernel had learnt.
    Learnt,
    /// `net.ipv4.tcp_mtu_probing=2`, with which the kernel begins with small packets.
    MtuProbing,
}

/// How sure a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Nothing was measured.
    #[default]
    NotMeasured,
    /// This much passes; it may be more.
    AtLeast,
    /// This much passes, and no more.
    Sure,
}

impl Confidence {
    /// The word that is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::AtLeast => "at least",
            Self::NotMeasured => "not measured",
        }
    }
}

/// The packet sizes that UDP carries to the server's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Udp {
    /// The server answered QUIC at all. Without an answer it may not speak QUIC.
    pub answered: bool,
    /// The kernel's error, if a rule of this host or a router refused the packets.
    pub refused: Option<String>,
    /// The largest datagram that was answered, as the size of its IP packet.
    pub proven: Option<u16>,
    /// The smallest one above it that repeatedly was not answered.
    pub failed: Option<u16>,
}

/// Plain transfers: default socket options, 2.9 kB up, the server's certificates down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransferReport {
    /// Transfers that completed.
    pub completed: u32,
    /// Transfers that were made.
    pub of: u32,
    /// Seconds that the slowest completed one took.
    pub slowest: Option<f64>,
    /// The server answers small packets, even if no transfer completed.
    pub answers: bool,
}

/// The report on all places. Its verdict is the worst one; among equals the host's comes first.
pub(super) fn conclude(places: Vec<PlaceReport>, begun: Instant) -> Report {
    // A later report of the same family counts instead of an earlier one: there the second server
    // took the place of the first.
    let last = |place: &PlaceReport, path: &PathReport| {
        place.paths.iter().rfind(|other| other.family == path.family).is_some_and(|other| std::ptr::eq(other, path))
    };
    let all = places
        .iter()
        .flat_map(|place| place.paths.iter().filter(|path| last(place, path)).map(move |path| (place, path)));
    // `max_by_key` returns the last of equals, and the host's paths are the first, hence `rev`.
    let worst = all.rev().max_by_key(|(_, path)| path.verdict.severity());
    let connections = places.iter().flat_map(|place| &place.paths).map(|path| path.connections).sum();
    let (verdict, (sentence, not_to_blame, cure), confidence) = if let Some((place, path)) = worst {
        (path.verdict, words(path.verdict, &about(place, path)), confidence(path))
    } else {
        let sentence = words(Code::NotMeasured, &Words::default());
        (Code::NotMeasured, sentence, Confidence::NotMeasured)
    };
    Report {
        verdict,
        sentence,
        not_to_blame: not_to_blame.map(str::to_owned),
        cure,
        confidence,
        connections,
        places,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// The facts for the sentence about a path.
fn about(place: &PlaceReport, path: &PathReport) -> Words {
    let least = [path.up.proven, path.down.proven].into_iter().flatten().min();
    let narrow = |direction: &Direction| direction.failed.is_some();
    let udp = path.udp.as_ref().filter(|_| path.verdict == Code::UdpNarrow).and_then(|udp| udp.proven);
    Words {
        place: if place.place == "host" { "the host".to_owned() } else { format!("the network `{}`", place.place) },
        server: path.server.clone(),
        link: place.link.as_ref().map(|link| link.name.clone()),
        vpn: place.link.as_ref().is_some_and(|link| link.vpn),
        link_mtu: place.link.as_ref().map(|link| link.mtu),
        own_mtu: place.own_mtu,
        service: place.services.first().cloned(),
        direction: match (narrow(&path.up), narrow(&path.down)) {
            (true, false) => "up",
            (false, true) => "down",
            _ => "in both directions",
        },
        // Where paths differ, the sizes that passed do so on some of them only.
        passes: udp.or(path.narrow_to).or(least.filter(|_| path.verdict != Code::MixedPaths)),
        limited_by: path.up.limited_by,
        reason: path.up.reason.clone().or_else(|| path.down.reason.clone()),
    }
}

/// How sure the verdict on a path is.
fn confidence(path: &PathReport) -> Confidence {
    let sizes = path.up.proven.is_some() || path.down.proven.is_some();
    if !sizes && path.verdict.severity() == Severity::Broken {
        return Confidence::Sure;
    }
    let relevant = |direction: &&Direction| path.narrow_to.is_none() || direction.failed.is_some();
    let directions = [&path.up, &path.down];
    directions.into_iter().filter(relevant).map(|direction| direction.confidence).min().unwrap_or_default()
}

/// The report if no name has an address.
pub(super) fn nameless(target: Option<&Target>, code: Code, why: &str, begun: Instant) -> Report {
    let about = Words { server: target.map(|target| target.host.clone()).unwrap_or_default(), ..Words::default() };
    let (sentence, not_to_blame, cure) = words(code, &about);
    Report {
        verdict: code,
        sentence: if target.is_some() { sentence } else { why.to_owned() },
        not_to_blame: not_to_blame.map(str::to_owned),
        cure,
        confidence: if target.is_some() { Confidence::Sure } else { Confidence::NotMeasured },
        places: Vec::new(),
        seconds: begun.elapsed().as_secs_f64(),
        connections: 0,
    }
}
