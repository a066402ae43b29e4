//! The recent measurements of the VPNs that the services' packets leave by: from a file, without sending anything.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use airpods_dbus::Status;

use crate::config::Config;
use crate::doctor::{Measured, path};
use crate::egress::{self, Leaving};
use crate::kernel::gateways;
use crate::measure::memory::Memory;
use crate::measure::targets;

pub(super) fn read(config: &Config, folder: Option<&Path>, paths: &[path::Path], status: Option<&Status>) -> Measured {
    let targets = targets::of_images(config.enabled().map(|(_, service)| &service.image));
    let variable = |name: &str| std::env::var(name).ok();
    let reachable = targets.iter().any(|target| targets::proxy(target, variable).is_none());
    let possible = reachable && config.runtime.network.measure;
    let branches = Leaving::of_host().and_then(|leaving| egress::branches(&leaving).ok()).unwrap_or_default();
    let of_services = paths.iter().filter(|path| path.way.through_vpn()).filter_map(|path| path.way.egress.as_ref());
    let all = of_services.chain(branches.iter().map(|branch| &branch.egress));
    let links: BTreeSet<&str> = all.map(|egress| egress.link.as_str()).collect();
    let (memory, now) = (Memory::load(folder), SystemTime::now());
    let around: Vec<_> = links.into_iter().map(|link| (link, gateways(link))).collect();
    let known = around.iter().filter_map(|(link, around)| memory.known(link, around, now)).collect();
    let elsewhere =
        around.iter().filter_map(|(link, around)| memory.of_elsewhere(status?, link, around, now)).collect();
    Measured { known, elsewhere, branches, possible }
}
