//! What the table is to hold, and what it holds.

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{Counters, LinkName, PathMtu};

/// What the table `inet airpods` is to hold. Two equal rulesets make the same rules.
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
