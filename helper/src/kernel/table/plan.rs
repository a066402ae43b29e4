//! What has to change so that the table holds what is wanted.

use super::layout::Layout;
use super::readback::Found;
use super::wire::OWNER;
use crate::kernel::Ruleset;

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
    /// The table is made, where there is none.
    Create(Ruleset),
    /// Whatever is there goes, and the whole table is made anew.
    Replace(Ruleset),
}

/// Decides. A found table is kept only if it is what we would have made ourselves, with the owner (a socket's netlink
/// port) that we would have given it.
#[must_use]
pub fn change(found: Option<&Found>, wanted: &Ruleset, owner: Option<u32>) -> Change {
    let Some(found) = found else {
        return if wanted.is_empty() { Change::Nothing } else { Change::Create(wanted.clone()) };
    };
    if wanted.is_empty() {
        return Change::Delete;
    }
    let flags = if owner.is_some() { OWNER } else { 0 };
    let flagged = found.owner == owner && found.flags == flags;
    match &found.ours {
        Some(held) if flagged && std::ptr::eq(Layout::of(&held.ruleset), Layout::of(wanted)) => {
            if held.ruleset == *wanted {
                return Change::Nothing;
            }
            Change::Elements { remove: difference(&held.ruleset, wanted), add: difference(wanted, &held.ruleset) }
        }
        _ => Change::Replace(wanted.clone()),
    }
}

/// What is in `one` and not, or with another value, in `other`.
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::{LinkName, PathMtu};

    use super::*;
    use crate::kernel::table::readback::Ours;

    fn ruleset(route: &[&str], fixed: &[(&str, u32)]) -> Ruleset {
        Ruleset {
            route: route.iter().map(|name| LinkName::parse(name).unwrap()).collect(),
            fixed: fixed
                .iter()
                .map(|(name, mtu)| (LinkName::parse(name).unwrap(), PathMtu::new(*mtu).unwrap()))
                .collect(),
        }
    }

    fn ours(ruleset: Ruleset) -> Found {
        Found { owner: Some(7), flags: OWNER, ours: Some(Ours { ruleset, counts: std::collections::BTreeMap::new() }) }
    }

    #[test]
    fn nothing_is_done_for_what_is_already_so() {
        assert_eq!(change(None, &Ruleset::default(), Some(7)), Change::Nothing);
        let held = ruleset(&["wg0"], &[("wg1", 1300)]);
        assert_eq!(change(Some(&ours(held.clone())), &held, Some(7)), Change::Nothing);
    }

    #[test]
    fn links_come_and_go_as_elements() {
        let found = ours(ruleset(&["wg0", "wg1"], &[]));
        assert_eq!(
            change(Some(&found), &ruleset(&["wg1", "wg2"], &[]), Some(7)),
            Change::Elements { remove: ruleset(&["wg0"], &[]), add: ruleset(&["wg2"], &[]) }
        );
    }

    #[test]
    fn another_fixed_value_takes_the_old_element_out() {
        let found = ours(ruleset(&[], &[("wg0", 1300), ("wg1", 1400)]));
        assert_eq!(
            change(Some(&found), &ruleset(&["wg1"], &[("wg0", 1280)]), Some(7)),
            Change::Elements {
                remove: ruleset(&[], &[("wg0", 1300), ("wg1", 1400)]),
                add: ruleset(&["wg1"], &[("wg0", 1280)])
            }
        );
    }

    #[test]
    fn a_table_of_another_structure_or_of_somebody_else_is_replaced() {
        let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
        for found in [ours(ruleset(&["wg0"], &[])), Found { owner: None, flags: 0, ours: None }] {
            assert_eq!(change(Some(&found), &wanted, Some(7)), Change::Replace(wanted.clone()));
        }
        assert_eq!(change(None, &wanted, Some(7)), Change::Create(wanted.clone()));
    }

    #[test]
    fn our_own_structure_is_replaced_too_if_it_is_dormant_plain_or_owned_by_another_socket() {
        let wanted = ruleset(&["wg0"], &[]);
        for (owner, flags) in [(None, 0), (None, 1), (Some(8), OWNER), (Some(7), OWNER | 1), (None, OWNER | 4)] {
            let found = Found { flags, owner, ..ours(wanted.clone()) };
            assert_eq!(change(Some(&found), &wanted, Some(7)), Change::Replace(wanted.clone()), "{owner:?} {flags}");
        }
        let plain = Found { owner: None, flags: 0, ..ours(wanted.clone()) };
        assert_eq!(change(Some(&plain), &wanted, None), Change::Nothing);
    }

    #[test]
    fn with_nothing_wanted_any_table_goes() {
        assert_eq!(
            change(Some(&Found { owner: None, flags: 0, ours: None }), &Ruleset::default(), Some(7)),
            Change::Delete
        );
    }
}
