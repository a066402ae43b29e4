//! Requests, and the choice of links to clamp, tested on values.
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

fn fixed(bytes: u32) -> ClampOptions {
    ClampOptions { mtu: Some(PathMtu::new(bytes).unwrap()), ..ClampOptions::default() }
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
    let mut desired = Desired { auto: Some(keep), ..named([("kept", keep), ("wg1", fixed(1300))]) };
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

fn on(target: &str, options: ClampOptions) -> Request {
    Request::ClampOn(Target::parse(target).unwrap(), options)
}

fn off(target: &str) -> Request {
    Request::ClampOff(Target::parse(target).unwrap())
}

#[test]
fn asking_twice_changes_something_once() {
    for target in ["wg0", ""] {
        let request = on(target, ClampOptions::default());
        let once = Desired::default().after(&request).unwrap();
        assert_ne!(once, Desired::default());
        assert_eq!(once.after(&request).unwrap(), once);
    }
}

#[test]
fn taking_back_what_was_never_asked_for_changes_nothing() {
    for request in [off("wg0"), off(""), Request::Reset] {
        assert_eq!(Desired::default().after(&request).unwrap(), Desired::default());
    }
}

#[test]
fn other_options_change_a_clamp() {
    let before = Desired::default().after(&on("wg0", ClampOptions::default())).unwrap();
    let fixed_now = before.after(&on("wg0", fixed(1300))).unwrap();
    assert_eq!(fixed_now.named[&name("wg0")], fixed(1300));
    let kept = fixed_now.after(&on("wg0", ClampOptions { persist: true, ..fixed(1300) })).unwrap();
    assert_ne!(kept, fixed_now);
    assert_eq!(kept.persisted(), kept);
}

#[test]
fn auto_takes_a_path_mtu_and_no_option_that_belongs_to_one_link() {
    let on_now = Desired::default().after(&on("", ClampOptions::default())).unwrap();
    assert_eq!(on_now.after(&on("", fixed(1300))).unwrap().auto, Some(fixed(1300)));
    let any = ClampOptions { any_link: true, ..ClampOptions::default() };
    assert_eq!(Desired::default().after(&on("", any)).unwrap_err().kind(), ErrorKind::InvalidOption);
}

#[test]
fn one_clamp_too_many_is_refused_and_an_old_one_can_still_change() {
    let mut full = Desired::default();
    for number in 0..MAX_CLAMPS {
        full = full.after(&on(&format!("wg{number}"), ClampOptions::default())).unwrap();
    }
    let error = full.after(&on("wg-more", ClampOptions::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyClamps);
    assert!(full.after(&on("wg0", fixed(1300))).is_ok());
}

#[test]
fn only_what_is_marked_so_is_kept_across_reboots() {
    let keep = ClampOptions { persist: true, ..ClampOptions::default() };
    let desired = Desired {
        auto: Some(ClampOptions::default()),
        named: [(name("wg0"), keep), (name("wg1"), ClampOptions::default())].into(),
        known: [name("tun0")].into(),
    };
    let kept = Desired { named: [(name("wg0"), keep)].into(), ..Desired::default() };
    assert_eq!(desired.persisted(), kept);
    let with_auto = Desired { auto: Some(keep), ..desired };
    assert_eq!(with_auto.persisted(), Desired { auto: Some(keep), known: [name("tun0")].into(), ..kept });
}

#[test]
fn a_request_concerns_persistent_clamps_if_it_sets_or_changes_one() {
    let keep = ClampOptions { persist: true, ..ClampOptions::default() };
    let kept = Desired { auto: Some(keep), named: [(name("wg0"), keep)].into(), ..Desired::default() };
    for before in [&Desired::default(), &kept] {
        assert!(before.concerns_kept(&Request::Reset));
        assert!(before.concerns_kept(&on("wg0", keep)) && before.concerns_kept(&on("", keep)));
        assert!(!before.concerns_kept(&on("wg1", fixed(1300))) && !before.concerns_kept(&off("wg1")));
    }
    for request in [off("wg0"), off(""), on("wg0", fixed(1300)), on("", ClampOptions::default())] {
        assert!(kept.concerns_kept(&request), "{request:?}");
        assert!(!Desired::default().concerns_kept(&request), "{request:?}");
    }
}

#[test]
fn a_request_without_persist_changes_the_kept_part_only_if_it_loses_a_kept_clamp() {
    let keep = ClampOptions { persist: true, ..fixed(1300) };
    let named = [(name("wg0"), keep), (name("wg1"), fixed(1300))].into();
    let kept = Desired { auto: Some(keep), named, ..Desired::default() };
    let plain = ClampOptions::default();
    for (request, loses) in [
        (on("wg0", plain), true),
        (on("", plain), true),
        (off("wg0"), true),
        (off(""), true),
        (Request::Reset, true),
        (on("wg1", plain), false),
        (on("wg2", plain), false),
        (off("wg1"), false),
        (off("wg2"), false),
    ] {
        let next = kept.after(&request).unwrap();
        assert_eq!(kept.loses_kept(&request), loses, "{request:?}");
        assert_eq!(kept.persisted() != next.persisted(), loses, "{request:?}");
    }
}

#[test]
fn a_name_with_another_path_mtu_overrides_a_kept_auto() {
    let (keep, plain) = (ClampOptions { persist: true, ..fixed(1300) }, ClampOptions::default());
    let named = [(name("wg1"), fixed(1300))].into();
    let kept = Desired { auto: Some(keep), named, ..Desired::default() };
    for (request, overrides) in [
        (on("wg0", plain), true),
        (on("wg1", plain), true),
        (on("wg0", fixed(1400)), true),
        (on("wg0", fixed(1300)), false),
        (on("", plain), false),
        (off("wg1"), false),
        (Request::Reset, false),
    ] {
        assert_eq!(kept.overrides_kept_auto(&request), overrides, "{request:?}");
        let temporary = Desired { auto: Some(fixed(1300)), ..kept.clone() };
        assert!(!temporary.overrides_kept_auto(&request), "{request:?}");
    }
}

#[test]
fn reset_drops_everything() {
    let auto = Some(ClampOptions::default());
    let named = [(name("wg0"), fixed(1300))].into();
    let desired = Desired { auto, named, known: [name("wg1")].into() };
    assert_eq!(desired.after(&Request::Reset).unwrap(), Desired::default());
}
