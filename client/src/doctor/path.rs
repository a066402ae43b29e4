//! Whether a service's packets get through: the MTU that they meet, what was measured of the path,
//! and whether they are clamped. The same for networks behind a VPN of their own (split tunnel).
//! Measurements come from a file; nothing is sent.

use std::collections::BTreeMap;
use std::time::SystemTime;

use airpods_dbus::Status;

use super::helper::HelperNeed;
use super::{Code, Finding};
use crate::config::Config;
use crate::cure::{ClampCoverage, Remedy, clamp_command, clamp_coverage, fixed_clamp_command, is_clamped_to, is_named};
use crate::egress::{self, Branch, Egress, EgressLinks, EgressPath, NetworkPath, SMALLEST_MTU, Verdict};
use crate::measure::memory::{Known, Memory, Network, StaleClamp, ago};
use crate::measure::{targets, verdict};

/// The path of a service's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The service.
    pub service: String,
    /// The path.
    pub route: EgressPath,
}

/// The remembered measurements of the VPNs by which this host's packets leave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The valid measurement of each tunnel's link, in the network that it is in now.
    pub known: Vec<Known>,
    /// The links with a fixed clamp whose value was measured on another network.
    pub stale_clamps: Vec<StaleClamp>,
    /// VPN links that lead only to some networks.
    pub branches: Vec<Branch>,
    /// There is a server to measure with, and the configuration allows measuring.
    pub possible: bool,
}

/// Judges the paths; services that share one get one finding. `status` has the helper's clamps, if
/// it answers.
pub(super) fn judge(
    paths: &[Path],
    status: Option<&Status>,
    helper_need: HelperNeed,
    measured: &Measured,
) -> Vec<Finding> {
    let mut routes: Vec<(&EgressPath, Vec<String>)> = Vec::new();
    for Path { service, route } in paths {
        let service = format!("`{service}`");
        match routes.iter_mut().find(|(known, _)| *known == route) {
            Some((_, services)) => services.push(service),
            None => routes.push((route, vec![service])),
        }
    }
    let judged =
        routes.into_iter().map(|(route, services)| one(route, &services.join(", "), status, helper_need, measured));
    judged.chain(measured.stale_clamps.iter().map(stale_clamp_finding)).collect()
}

fn one(
    route: &EgressPath,
    services: &str,
    status: Option<&Status>,
    helper_need: HelperNeed,
    measured: &Measured,
) -> Finding {
    let known = route.egress.as_ref().and_then(|egress| measured.known.iter().find(|known| known.link == egress.link));
    if let Some(finding) = known.and_then(|known| narrow_path(route, services, status, known)) {
        return finding;
    }
    match (route.verdict, &route.egress) {
        (Verdict::ClampHelps | Verdict::NarrowLink, Some(egress)) => {
            narrow(route, egress, services, status, helper_need, known)
        }
        (Verdict::NoRoute, _) => Finding::note(
            Code::NoRoute,
            format!("no route leads from {services} to the internet"),
            "ip route get 198.41.0.4",
        ),
        (Verdict::NotForwarded, _) => Finding::broken(
            Code::NotForwarded,
            format!(
                "this host reaches the internet and forwards nothing for {services}: forwarding is off, or a rule forbids it"
            ),
            "sudo sysctl -w net.ipv4.ip_forward=1",
        ),
        (Verdict::Unknown, _) => Finding::not_known(
            &format!("the packets of {services} get through"),
            "the kernel does not report its routes",
        ),
        _ => passes(route, services, known, measured),
    }
}

/// The finding if packets fit the link. Whether the path behind a tunnel carries them is only known
/// if it was measured.
fn passes(route: &EgressPath, services: &str, known: Option<&Known>, measured: &Measured) -> Finding {
    let summary = format!("packets of {services}: {route}");
    match known {
        Some(known) => Finding::fine(format!("{summary}, measured {} ({})", ago(known.age), known.verdict)),
        None if route.through_tunnel() && measured.possible => {
            let noun = route.egress.as_ref().map_or("VPN", Egress::noun);
            let cause = format!(
                "{summary}; that follows from MTUs, and whether the path behind the {noun} is narrower was not measured"
            );
            Finding::note(Code::Measured(verdict::Code::NotMeasured), cause, "airpods net check")
        }
        None => Finding::fine(summary),
    }
}

/// The finding if a measurement showed that the path behind the link is narrower than the link, or
/// otherwise faulty.
fn narrow_path(route: &EgressPath, services: &str, status: Option<&Status>, known: &Known) -> Option<Finding> {
    let Known { link, verdict, remedy, age, .. } = known;
    match remedy {
        Remedy::Fixed { mtu, .. } if status.is_some_and(|status| is_clamped_to(status, link, (*mtu).into())) => {
            Some(Finding::fine(format!(
                "packets of {services}: {route}, clamped to the {mtu} bytes that were measured {}",
                ago(*age)
            )))
        }
        Remedy::Fixed { mtu, .. } => {
            let cause = format!(
                "the path behind `{link}` takes {mtu} bytes, less than the link (measured {}): large transfers of {services} hang",
                ago(*age)
            );
            let cure = fixed_clamp_command(route.egress.as_ref()?, "auto");
            Some(Finding::broken(Code::Measured(*verdict), cause, cure))
        }
        Remedy::OtherFault => {
            let cause =
                format!("something is wrong with the path behind `{link}` of {services} (measured {})", ago(*age));
            Some(Finding::broken(Code::Measured(*verdict), cause, "airpods net check"))
        }
        Remedy::Nothing | Remedy::Route | Remedy::NotMeasured => None,
    }
}

fn stale_clamp_finding(clamp: &StaleClamp) -> Finding {
    Finding::note(Code::Measured(verdict::Code::NotMeasured), clamp.to_string(), clamp.cure.as_str())
}

/// The finding if packets of the network are larger than the link's MTU, and the host forwards
/// them.
fn narrow(
    route: &EgressPath,
    egress: &Egress,
    services: &str,
    status: Option<&Status>,
    helper_need: HelperNeed,
    known: Option<&Known>,
) -> Finding {
    let Egress { link, mtu, .. } = egress;
    let network_mtu = route.network_mtu.unwrap_or_default();
    let known = known.filter(|known| known.from_network);
    let cure = cure(egress, status);
    let how = known.map_or_else(|| "inferred, not measured".to_owned(), |known| format!("measured {}", ago(known.age)));
    let find = if helper_need == HelperNeed::None { Finding::note } else { Finding::broken };
    match coverage(status, egress) {
        ClampCoverage::Clamped => Finding::fine(format!("packets of {services}: {route}, clamped")),
        ClampCoverage::Open | ClampCoverage::TooHigh(_)
            if known.is_some_and(|known| known.remedy == Remedy::Nothing) =>
        {
            let how = known.map(|known| format!("{} ({})", ago(known.age), known.verdict)).unwrap_or_default();
            Finding::fine(format!(
                "packets of {services}: {route}, and nothing hangs, as was measured from their network {how}"
            ))
        }
        ClampCoverage::TooHigh(clamp) => {
            let cause = format!(
                "`{link}` is clamped to {clamp} bytes and takes {mtu}: large transfers of {services} hang ({how})"
            );
            find(Code::Measured(verdict::Code::ClampTooHigh), cause, cure)
        }
        // Only a note: most such links are in clouds, whose operators take care of their MTU.
        ClampCoverage::Open if !route.through_tunnel() => {
            let cause = format!(
                "`{link}` is no VPN but takes {mtu} bytes, and the network of {services} sends {network_mtu}: large transfers hang \
                 where ICMP is blocked"
            );
            Finding::note(Code::MtuBlackHole, cause, cure)
        }
        ClampCoverage::Open => {
            let cause = format!(
                "packets of {services} have up to {network_mtu} bytes, and `{link}` takes {mtu}: large transfers hang ({how})"
            );
            find(Code::MtuBlackHole, cause, cure)
        }
    }
}

/// Whether the link is clamped; without a helper it is not.
fn coverage(status: Option<&Status>, egress: &Egress) -> ClampCoverage {
    status.map_or(ClampCoverage::Open, |status| clamp_coverage(status, egress))
}

fn cure(egress: &Egress, status: Option<&Status>) -> String {
    let clamp = || clamp_command(egress, status.is_some_and(|status| is_named(status, &egress.link)));
    fitting_network(egress.mtu).filter(|_| status.is_none()).unwrap_or_else(clamp)
}

/// The cure without a helper: a network whose MTU fits the link, unless that is too small for IPv6.
fn fitting_network(mtu: u32) -> Option<String> {
    (mtu >= SMALLEST_MTU)
        .then(|| format!("airpods config set runtime.network.mtu {mtu} && airpods start --reset-network"))
}

/// Judges each branch for the services whose packets may take it.
pub(super) fn judge_branches(paths: &[Path], status: Option<&Status>, measured: &Measured) -> Vec<Finding> {
    measured.branches.iter().filter_map(|branch| narrow_branch(branch, paths, status, measured)).collect()
}

fn narrow_branch(branch: &Branch, paths: &[Path], status: Option<&Status>, measured: &Measured) -> Option<Finding> {
    let Branch { to, egress } = branch;
    let (link, mtu) = (&egress.link, egress.mtu);
    let passes = |path: &&Path| !matches!(path.route.network_path, NetworkPath::Direct | NetworkPath::None);
    paths.iter().find(passes)?;
    if let Some(known) = measured.known.iter().find(|known| known.link == *link)
        && let Remedy::Fixed { mtu, .. } = known.remedy
    {
        if status.is_some_and(|status| is_clamped_to(status, link, mtu.into())) {
            return None;
        }
        let cause = format!(
            "the path behind `{link}`, which leads to {to}, takes {mtu} bytes, less than the link (measured {}): large transfers \
             there hang",
            ago(known.age)
        );
        let cure = fixed_clamp_command(egress, "auto");
        return Some(Finding::broken(Code::Measured(known.verdict), cause, cure));
    }
    // Connections from sockets of the host use the MTU of the link.
    let sends_more = |path: &&Path| {
        path.route.network_path == NetworkPath::Bridge && path.route.network_mtu.is_some_and(|network| network > mtu)
    };
    let services: Vec<String> = paths.iter().filter(sends_more).map(|path| format!("`{}`", path.service)).collect();
    if services.is_empty() {
        return None;
    }
    let services = services.join(", ");
    let (code, cause) = match coverage(status, egress) {
        ClampCoverage::Clamped => return None,
        ClampCoverage::TooHigh(clamp) => (
            Code::Measured(verdict::Code::ClampTooHigh),
            format!(
                "`{link}` leads to {to}, is clamped to {clamp} bytes and takes {mtu}: large transfers of {services} there can hang \
                 (inferred, not measured)"
            ),
        ),
        ClampCoverage::Open => (
            Code::MtuBlackHole,
            format!(
                "`{link}` leads to {to} and takes {mtu} bytes, less than the network of {services} sends: large transfers there can \
                 hang (inferred, not measured)"
            ),
        ),
    };
    Some(Finding::note(code, cause, cure(egress, status)))
}

pub(super) fn read_measured(
    config: &Config,
    folder: Option<&std::path::Path>,
    paths: &[Path],
    status: Option<&Status>,
) -> Measured {
    let targets = targets::of_images(config.enabled().map(|(_, service)| &service.image));
    let variable = |name: &str| std::env::var(name).ok();
    let reachable = targets.iter().any(|target| targets::proxy(target, variable).is_none());
    let possible = reachable && config.runtime.network.measure;
    let branches = EgressLinks::of_host().and_then(|leaving| egress::branches(&leaving).ok()).unwrap_or_default();
    let of_services =
        paths.iter().filter(|path| path.route.through_tunnel()).filter_map(|path| path.route.egress.as_ref());
    let all = of_services.chain(branches.iter().map(|branch| &branch.egress));
    let links: BTreeMap<&str, &Egress> = all.map(|egress| (egress.link.as_str(), egress)).collect();
    let (memory, now) = (Memory::load(folder), SystemTime::now());
    let around: Vec<_> = links.into_values().map(|egress| (egress, Network::of(&egress.link))).collect();
    let known = around.iter().filter_map(|(_, network)| memory.known(network, now)).collect();
    let stale_clamps =
        around.iter().filter_map(|(egress, network)| memory.stale_clamp(status?, egress, network, now)).collect();
    Measured { known, stale_clamps, branches, possible }
}
