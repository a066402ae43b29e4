//! The table `inet airpods`. This module has its content and the change that leads to it.
//! [`layout`] has its structure, [`encode`] the messages to the kernel, and [`readback`] the
//! kernel's answers.
//!
//! Everything here works on values; `netlink` exchanges the messages.

pub mod encode;
mod expression;
pub mod layout;
pub mod readback;

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{Counters, LinkName, PathMtu};

use layout::Layout;

/// The table's name. Its family is `inet`, so that one table sees IPv4 and IPv6.
pub use airpods_dbus::names::TABLE as NAME;

/// The content of the table `inet airpods`, as values. Equal rulesets have the same rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Links clamped to the route MTU (`rt mtu`): the elements of the set `links`.
    pub route: BTreeSet<LinkName>,
    /// Links clamped to a fixed path MTU: the elements of the maps `mss4` and `mss6`.
    pub fixed: BTreeMap<LinkName, PathMtu>,
}

impl Ruleset {
    /// Whether no link is clamped, so that no table is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.route.is_empty() && self.fixed.is_empty()
    }
}

/// A table of our name, read back from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// Whether the table has exactly the structure that the helper makes, and no flags. With flags
    /// it counts as foreign: for example, its rules are dormant, or another socket owns it.
    pub is_ours: bool,
    /// The links that the rules act on; empty if the table is foreign.
    pub ruleset: Ruleset,
    /// Handshake packets that the rules counted.
    pub counters: Counters,
    /// The netlink port of the socket that owns the table.
    pub owner: Option<u32>,
}

impl TableState {
    /// Whether a table that was read, or none, is exactly what `wanted` needs.
    #[must_use]
    pub fn is_exactly(table: Option<&Self>, wanted: &Ruleset) -> bool {
        table.map_or(wanted.is_empty(), |table| table.is_ours && !wanted.is_empty() && table.ruleset == *wanted)
    }
}

/// The change from the table that was found to the wanted one, as one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Delete the table.
    Delete,
    /// Change the elements of a table with the right structure; its counters stay.
    Elements {
        /// Elements to delete, with their present values.
        remove: Ruleset,
        /// Elements to add.
        add: Ruleset,
    },
    /// Delete the table, if there is one, and create the whole table.
    Replace(Ruleset),
}

/// Computes the change; `None` if the table is as wanted. The table is kept only if it is ours and
/// has the right layout.
#[must_use]
pub fn change(found: Option<&TableState>, wanted: &Ruleset) -> Option<Change> {
    match found {
        _ if TableState::is_exactly(found, wanted) => None,
        Some(_) if wanted.is_empty() => Some(Change::Delete),
        Some(table) if table.is_ours && std::ptr::eq(Layout::of(&table.ruleset), Layout::of(wanted)) => {
            let (remove, add) = (difference(&table.ruleset, wanted), difference(wanted, &table.ruleset));
            Some(Change::Elements { remove, add })
        }
        _ => Some(Change::Replace(wanted.clone())),
    }
}

/// The entries of `one` that `other` lacks or has with another value.
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
