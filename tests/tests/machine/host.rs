//! The common parts of the scenarios: a VPN link, the status, and waiting.

use std::time::Duration;

use airpods_lab::{Machine, Place, documents, eventually_within};
use serde_json::Value;

/// Waits until a condition holds. The limit is long because an emulated machine on a busy host is
/// slow.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(300), what, is_so);
}

/// Makes a link of the kernel's WireGuard, up and with a route.
pub(crate) fn wireguard(machine: &Machine, name: &str, mtu: u32) {
    let make = format!("ip link add {name} type wireguard; ip address add 10.9.0.2/24 dev {name}");
    machine.sh(&format!("{make}; ip link set {name} mtu {mtu} up")).unwrap();
}

pub(crate) fn status(machine: &Machine) -> Value {
    let printed = machine.sh("airpods net clamp status --json").unwrap();
    documents::judge(&["net", "clamp", "status", "--json"], &printed).unwrap();
    serde_json::from_str(&printed).unwrap()
}

/// The state, origin and MTU of a link's clamp, if it has one.
pub(crate) fn clamp(machine: &Machine, link: &str) -> Option<(String, String, Option<u64>)> {
    let status = status(machine);
    let found = status["clamps"].as_array().unwrap().iter().find(|clamp| clamp["link"] == link)?;
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    Some((text("state"), text("origin"), found["link-mtu"].as_u64()))
}

/// Whether the kernel has rules for this link.
pub(crate) fn is_in_force(machine: &Machine, link: &str) -> bool {
    let set = machine.sh("nft list set inet airpods links 2>/dev/null || true").unwrap();
    set.contains(&format!("\"{link}\""))
}

/// The helper's process, while it runs.
pub(crate) fn helper_pid(machine: &Machine) -> Option<String> {
    let pid = machine.sh("systemctl show --property MainPID --value airpods-helper.service").unwrap();
    Some(pid).filter(|pid| pid != "0")
}
