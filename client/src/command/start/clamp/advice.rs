//! Decides about the clamp from the network paths of the services. Pure.

use airpods_dbus::{ClampOptions, LinkName, PathMtu, Status, Target};

use crate::config::NetworkMode;
use crate::cure::{
    ClampCoverage, Remedy, clamp_command, clamp_coverage, fixed_clamp_command, is_clamped_to, is_named, is_of_all,
    restoring_change,
};
use crate::egress::{Egress, EgressPath, Facts, NetworkPath, SMALLEST_MTU, Verdict};
use crate::helper_link::Change;
use crate::measure::memory::{Known, ago};
use crate::plan::Launch;
use crate::podman::Networking;

/// The decision about the services' network paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advice {
    /// No clamp, and no note.
    Nothing,
    /// They leave through a tunnel that is narrower than the network, but by sockets of the host.
    HostSockets(EgressPath, Option<Known>),
    /// Their packets fit the tunnel, and a measurement shows another fault of the path behind it.
    Faulty { egress: Egress, services: Vec<String>, known: Known },
    /// A measurement from their network shows that nothing hangs.
    Works(Narrow, Known),
    /// A clamp helps.
    Clamp(Narrow),
    /// The network path is unknown.
    Unknown,
}

/// A tunnel that the services' packets do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Narrow {
    pub(super) egress: Egress,
    services: Vec<String>,
    cause: Cause,
    existing: Existing,
}

/// The helper's clamp that the cure replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Existing {
    /// Its fixed value, if the link takes less.
    too_high: Option<u32>,
    /// It is of the link's name, so only a clamp by name replaces it.
    named: bool,
    /// It is kept across reboots.
    persist: bool,
}

/// The reason that packets do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// The network's packets exceed the link's MTU.
    Network { name: String, mtu: u32, measured: bool },
    /// The link's packets exceed the path behind it, which takes this much. `on_network` says
    /// whether all services are on a network whose MTU can be lowered.
    Path { takes: PathMtu, on_network: bool },
}

impl Advice {
    /// Decides. `known` is the measurement in this network, on the link by which the host's packets
    /// leave.
    pub(super) fn of(facts: &Facts, launches: &[Launch], known: Option<&Known>) -> Self {
        let ways: Vec<(&Launch, EgressPath)> =
            launches.iter().map(|launch| (launch, facts.egress_path(mode(launch)))).collect();
        if let Some(narrow) = known.and_then(|known| narrow_path(&ways, known)) {
            return Self::Clamp(narrow);
        }
        let with = |verdict: Verdict| ways.iter().filter(move |(_, way)| way.verdict == verdict);
        let exceeding = || ways.iter().filter(|(_, way)| way.exceeds_tunnel());
        if let Some((_, EgressPath { egress: Some(egress), network_mtu: Some(network_mtu), .. })) = exceeding().next() {
            let known = known.filter(|known| known.from_network);
            let narrow = Narrow {
                egress: egress.clone(),
                services: exceeding().map(|(launch, _)| launch.service.clone()).collect(),
                cause: Cause::Network {
                    name: facts.network.name.clone(),
                    mtu: *network_mtu,
                    measured: known.is_some_and(|known| known.remedy == Remedy::Route),
                },
                existing: Existing::default(),
            };
            return match known {
                Some(known) if known.remedy == Remedy::Nothing => Self::Works(narrow, known.clone()),
                _ => Self::Clamp(narrow),
            };
        }
        if with(Verdict::Unknown).next().is_some() {
            return Self::Unknown;
        }
        let narrower = |way: &EgressPath| way.egress.as_ref().is_some_and(|egress| egress.mtu < facts.network.mtu);
        let by_sockets = with(Verdict::HostSockets).find(|(_, way)| way.through_tunnel() && narrower(way));
        match by_sockets {
            Some((_, way)) => Self::HostSockets(way.clone(), known.cloned()),
            None => known.and_then(|known| faulty(&ways, known)).unwrap_or(Self::Nothing),
        }
    }

    /// Whether a measurement shows that no clamp is needed, so that the note only reassures.
    pub(super) fn is_well(&self) -> bool {
        match self {
            Self::Works(..) => true,
            Self::HostSockets(_, known) => known.as_ref().is_some_and(|known| known.remedy == Remedy::Nothing),
            Self::Nothing | Self::Clamp(_) | Self::Faulty { .. } | Self::Unknown => false,
        }
    }

    /// The note to print if no question is asked.
    pub(super) fn note(&self) -> Option<String> {
        match self {
            Self::HostSockets(way, known) => {
                let egress = way.egress.as_ref()?;
                Some(format!(
                    "note: traffic leaves through the {} `{}` (MTU {}) by sockets of the host ({}), which know that MTU: {}",
                    egress.noun(),
                    egress.link,
                    egress.mtu,
                    way.network_path.as_str(),
                    needed(known.as_ref())
                ))
            }
            Self::Faulty { egress, services, known } => Some(format!(
                "note: something is wrong with the path behind the {} `{}` of {}, which no clamp cures ({}, measured {}): \
                 `airpods net check` tells what",
                egress.noun(),
                egress.link,
                services.join(", "),
                known.verdict,
                ago(known.age)
            )),
            Self::Works(narrow, known) => Some(format!(
                "note: nothing hangs behind `{}`, as was measured from the network of {} ({}, {})",
                narrow.egress.link,
                narrow.services.join(", "),
                known.verdict,
                ago(known.age)
            )),
            Self::Nothing | Self::Clamp(_) | Self::Unknown => None,
        }
    }
}

/// Whether sockets of the host need a clamp, in words.
fn needed(known: Option<&Known>) -> String {
    match known {
        Some(Known { remedy: Remedy::Nothing, verdict, age, .. }) => {
            format!("no clamp is needed (measured {}: {verdict})", ago(*age))
        }
        Some(Known { verdict, .. }) => {
            format!("no clamp helps, but something is wrong ({verdict}): `airpods net check` tells what")
        }
        None => "no clamp is needed unless the path is narrower than that: `airpods net check` measures it".to_owned(),
    }
}

/// The services whose packets leave through the measured tunnel, with their paths.
fn concerned<'a>(ways: &'a [(&Launch, EgressPath)], known: &Known) -> Vec<(&'a str, Egress, NetworkPath)> {
    let leaves = |way: &EgressPath| way.egress.clone().filter(|egress| egress.link == known.link && egress.is_tunnel());
    ways.iter().filter_map(|(launch, way)| Some((launch.service.as_str(), leaves(way)?, way.network_path))).collect()
}

/// A fault of the path behind the link that no clamp cures, according to the measurement.
fn faulty(ways: &[(&Launch, EgressPath)], known: &Known) -> Option<Advice> {
    let concerned = concerned(ways, known);
    let (_, egress, _) = concerned.first().filter(|_| known.remedy == Remedy::OtherFault)?;
    let services = concerned.iter().map(|(service, ..)| (*service).to_owned()).collect();
    Some(Advice::Faulty { egress: egress.clone(), services, known: known.clone() })
}

/// A path behind the link that carries less than the link, according to the measurement.
fn narrow_path(ways: &[(&Launch, EgressPath)], known: &Known) -> Option<Narrow> {
    let Remedy::Fixed { mtu: takes, .. } = known.remedy else { return None };
    let concerned = concerned(ways, known);
    let (_, egress, _) = concerned.first()?;
    Some(Narrow {
        egress: egress.clone(),
        services: concerned.iter().map(|(service, ..)| (*service).to_owned()).collect(),
        cause: Cause::Path { takes, on_network: concerned.iter().all(|(.., path)| *path == NetworkPath::Bridge) },
        existing: Existing::default(),
    })
}

fn mode(launch: &Launch) -> NetworkMode {
    if launch.container.networking == Networking::Host { NetworkMode::Host } else { NetworkMode::Pod }
}

impl Narrow {
    /// Whether this is inferred and not measured.
    pub(super) fn is_inferred(&self) -> bool {
        matches!(self.cause, Cause::Network { measured: false, .. })
    }

    /// The same, in view of the helper's clamps.
    pub(super) fn seeing(mut self, status: &Status) -> Self {
        let link = &self.egress.link;
        if let (Cause::Network { .. }, ClampCoverage::TooHigh(mtu)) =
            (&self.cause, clamp_coverage(status, &self.egress))
        {
            self.existing.too_high = Some(mtu);
        }
        self.existing.named = is_named(status, link);
        let now = restoring_change(status, &self.target(), false);
        self.existing.persist = matches!(now, Change::On(_, options) if options.persist);
        self
    }

    /// The fault in words.
    pub(super) fn problem(&self) -> String {
        format!("note: {}", self.sentence())
    }

    fn sentence(&self) -> String {
        let Self { egress: egress @ Egress { link, mtu, .. }, services, cause, existing } = self;
        let (noun, services) = (egress.noun(), services.join(", "));
        match cause {
            Cause::Network { name, mtu: network_mtu, measured } => {
                let hang =
                    if *measured { "hang (measured)" } else { "may hang (inferred: nothing was measured from there)" };
                let clamp = existing.too_high.map(|clamp| format!(", and its clamp of {clamp} bytes is too high"));
                format!(
                    "the {noun} `{link}` has MTU {mtu} and the network `{name}` {network_mtu}{}, so large transfers of {services} {hang}",
                    clamp.unwrap_or_default()
                )
            }
            Cause::Path { takes, .. } => format!(
                "the path behind the {noun} `{link}` takes {takes} bytes, not the {mtu} of the link (measured), so large transfers of {services} hang"
            ),
        }
    }

    /// The question to the user.
    pub(super) fn question(&self) -> String {
        let sentence = self.sentence();
        let mut letters = sentence.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        let what = if self.is_for_all() { "VPN links" } else { "it" };
        format!("{capital}. Clamp {what} now, as `{}` does?", self.command())
    }

    pub(super) fn cure_by_clamp(&self) -> String {
        if self.is_for_all() {
            format!("hint: `{}` clamps `{}` and every other VPN link", self.command(), self.egress.link)
        } else {
            format!("hint: `{}` cures that", self.command())
        }
    }

    /// Whether the cure is a clamp of every VPN link.
    fn is_for_all(&self) -> bool {
        matches!(self.cause, Cause::Network { .. }) && is_of_all(&self.egress, self.existing.named)
    }

    fn command(&self) -> String {
        match self.cause {
            Cause::Network { .. } => clamp_command(&self.egress, self.existing.named),
            Cause::Path { takes, .. } => fixed_clamp_command(&self.egress, takes),
        }
    }

    /// The sentence of `--dry-run`, which does not know the helper's clamps. `verb` is what the
    /// start would do.
    pub(super) fn preview(&self, verb: &str) -> String {
        let bytes = match self.cause {
            Cause::Network { .. } => self.egress.mtu,
            Cause::Path { takes, .. } => takes.into(),
        };
        format!("would {verb} `{}` unless it is already clamped to at most {bytes} bytes", self.egress.link)
    }

    /// The cure that needs no privilege: a lower MTU of the network, which also helps UDP. If
    /// sockets of the host send the packets, there is none.
    pub(super) fn cure_without_root(&self) -> Option<String> {
        let mtu = match self.cause {
            Cause::Network { .. } => self.egress.mtu.max(SMALLEST_MTU),
            Cause::Path { takes, on_network: true } => u32::from(takes).max(SMALLEST_MTU),
            Cause::Path { on_network: false, .. } => return None,
        };
        Some(format!(
            "hint: without the helper: `airpods config set runtime.network.mtu {mtu}`, then `airpods start --reset-network`"
        ))
    }

    /// The change that cures the fault.
    pub(super) fn change(&self) -> Change {
        let mtu = match self.cause {
            Cause::Path { takes, .. } => Some(takes),
            Cause::Network { .. } => None,
        };
        let target = self.target();
        let any_link = target != Target::Auto && !self.egress.kind.is_vpn();
        Change::On(target, ClampOptions { mtu, any_link, persist: self.existing.persist })
    }

    /// The target of the clamp.
    pub(super) fn target(&self) -> Target {
        match LinkName::parse(&self.egress.link) {
            Ok(link) if !self.is_for_all() => Target::Link(link),
            _ => Target::Auto,
        }
    }

    /// Whether the clamp is in force already.
    pub(super) fn is_cured(&self, status: &Status) -> bool {
        match self.cause {
            Cause::Network { .. } => clamp_coverage(status, &self.egress) == ClampCoverage::Clamped,
            Cause::Path { takes, .. } => is_clamped_to(status, &self.egress.link, takes.into()),
        }
    }
}

#[cfg(test)]
mod tests;
