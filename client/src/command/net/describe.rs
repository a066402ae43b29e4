//! Formats the helper's status, as text and as JSON. Pure.

use std::fmt::Write;

use airpods_dbus::{ClampState, ClampStatus, Counters, Mode, Origin, Status, Target, Unclampable};
use serde_json::{Value, json};

use crate::helper_link::Change;

#[cfg(test)]
mod tests;

/// The note if auto is on and no VPN link is up.
const NO_VPN: &str = "no VPN link is up now; one that appears will be clamped at once";

/// The sentence about a change if the status is unknown.
pub(super) fn bare(changed: bool) -> &'static str {
    if changed { "done" } else { "nothing to do" }
}

/// The lines after a change: the new state, and anything that may surprise the user.
pub(in crate::command) fn outcome(change: &Change, changed: bool, status: &Status) -> Vec<String> {
    match change {
        Change::On(Target::Auto, options) => {
            let mut lines = auto_on(changed, status);
            let mtu = options.mtu.map(|mtu| u32::from(mtu.bytes()));
            lines.extend(
                status.clamps.iter().filter(|clamp| clamp.origin == Origin::Auto).filter_map(|c| too_large(c, mtu)),
            );
            if status.unclampable.len() > 1 {
                lines.extend(unclampable(status));
            }
            lines
        }
        Change::On(Target::Link(link), options) => {
            let mtu = options.mtu.map(|mtu| u32::from(mtu.bytes()));
            link_on(link.as_str(), mtu, changed, status)
        }
        Change::Off(Target::Auto) => auto_off(changed, status),
        Change::Off(Target::Link(link)) => link_off(link.as_str(), changed, status),
        Change::Reset if changed => vec!["every clamp is off, and no rule is left".to_owned()],
        Change::Reset => vec!["nothing to do: nothing was clamped".to_owned()],
    }
}

/// A note that the host has no such link. `links` are the links that it has, each with whether it
/// is a VPN.
pub(super) fn absent(link: &str, links: &[(String, bool)]) -> Option<String> {
    if links.iter().any(|(name, _)| name == link) {
        return None;
    }
    let vpn: Vec<_> = links.iter().filter(|(_, is_vpn)| *is_vpn).map(|(name, _)| format!("`{name}`")).collect();
    let there =
        if vpn.is_empty() { "it has no VPN link".to_owned() } else { format!("VPN links now: {}", vpn.join(", ")) };
    Some(format!("note: this host has no link `{link}`; {there}"))
}

fn find<'a>(status: &'a Status, link: &str) -> Option<&'a ClampStatus> {
    status.clamps.iter().find(|clamp| clamp.link == link)
}

fn link_on(link: &str, mtu: Option<u32>, changed: bool, status: &Status) -> Vec<String> {
    let Some(clamp) = find(status, link) else {
        return vec![format!("{}, and `{link}` is not clamped any more", bare(changed))];
    };
    let already = if changed { "" } else { " already" };
    let kept = if clamp.persist { ", and after a reboot" } else { "" };
    let first = match clamp.state {
        ClampState::Active => format!("`{link}` is clamped{already} to {}{kept}", size(clamp)),
        ClampState::Waiting => {
            format!("`{link}` is not up: nothing is clamped now, and it will be as soon as it appears{kept}")
        }
        ClampState::Contested => contested(link),
        ClampState::Refused => refused(link, status),
    };
    std::iter::once(first).chain(too_large(clamp, mtu)).collect()
}

fn auto_on(changed: bool, status: &Status) -> Vec<String> {
    let already = if changed { "" } else { " already" };
    let kept = if status.auto_persist { ", and after a reboot" } else { "" };
    let (but, why) = exception(&status.unclampable);
    let mut lines = vec![format!("every VPN link{but} is clamped{already}, now and whenever one appears{kept}{why}")];
    let by_auto = || status.clamps.iter().filter(|clamp| clamp.origin == Origin::Auto);
    for clamp in by_auto() {
        lines.push(match clamp.state {
            ClampState::Active => format!("  `{}` is clamped to {}", clamp.link, size(clamp)),
            ClampState::Waiting => format!("  `{}` is not up", clamp.link),
            ClampState::Contested => format!("  {}", contested(&clamp.link)),
            ClampState::Refused => format!("  {}", refused(&clamp.link, status)),
        });
    }
    if !status.clamps.iter().any(|clamp| clamp.state != ClampState::Waiting) {
        lines.push(NO_VPN.to_owned());
    }
    lines
}

/// The links that auto cannot clamp, for the middle of its sentence, and the reason for its end.
/// Several links have a line each with their reason.
fn exception(unclampable: &[Unclampable]) -> (String, String) {
    match unclampable {
        [] => (String::new(), String::new()),
        [one] => (format!(" but `{}`", one.link), format!(": {}", one.reason)),
        several => {
            let names: Vec<_> = several.iter().map(|one| format!("`{}`", one.link)).collect();
            (format!(" but {}", names.join(", ")), String::new())
        }
    }
}

/// Whether a clamp that was asked for is not in force: the rules cannot name the link, or the
/// kernel refuses them.
pub(super) fn is_short_of(change: &Change, status: &Status) -> bool {
    let refused = |clamp: &ClampStatus| clamp.state == ClampState::Refused;
    match change {
        Change::On(Target::Auto, _) => {
            let mut by_auto = status.clamps.iter().filter(|clamp| clamp.origin == Origin::Auto);
            !status.unclampable.is_empty() || by_auto.any(refused)
        }
        Change::On(Target::Link(link), _) => find(status, link.as_str()).is_some_and(refused),
        Change::Off(_) | Change::Reset => false,
    }
}

fn link_off(link: &str, changed: bool, status: &Status) -> Vec<String> {
    match (find(status, link), changed) {
        (Some(_), _) if status.auto => {
            vec![
                format!("`{link}` is still clamped, because every VPN link is"),
                "hint: `airpods net clamp off` ends that".to_owned(),
            ]
        }
        (Some(_), _) => vec![format!("another caller has clamped `{link}` again")],
        (None, true) => vec![format!("`{link}` is not clamped any more")],
        (None, false) => vec![format!("nothing to do: `{link}` was not clamped")],
    }
}

fn auto_off(changed: bool, status: &Status) -> Vec<String> {
    let mut lines = vec![if changed {
        "VPN links are no longer clamped automatically".to_owned()
    } else {
        "nothing to do: VPN links were not clamped automatically".to_owned()
    }];
    for clamp in &status.clamps {
        lines.push(format!("`{0}` is still clamped by name; `airpods net clamp off {0}` ends that", clamp.link));
    }
    lines
}

fn contested(link: &str) -> String {
    format!("`{link}`: another program keeps removing the rules, and the helper restores them; its log says which")
}

fn refused(link: &str, status: &Status) -> String {
    let cause = status.refusal.as_deref().unwrap_or("its log says why");
    format!("`{link}` is not clamped: the kernel refuses the rules ({cause})")
}

/// Notes on VPN links whose names no rule can contain.
fn unclampable(status: &Status) -> impl Iterator<Item = String> {
    status.unclampable.iter().map(|link| format!("warning: `{}` cannot be clamped: {}", link.link, link.reason))
}

/// The size that segments are clamped to fit.
fn size(clamp: &ClampStatus) -> String {
    match (clamp.mode, clamp.mtu, clamp.effective_mtu()) {
        (Mode::Fixed, Some(mtu), _) => format!("a path MTU of {mtu}"),
        (_, _, Some(mtu)) => format!("the route MTU (currently {mtu})"),
        _ => "the route MTU".to_owned(),
    }
}

/// A warning if a path MTU is above the link's own MTU, which no measurement can give.
fn too_large(clamp: &ClampStatus, asked: Option<u32>) -> Option<String> {
    let (asked, link_mtu) = (asked?, clamp.link_mtu?);
    (asked > link_mtu).then(|| {
        format!("warning: {asked} is more than the MTU of `{}`, which is {link_mtu}: it cannot help there", clamp.link)
    })
}

/// The whole status as text.
pub(super) fn status(status: &Status) -> Vec<String> {
    let mut lines = own(status);
    lines.extend(unclampable(status));
    if status.foreign_table {
        lines.push(
            "note: another program made a table `inet airpods`; it is left alone until something is clamped".to_owned(),
        );
    }
    lines
}

fn own(status: &Status) -> Vec<String> {
    let kept = if status.auto_persist { ", and after a reboot" } else { "" };
    let auto = if status.auto {
        let size = status.auto_mtu.map(|mtu| format!(", to a path MTU of {mtu}")).unwrap_or_default();
        format!("auto: on (every VPN link, now and whenever one appears{size}{kept})")
    } else {
        "auto: off".to_owned()
    };
    let mut lines = vec![auto];
    if status.clamps.is_empty() {
        let nothing =
            if status.auto { NO_VPN } else { "nothing is clamped; `airpods net clamp on` clamps every VPN link" };
        lines.push(nothing.to_owned());
        return lines;
    }
    lines.extend(table(&status.clamps));
    if status.clamps.iter().all(|clamp| clamp.state == ClampState::Waiting) {
        lines.push("nothing is clamped now: no such link is up".to_owned());
    }
    lines.extend(status.clamps.iter().filter_map(|clamp| match clamp.state {
        ClampState::Contested => Some(format!("warning: {}", contested(&clamp.link))),
        ClampState::Refused => Some(format!("warning: {}", refused(&clamp.link, status))),
        ClampState::Active | ClampState::Waiting => None,
    }));
    lines.push(counters(status.counters));
    lines
}

fn counters(counters: Counters) -> String {
    let Counters { ipv4_out, ipv4_in, ipv6_out, ipv6_in } = counters;
    format!(
        "handshake packets through clamped links: IPv4 {ipv4_out} out, {ipv4_in} in; IPv6 {ipv6_out} out, {ipv6_in} in"
    )
}

fn table(clamps: &[ClampStatus]) -> Vec<String> {
    let header = ["LINK", "STATE", "CLAMPED TO", "LINK MTU", "KIND", "BY", "PERSIST"].map(str::to_owned);
    let row = |clamp: &ClampStatus| {
        [
            clamp.link.clone(),
            clamp.state.to_string(),
            match (clamp.mode, clamp.mtu, clamp.route_mtu) {
                (Mode::Fixed, Some(mtu), _) => mtu.to_string(),
                (_, _, Some(mtu)) => format!("route ({mtu})"),
                _ => "route".to_owned(),
            },
            clamp.link_mtu.map_or("-".to_owned(), |mtu| mtu.to_string()),
            clamp.link_kind.clone().unwrap_or("-".to_owned()),
            clamp.origin.to_string(),
            if clamp.persist { "yes" } else { "no" }.to_owned(),
        ]
    };
    let rows: Vec<_> = std::iter::once(header).chain(clamps.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The whole status as JSON, with the names that the bus uses.
pub(super) fn json(status: &Status) -> Value {
    let clamp = |clamp: &ClampStatus| {
        json!({
            "link": clamp.link, "state": clamp.state.as_str(), "mode": clamp.mode.as_str(),
            "origin": clamp.origin.as_str(), "persist": clamp.persist, "mtu": clamp.mtu,
            "link-mtu": clamp.link_mtu, "route-mtu": clamp.route_mtu, "link-kind": clamp.link_kind,
        })
    };
    let Counters { ipv4_out, ipv4_in, ipv6_out, ipv6_in } = status.counters;
    json!({
        "version": status.version,
        "auto": status.auto,
        "auto-persist": status.auto_persist,
        "auto-mtu": status.auto_mtu,
        "clamps": status.clamps.iter().map(clamp).collect::<Vec<_>>(),
        "counters": {
            "ipv4-out": ipv4_out, "ipv4-in": ipv4_in, "ipv6-out": ipv6_out, "ipv6-in": ipv6_in,
        },
        "refusal": status.refusal,
        "unclampable": status.unclampable.iter().map(|link| json!({ "link": link.link, "reason": link.reason })).collect::<Vec<_>>(),
        "foreign-table": status.foreign_table,
    })
}
