//! The table `inet airpods`: what it is to hold and what has to change for that (here), what it is made of ([`layout`]), how that
//! is said to the kernel ([`encode`]), and how the kernel's answer is read ([`readback`]).
//!
//! Everything here is values in, values out; the conversation is in `netlink`.

pub mod encode;
mod expression;
pub mod layout;
pub mod readback;

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{Counters, LinkName, PathMtu};

use layout::Layout;
use readback::Found;

/// The table's name. Its family is `inet`, so that one table sees IPv4 and IPv6.
pub use airpods_dbus::names::TABLE as NAME;

/// The desired content of the table `inet airpods`. Two equal rulesets make the same rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Links clamped to the route MTU (`rt mtu`): the elements of the set `links`.
    pub route: BTreeSet<LinkName>,
    /// Links clamped to a fixed path MTU: the elements of the maps `mss4` and `mss6`.
    pub fixed: BTreeMap<LinkName, PathMtu>,
}

impl Ruleset {
    /// Whether there is nothing to hold, so that there need be no table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.route.is_empty() && self.fixed.is_empty()
    }
}

/// A table of our name, read back from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The links that the rules act on.
    pub ruleset: Ruleset,
    /// Handshake packets counted by the rules.
    pub counters: Counters,
    /// Whether the table has the structure that the helper gives it, and nothing else in it.
    pub is_ours: bool,
}

impl Held {
    /// Whether a table that was read, or none, is what it takes for `wanted`.
    #[must_use]
    pub fn is_exactly(held: Option<&Self>, wanted: &Ruleset) -> bool {
        held.map_or(wanted.is_empty(), |held| held.is_ours && !wanted.is_empty() && held.ruleset == *wanted)
    }
}

/// The one transaction that leads from what was found to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// All is as wanted.
    Nothing,
    /// The table goes.
    Delete,
    /// Elements come and go in a table of the right structure, and its counters stay.
    Elements {
        /// Elements to take out, as they are now.
        remove: Ruleset,
        /// Elements to put in.
        add: Ruleset,
    },
    /// Whatever is there goes, if anything is, and the whole table is made.
    Replace(Ruleset),
}

/// Decides. A found table is kept only if it is what we would have made ourselves, without flags.
#[must_use]
pub fn change(found: Option<&Found>, wanted: &Ruleset) -> Change {
    match found {
        None if wanted.is_empty() => Change::Nothing,
        Some(_) if wanted.is_empty() => Change::Delete,
        Some(Found { flags: 0, ours: Some(held), .. })
            if std::ptr::eq(Layout::of(&held.ruleset), Layout::of(wanted)) =>
        {
            if held.ruleset == *wanted {
                return Change::Nothing;
            }
            Change::Elements { remove: difference(&held.ruleset, wanted), add: difference(wanted, &held.ruleset) }
        }
        _ => Change::Replace(wanted.clone()),
    }
}

/// The entries of `one` that `other` lacks, or has with another value.
fn difference(one: &Ruleset, other: &Ruleset) -> Ruleset {
    Ruleset {
        route: one.route.difference(&other.route).cloned().collect(),
        fixed: one
            .fixed
            .iter()
            .filter(|(link, mtu)| other.fixed.get(link) != Some(mtu))
            .map(|(link, mtu)| (link.clone(), *mtu))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
