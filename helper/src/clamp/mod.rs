//! The desired clamps: pure decisions over values.
//!
//! [`Desired`] is what callers asked for. [`plan`] combines it with the existing links into the
//! desired [`Ruleset`] and the clamps to report. Nothing here reads or changes anything, so tests
//! check every decision on values.

mod desired;

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{ClampOptions, ErrorKind, LinkName, Origin, names::MAX_CLAMPS};

use crate::kernel::{Link, Ruleset};

pub use desired::{Change, Desired, Request};

/// The desired rules, and the clamps to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The desired content of the table.
    pub ruleset: Ruleset,
    /// The clamps to report, in the order of their links.
    pub clamps: BTreeMap<LinkName, PlannedClamp>,
    /// The names of VPN links that auto takes now or took before; input of the next plan.
    pub known: BTreeSet<LinkName>,
}

/// One clamp of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedClamp {
    /// Why it exists: auto, or a caller named the link.
    pub origin: Origin,
    /// The requested options.
    pub options: ClampOptions,
    /// The link, if it is there.
    pub link: Option<Link>,
    /// Whether the rules name it. They do not if the link exists and is no VPN, unless `any-link`
    /// was given.
    pub ruled: bool,
}

impl PlannedClamp {
    /// Whether the clamp can act on packets: the rules name the link, and it exists and is up.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ruled && self.link.as_ref().is_some_and(|link| link.up)
    }
}

/// Computes the desired rules from the existing links and the names `known` from the plan before.
///
/// The rules also name absent links. A link that a caller named, or that auto has seen before, is
/// clamped from its first SYN when it comes up. An existing link of such a name that is no VPN is
/// left alone, unless its caller gave `any-link`. A renamed link is a new link.
///
/// There are [`MAX_CLAMPS`] places. Names have theirs before auto. But an auto that is kept across
/// reboots has its places before names that are not kept: anybody who may name links could
/// otherwise leave it none.
#[must_use]
pub fn plan(desired: &Desired, links: &[Link], known: &BTreeSet<LinkName>) -> Plan {
    let there: BTreeMap<&LinkName, &Link> = links.iter().map(|link| (&link.name, link)).collect();
    let named = |name: &LinkName, options: &ClampOptions| {
        let link = there.get(name).map(|link| (*link).clone());
        let ruled = options.any_link || link.as_ref().is_none_or(|link| link.kind.is_vpn());
        PlannedClamp { origin: Origin::Named, options: *options, link, ruled }
    };
    let mut plan = Plan::default();
    let is_auto_kept = desired.auto.is_some_and(|auto| auto.persist);
    let (first, mut last): (Vec<_>, Vec<_>) =
        desired.named.iter().partition(|(_, options)| options.persist || !is_auto_kept);
    for (name, options) in first {
        plan.take(name, named(name, options));
    }
    let Some(auto) = desired.auto else { return plan };
    let now = links.iter().filter(|link| in_use(link)).map(|link| &link.name);
    let before = known.iter().filter(|name| there.get(name).is_none_or(|link| link.kind.is_vpn()));
    // Links in use come first: if there are too many, the names of absent links are dropped.
    for name in now.chain(before) {
        if plan.known.len() >= MAX_CLAMPS {
            break;
        }
        plan.known.insert(name.clone());
        let clamp = match desired.named.get(name) {
            Some(options) => named(name, options),
            None => PlannedClamp { origin: Origin::Auto, options: auto, ruled: true, ..named(name, &auto) },
        };
        plan.take(name, clamp);
    }
    last.sort_by_key(|(name, _)| !there.contains_key(name));
    for (name, options) in last {
        plan.take(name, named(name, options));
    }
    plan
}

impl Plan {
    /// Whether a clamp on `name` could only take the place of another one.
    #[must_use]
    pub fn is_full_for(&self, name: &LinkName) -> bool {
        self.clamps.len() >= MAX_CLAMPS && !self.clamps.contains_key(name)
    }

    /// Adds a clamp, unless the link has one or all places are taken.
    fn take(&mut self, name: &LinkName, clamp: PlannedClamp) {
        if self.clamps.len() >= MAX_CLAMPS || self.clamps.contains_key(name) {
            return;
        }
        match clamp.options.mtu.filter(|_| clamp.ruled) {
            Some(mtu) => drop(self.ruleset.fixed.insert(name.clone(), mtu)),
            None if clamp.ruled => drop(self.ruleset.route.insert(name.clone())),
            None => {}
        }
        self.clamps.insert(name.clone(), clamp);
    }
}

/// Whether only its routes decide if auto takes the link now: a VPN link that is up.
#[must_use]
pub fn may_be_in_use(link: &Link) -> bool {
    link.kind.is_vpn() && link.up
}

/// Whether auto takes the link now: a VPN link that is up and has routes through it.
#[must_use]
pub fn in_use(link: &Link) -> bool {
    may_be_in_use(link) && link.routes.any
}

/// Checks that `name` can be clamped with `options`: it is a VPN link, it does not exist (yet), or
/// `any-link` is given.
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

/// The kernel's kind, worded safely for display: a kernel module chooses the text of its kind.
fn worded_kind(info_kind: &str) -> String {
    let plain: String = info_kind.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_').collect();
    if plain.is_empty() { "a network card".to_owned() } else { format!("a link of kind `{plain}`") }
}

#[cfg(test)]
mod tests;
