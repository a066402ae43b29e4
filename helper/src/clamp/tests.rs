//! The choice of links to clamp, tested on values.
#![allow(clippy::unwrap_used)]

use airpods_dbus::{ClampState, LinkKind, PathMtu};

use super::*;
use crate::kernel::Routes;

fn name(text: &str) -> LinkName {
    LinkName::parse(text).unwrap()
}

fn link(text: &str, info_kind: &str) -> Link {
    let kind = LinkKind { info_kind: info_kind.to_owned(), tun_type: None, hardware: 65534 };
    Link { name: name(text), kind, mtu: 1420, up: true, routes: Routes { any: true, mtu: None } }
}

fn wireguard(text: &str) -> Link {
    link(text, "wireguard")
}

fn named<const N: usize>(links: [(&str, ClampOptions); N]) -> Desired {
    Desired { named: links.map(|(text, options)| (name(text), options)).into(), ..Desired::default() }
}

fn auto() -> Desired {
    Desired { auto: Some(ClampOptions::default()), ..Desired::default() }
}

fn fixed() -> ClampOptions {
    ClampOptions { mtu: Some(PathMtu::new(1300).unwrap()), ..ClampOptions::default() }
}

/// The plan of a helper that already knows these names.
fn plan(desired: &Desired, links: &[Link], known: &BTreeSet<LinkName>) -> Plan {
    super::plan(&Desired { known: known.clone(), ..desired.clone() }, links)
}

fn is_active(plan: &Plan, link: &str) -> bool {
    plan.clamps[&name(link)].state == ClampState::Active
}

fn route(plan: &Plan) -> Vec<&str> {
    plan.ruleset.route.iter().map(LinkName::as_str).collect()
}

#[test]
fn a_named_link_is_in_the_rules_before_it_exists() {
    let plan = plan(&named([("wg0", ClampOptions::default())]), &[], &BTreeSet::new());
    assert_eq!(route(&plan), ["wg0"]);
    assert!(!is_active(&plan, "wg0"));
}

#[test]
fn a_named_link_that_turns_out_to_be_no_vpn_is_left_alone() {
    let desired = named([("wg0", ClampOptions::default())]);
    let plan = plan(&desired, &[link("wg0", "bridge")], &BTreeSet::new());
    assert!(plan.ruleset.is_empty());
    assert!(!is_active(&plan, "wg0"));
}

#[test]
fn any_link_is_clamped_when_that_was_asked_for() {
    let options = ClampOptions { any_link: true, ..ClampOptions::default() };
    let plan = plan(&named([("eth0", options)]), &[link("eth0", "")], &BTreeSet::new());
    assert_eq!(route(&plan), ["eth0"]);
    assert!(is_active(&plan, "eth0"));
}

#[test]
fn a_fixed_value_takes_the_place_of_the_routes() {
    let mtu = PathMtu::new(1300).unwrap();
    let options = ClampOptions { mtu: Some(mtu), ..ClampOptions::default() };
    let plan = plan(&named([("wg0", options)]), &[wireguard("wg0")], &BTreeSet::new());
    assert_eq!(plan.ruleset, Ruleset { route: BTreeSet::new(), fixed: [(name("wg0"), mtu)].into() });
}

#[test]
fn a_clamp_on_wg1_leaves_wg10_alone() {
    let desired = named([("wg1", ClampOptions::default())]);
    assert_eq!(route(&plan(&desired, &[wireguard("wg1"), wireguard("wg10")], &BTreeSet::new())), ["wg1"]);
}

#[test]
fn auto_takes_vpn_links_that_are_up_and_carry_a_route() {
    let down = Link { up: false, ..wireguard("wg1") };
    let unrouted = Link { routes: Routes::default(), ..wireguard("wg2") };
    let links = [wireguard("wg0"), down, unrouted, link("eth0", ""), link("br0", "bridge")];
    assert_eq!(route(&plan(&auto(), &links, &BTreeSet::new())), ["wg0"]);
}

#[test]
fn auto_keeps_a_known_name_while_the_link_is_away_or_down() {
    let first = plan(&auto(), &[wireguard("wg0")], &BTreeSet::new());
    let away = plan(&auto(), &[], &first.known);
    assert_eq!((route(&away), is_active(&away, "wg0")), (vec!["wg0"], false));
    let down = Link { up: false, routes: Routes::default(), ..wireguard("wg0") };
    assert_eq!(route(&plan(&auto(), &[down], &away.known)), ["wg0"]);
}

#[test]
fn auto_forgets_a_known_name_that_comes_back_as_no_vpn() {
    let known = [name("wg0")].into();
    let plan = plan(&auto(), &[link("wg0", "veth")], &known);
    assert!(plan.ruleset.is_empty() && plan.clamps.is_empty() && plan.known.is_empty());
}

#[test]
fn nothing_follows_a_named_link_that_is_renamed() {
    let desired = named([("wg0", ClampOptions::default())]);
    let plan = plan(&desired, &[wireguard("wg9")], &BTreeSet::new());
    assert_eq!(route(&plan), ["wg0"]);
    assert!(!is_active(&plan, "wg0"));
}

#[test]
fn a_name_beats_auto() {
    let mtu = PathMtu::new(1300).unwrap();
    let options = ClampOptions { mtu: Some(mtu), ..ClampOptions::default() };
    let desired =
        Desired { auto: Some(ClampOptions { persist: true, ..ClampOptions::default() }), ..named([("wg0", options)]) };
    let both = plan(&desired, &[wireguard("wg0"), wireguard("wg1")], &BTreeSet::new());
    assert_eq!(both.ruleset, Ruleset { route: [name("wg1")].into(), fixed: [(name("wg0"), mtu)].into() });
    assert_eq!(both.clamps[&name("wg0")].origin, Origin::Named);
    assert_eq!(both.clamps[&name("wg1")].origin, Origin::Auto);
    assert!(both.clamps[&name("wg1")].persist, "auto that is kept keeps its clamps");
    let without_the_name = Desired { named: BTreeMap::new(), ..desired };
    assert_eq!(route(&plan(&without_the_name, &[], &both.known)), ["wg0", "wg1"]);
}

#[test]
fn auto_stays_within_the_bound_and_prefers_links_that_are_there() {
    let known = (0..MAX_CLAMPS).map(|number| name(&format!("gone{number}"))).collect();
    let plan = plan(&auto(), &[wireguard("wg0")], &known);
    assert_eq!((plan.clamps.len(), plan.known.len()), (MAX_CLAMPS, MAX_CLAMPS));
    assert!(plan.ruleset.route.contains(&name("wg0")));
}

#[test]
fn a_kept_auto_has_its_places_before_names_that_are_not_kept() {
    let keep = ClampOptions { persist: true, ..ClampOptions::default() };
    let mut desired = Desired { auto: Some(keep), ..named([("kept", keep), ("wg1", fixed())]) };
    for number in desired.named.len()..MAX_CLAMPS {
        desired.named.insert(name(&format!("absent{number}")), ClampOptions::default());
    }
    let both = plan(&desired, &[wireguard("wg0"), wireguard("wg1")], &[name("wg-away")].into());
    assert_eq!(both.clamps.len(), MAX_CLAMPS);
    for (link, origin) in
        [("kept", Origin::Named), ("wg0", Origin::Auto), ("wg-away", Origin::Auto), ("wg1", Origin::Named)]
    {
        assert_eq!(both.clamps.get(&name(link)).map(|clamp| clamp.origin), Some(origin), "{link}");
    }
    assert_eq!(both.ruleset.fixed.len(), 1, "the name still beats auto");
    desired.auto = Some(ClampOptions::default());
    let names_first = plan(&desired, &[wireguard("wg0")], &BTreeSet::new());
    assert!(!names_first.clamps.contains_key(&name("wg0")), "auto that is not kept comes last");
}

#[test]
fn a_name_of_a_link_that_is_there_has_its_place_before_absent_ones() {
    let mut desired = Desired {
        auto: Some(ClampOptions { persist: true, ..ClampOptions::default() }),
        ..named([("wg1", ClampOptions::default())])
    };
    for number in 1..MAX_CLAMPS {
        desired.named.insert(name(&format!("absent{number}")), ClampOptions::default());
    }
    let unrouted = Link { routes: Routes::default(), ..wireguard("wg1") };
    let plan = plan(&desired, &[wireguard("wg0"), unrouted], &BTreeSet::new());
    assert!(plan.clamps.contains_key(&name("wg0")) && plan.clamps.contains_key(&name("wg1")));
}

#[test]
fn auto_that_is_off_knows_nothing() {
    assert_eq!(plan(&Desired::default(), &[wireguard("wg0")], &[name("wg0")].into()), Plan::default());
}

#[test]
fn only_a_link_that_is_there_and_no_vpn_is_refused() {
    let links = [wireguard("wg0"), link("br0", "bridge"), link("eth0", "")];
    let plain = ClampOptions::default();
    let find = |text: &str| links.iter().find(|link| link.name == name(text));
    for text in ["wg0", "not-there"] {
        assert!(accept(&name(text), plain, find(text)).is_ok());
    }
    for text in ["br0", "eth0"] {
        let error = accept(&name(text), plain, find(text)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotVpnLink);
        assert!(accept(&name(text), ClampOptions { any_link: true, ..plain }, find(text)).is_ok());
    }
}

#[test]
fn a_kind_is_shown_without_its_control_characters() {
    let error = accept(&name("x0"), ClampOptions::default(), Some(&link("x0", "ev\u{1b}[31mil"))).unwrap_err();
    assert_eq!(
        error.message(),
        "`x0` is no VPN link but a link of kind `ev\\u{1b}[31mil`; the option `any-link` clamps it all the same"
    );
}
