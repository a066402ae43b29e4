//! The clamps that ought to exist: pure decisions over values.
//!
//! [`Desired`] is what callers asked for, [`plan`] turns it and the links there are into the [`Ruleset`] the kernel ought to hold
//! and the status to report. Nothing here reads or changes anything, so every rule about what is clamped is tested as a value.

mod desired;

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{ClampOptions, ErrorKind, LinkName, Origin, names::MAX_CLAMPS};

use crate::kernel::{Link, Ruleset};

pub use desired::{Change, Desired, Request};

/// The desired state now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The desired content of the table.
    pub ruleset: Ruleset,
    /// The clamps to report, in the order of their links.
    pub clamps: BTreeMap<LinkName, PlannedClamp>,
    /// The names that auto has taken as VPN links, now or before; to be handed to the next plan.
    pub known: BTreeSet<LinkName>,
}

/// One clamp of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedClamp {
    /// The caller who asked for it.
    pub origin: Origin,
    /// The request.
    pub options: ClampOptions,
    /// The link, if it is there.
    pub link: Option<Link>,
    /// Whether the rules name it. They do not name a link which is there and is no VPN.
    pub ruled: bool,
}

impl PlannedClamp {
    /// Whether there are packets to clamp: the rules name the link, and it is there and up.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ruled && self.link.as_ref().is_some_and(|link| link.up)
    }
}

/// Plans what ought to hold, given the links there are and the names `known` from the plan before.
///
/// The rules name links that are not there, too: a link that was asked for, or that auto has once taken, is clamped
/// from its first SYN when it comes (back). A link that has such a name and is no VPN is left alone, unless the
/// caller who named it wanted just that. Nothing follows a link that is renamed.
#[must_use]
pub fn plan(desired: &Desired, links: &[Link], known: &BTreeSet<LinkName>) -> Plan {
    let there: BTreeMap<&LinkName, &Link> = links.iter().map(|link| (&link.name, link)).collect();
    let mut plan = Plan::default();
    for (name, options) in &desired.named {
        let link = there.get(name).map(|link| (*link).clone());
        let ruled = options.any_link || link.as_ref().is_none_or(|link| link.kind.is_vpn());
        plan.take(name, PlannedClamp { origin: Origin::Named, options: *options, link, ruled });
    }
    let Some(options) = desired.auto else { return plan };
    let now = links.iter().filter(|link| in_use(link)).map(|link| &link.name);
    let before = known.iter().filter(|name| there.get(name).is_none_or(|link| link.kind.is_vpn()));
    // Those in use come first, so that names of links long gone are what is forgotten when there are too many.
    for name in now.chain(before) {
        if plan.known.len() >= MAX_CLAMPS {
            break;
        }
        plan.known.insert(name.clone());
        if !plan.clamps.contains_key(name) && plan.clamps.len() < MAX_CLAMPS {
            let link = there.get(name).map(|link| (*link).clone());
            plan.take(name, PlannedClamp { origin: Origin::Auto, options, link, ruled: true });
        }
    }
    plan
}

impl Plan {
    fn take(&mut self, name: &LinkName, clamp: PlannedClamp) {
        match clamp.options.mtu.filter(|_| clamp.ruled) {
            Some(mtu) => drop(self.ruleset.fixed.insert(name.clone(), mtu)),
            None if clamp.ruled => drop(self.ruleset.route.insert(name.clone())),
            None => {}
        }
        self.clamps.insert(name.clone(), clamp);
    }
}

/// Whether it depends on its routes if auto takes the link now: a VPN link that is up.
#[must_use]
pub fn may_be_in_use(link: &Link) -> bool {
    link.kind.is_vpn() && link.up
}

/// Whether auto takes the link now: a VPN link that is up and that routes lead through.
#[must_use]
pub fn in_use(link: &Link) -> bool {
    may_be_in_use(link) && link.routes.any
}

/// Whether `name` may be clamped with `options`: it is a VPN link, or not there (yet), or any link was asked for.
///
/// # Errors
/// [`ErrorKind::NotVpnLink`], with the kind that the kernel reports.
pub fn accept(name: &LinkName, options: ClampOptions, link: Option<&Link>) -> Result<(), airpods_dbus::Error> {
    match link.filter(|link| !options.any_link && !link.kind.is_vpn()) {
        None => Ok(()),
        Some(link) => Err(ErrorKind::NotVpnLink.because(format!(
            "`{name}` is no VPN link but {}; the option `any-link` clamps it all the same",
            worded_kind(&link.kind.info_kind)
        ))),
    }
}

/// The kernel's kind in words that are safe to show: a kind is a module's own text.
fn worded_kind(info_kind: &str) -> String {
    let plain: String = info_kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
    if plain.is_empty() { "a network card".to_owned() } else { format!("a link of kind `{plain}`") }
}

#[cfg(test)]
mod tests;
