//! Whether transfers to a part of the world get through that is reached by a VPN of its own (split tunnel).

use airpods_dbus::Status;

use super::path::{CLAMP, Measured, Path, fitting_network};
use super::{Code, Finding};
use crate::cure::{Remedy, is_clamped_to};
use crate::egress::{Branch, ClampCoverage, NetworkPath, clamp_coverage};
use crate::measure::memory::ago;

/// Judges each branch for the services whose packets it can get.
pub(super) fn judge(paths: &[Path], status: Option<&Status>, measured: &Measured) -> Vec<Finding> {
    measured.branches.iter().filter_map(|branch| narrow(branch, paths, status, measured)).collect()
}

fn narrow(branch: &Branch, paths: &[Path], status: Option<&Status>, measured: &Measured) -> Option<Finding> {
    let Branch { to, egress } = branch;
    let (link, mtu) = (&egress.link, egress.mtu);
    let passes = |path: &&Path| !matches!(path.way.passage, NetworkPath::Direct | NetworkPath::None);
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
        let cure = format!("airpods net clamp on {link} --mtu auto");
        return Some(Finding::broken(Code::Measured(known.verdict), cause, cure));
    }
    // What leaves by sockets of the host knows the MTU of the link.
    let sends_more = |path: &&Path| {
        path.way.passage == NetworkPath::Bridge && path.way.network_mtu.is_some_and(|network| network > mtu)
    };
    let services: Vec<String> = paths.iter().filter(sends_more).map(|path| format!("`{}`", path.service)).collect();
    let is_clamped = status.is_some_and(|status| clamp_coverage(status, link) == ClampCoverage::Clamped);
    if services.is_empty() || is_clamped {
        return None;
    }
    let cause = format!(
        "`{link}` leads to {to} and takes {mtu} bytes, less than the network of {} sends: large transfers there can hang (inferred, \
         not measured)",
        services.join(", ")
    );
    let cure = fitting_network(mtu, status.is_some()).unwrap_or_else(|| CLAMP.to_owned());
    Some(Finding::note(Code::MtuBlackHole, cause, cure))
}
