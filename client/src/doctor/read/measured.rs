//! What was measured of the VPN that the services' packets leave by: from a file, without sending anything.

use std::path::Path;
use std::time::SystemTime;

use airpods_dbus::Status;

use crate::config::Config;
use crate::doctor::{Measured, path};
use crate::kernel::gateways;
use crate::measure::memory::Memory;
use crate::measure::targets;

pub(super) fn read(config: &Config, folder: Option<&Path>, paths: &[path::Path], status: Option<&Status>) -> Measured {
    let targets = targets::of_images(config.enabled().map(|(_, service)| &service.image));
    let variable = |name: &str| std::env::var(name).ok();
    let reachable = targets.iter().any(|target| targets::proxy(target, variable).is_none());
    let possible = reachable && config.runtime.network.measure;
    let leaves = paths.iter().find(|path| path.way.through_vpn()).and_then(|path| path.way.egress.as_ref());
    let Some(egress) = leaves else { return Measured { possible, ..Measured::default() } };
    let (memory, around, now) = (Memory::load(folder), gateways(&egress.link), SystemTime::now());
    Measured {
        known: memory.known(&egress.link, &around, now),
        elsewhere: status.and_then(|status| memory.of_elsewhere(status, &egress.link, &around, now)),
        possible,
    }
}
