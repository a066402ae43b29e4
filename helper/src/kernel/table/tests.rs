//! The changes that a table needs, tested on values.
#![allow(clippy::unwrap_used)]
use super::*;

fn ruleset(route: &[&str], fixed: &[(&str, u32)]) -> Ruleset {
    Ruleset {
        route: route.iter().map(|name| LinkName::parse(name).unwrap()).collect(),
        fixed: fixed.iter().map(|(name, mtu)| (LinkName::parse(name).unwrap(), PathMtu::new(*mtu).unwrap())).collect(),
    }
}

fn ours(ruleset: Ruleset) -> TableState {
    TableState { is_ours: true, ruleset, ..TableState::default() }
}

#[test]
fn nothing_is_done_for_what_is_already_so() {
    assert_eq!(change(None, &Ruleset::default()), None);
    let held = ruleset(&["wg0"], &[("wg1", 1300)]);
    assert_eq!(change(Some(&ours(held.clone())), &held), None);
}

#[test]
fn links_come_and_go_as_elements() {
    let found = ours(ruleset(&["wg0", "wg1"], &[]));
    assert_eq!(
        change(Some(&found), &ruleset(&["wg1", "wg2"], &[])),
        Some(Change::Elements { remove: ruleset(&["wg0"], &[]), add: ruleset(&["wg2"], &[]) })
    );
}

#[test]
fn another_fixed_value_takes_the_old_element_out() {
    let found = ours(ruleset(&[], &[("wg0", 1300), ("wg1", 1400)]));
    assert_eq!(
        change(Some(&found), &ruleset(&["wg1"], &[("wg0", 1280)])),
        Some(Change::Elements {
            remove: ruleset(&[], &[("wg0", 1300), ("wg1", 1400)]),
            add: ruleset(&["wg1"], &[("wg0", 1280)])
        })
    );
}

#[test]
fn a_foreign_table_or_one_of_another_structure_is_replaced() {
    let wanted = ruleset(&["wg0"], &[("wg1", 1300)]);
    for found in [ours(ruleset(&["wg0"], &[])), TableState::default()] {
        assert_eq!(change(Some(&found), &wanted), Some(Change::Replace(wanted.clone())));
    }
    assert_eq!(change(None, &wanted), Some(Change::Replace(wanted.clone())));
}

#[test]
fn with_nothing_wanted_any_table_goes() {
    assert_eq!(change(Some(&TableState::default()), &Ruleset::default()), Some(Change::Delete));
}
