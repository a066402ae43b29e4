//! What has to change so that the table holds what is wanted.

use super::layout::Layout;
use super::readback::Found;
use super::ruleset::Ruleset;

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
        Found { owner: None, flags: 0, ours: Some(Ours { ruleset, counts: std::collections::BTreeMap::new() }) }
    }

    #[test]
    fn nothing_is_done_for_what_is_already_so() {
        assert_eq!(change(None, &Ruleset::default()), Change::Nothing);
        let held = ruleset(&["wg0"], &[("wg1", 1300)]);
        assert_eq!(change(Some(&ours(held.clone())), &held), Change::Nothing);
    }

    #[test]
    fn links_come_and_go_as_elements() {
        let found = ours(ruleset(&["wg0", "wg1"], &[]));
        assert_eq!(
            change(Some(&found), &ruleset(&["wg1", "wg2"], &[])),
            Change::Elements { remove: ruleset(&["wg0"], &[]), add: ruleset(&["wg2"], &[]) }
        );
    }

    #[test]
    fn another_fixed_value_takes_the_old_element_out() {
        let found = ours(ruleset(&[], &[("wg0", 1300), ("wg1", 1400)]));
        assert_eq!(
            change(Some(&found), &ruleset(&["wg1"], &[("wg0", 1280)])),
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
            assert_eq!(change(Some(&found), &wanted), Change::Replace(wanted.clone()));
        }
        assert_eq!(change(None, &wanted), Change::Replace(wanted.clone()));
    }

    #[test]
    fn our_own_structure_is_replaced_too_if_it_has_any_flag() {
        let wanted = ruleset(&["wg0"], &[]);
        for flags in [1, 2, 3, 4] {
            let found = Found { flags, ..ours(wanted.clone()) };
            assert_eq!(change(Some(&found), &wanted), Change::Replace(wanted.clone()), "{flags}");
        }
        assert_eq!(change(Some(&ours(wanted.clone())), &wanted), Change::Nothing);
    }

    #[test]
    fn with_nothing_wanted_any_table_goes() {
        assert_eq!(change(Some(&Found { owner: None, flags: 0, ours: None }), &Ruleset::default()), Change::Delete);
    }
}
