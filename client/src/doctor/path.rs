//! Whether what a service sends gets through: the MTU that its packets meet, and who clamps.

use airpods_dbus::Status;

use super::helper::Use;
use super::{Code, Finding};
use crate::way::{Egress, SMALLEST_MTU, Standing, Verdict, Way, standing};

/// The way of a service's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The service.
    pub service: String,
    /// Its way.
    pub way: Way,
}

/// Judges the ways; services that share one are told together. `status` is what the helper keeps, if it answers.
pub(super) fn judge(paths: &[Path], status: Option<&Status>, usage: Use) -> Vec<Finding> {
    let mut ways: Vec<(&Way, Vec<String>)> = Vec::new();
    for Path { service, way } in paths {
        let service = format!("`{service}`");
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, services)) => services.push(service),
            None => ways.push((way, vec![service])),
        }
    }
    ways.into_iter().map(|(way, services)| one(way, &services.join(", "), status, usage)).collect()
}

fn one(way: &Way, services: &str, status: Option<&Status>, usage: Use) -> Finding {
    match (way.verdict, &way.egress) {
        (Verdict::ClampHelps | Verdict::NarrowLink, Some(egress)) => narrow(way, egress, services, status, usage),
        (Verdict::NoRoute, _) => Finding::note(
            Code::NoRoute,
            format!("no route leads from {services} to the internet"),
            "ip route get 198.41.0.4",
        ),
        (Verdict::Unknown, _) => {
            Finding::not_known(&format!("the packets of {services} get through"), "the kernel does not tell its routes")
        }
        _ => Finding::fine(format!("packets of {services}: {way}")),
    }
}

/// Packets of the network are bigger than what fits, and the host forwards them.
fn narrow(way: &Way, egress: &Egress, services: &str, status: Option<&Status>, usage: Use) -> Finding {
    let Egress { link, mtu, .. } = egress;
    let network_mtu = way.network_mtu.unwrap_or_default();
    let cure = cure(way, egress, status.is_some());
    match status.map_or(Standing::Open, |status| standing(status, link)) {
        Standing::Clamped => Finding::fine(format!("packets of {services}: {way}, clamped")),
        // Most of them, in clouds, have somebody who sees to it.
        Standing::Open if way.verdict == Verdict::NarrowLink => {
            let cause = format!(
                "`{link}` is no VPN but takes {mtu} bytes, and the network of {services} sends {network_mtu}: big transfers hang \
                 where ICMP is blocked"
            );
            Finding::note(Code::MtuBlackHole, cause, cure)
        }
        Standing::Open => {
            let cause = format!(
                "big transfers of {services} hang behind `{link}`: {mtu} bytes fit, and their network sends {network_mtu}"
            );
            let find = if usage == Use::None { Finding::note } else { Finding::broken };
            find(Code::MtuBlackHole, cause, cure)
        }
    }
}

fn cure(way: &Way, egress: &Egress, helper: bool) -> String {
    let Egress { link, mtu, .. } = egress;
    match way.verdict {
        _ if !helper && *mtu >= SMALLEST_MTU => {
            format!("airpods config set runtime.network.mtu {mtu} && airpods start --reset-network")
        }
        Verdict::ClampHelps => "airpods net clamp on".to_owned(),
        _ => format!("airpods net clamp on {link} --any-link"),
    }
}
