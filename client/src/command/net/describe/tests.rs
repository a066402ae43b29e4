#![allow(clippy::unwrap_used)]

use airpods_dbus::doubles::clamp_status;
use airpods_dbus::{ClampOptions, LinkName, PathMtu};

use super::*;

fn clamp(link: &str, state: ClampState, origin: Origin) -> ClampStatus {
    let up = state != ClampState::Waiting;
    let clamp = ClampStatus { origin, ..clamp_status(link, state) };
    if up { clamp } else { ClampStatus { link_mtu: None, link_kind: None, ..clamp } }
}

fn with(auto: bool, clamps: Vec<ClampStatus>) -> Status {
    Status { auto, clamps, ..Status::default() }
}

fn link(name: &str) -> Target {
    Target::Link(LinkName::parse(name).unwrap())
}

fn on(target: Target) -> Change {
    Change::On(target, ClampOptions::default())
}

#[test]
fn a_link_that_is_not_there_is_named_with_the_vpn_links_that_are() {
    let links = [("lo", false), ("wg0", true), ("tun0", true)].map(|(name, vpn)| (name.to_owned(), vpn));
    assert_eq!(absent("wgo", &links).unwrap(), "note: this host has no link `wgo`; VPN links now: `wg0`, `tun0`");
    assert_eq!(absent("wg0", &links), None);
    assert_eq!(absent("lo", &links), None, "the helper says what is wrong with that");
    assert_eq!(absent("wg0", &links[..1]).unwrap(), "note: this host has no link `wg0`; it has no VPN link");
}

#[test]
fn turning_a_link_on_prints_its_clamp_value() {
    let status = with(false, vec![clamp("wg0", ClampState::Active, Origin::Named)]);
    assert_eq!(outcome(&on(link("wg0")), true, &status), ["`wg0` is clamped to the route MTU (currently 1380)"]);
    assert_eq!(
        outcome(&on(link("wg0")), false, &status),
        ["`wg0` is clamped already to the route MTU (currently 1380)"]
    );
}

#[test]
fn a_link_that_is_not_up_is_not_announced_as_clamped() {
    let status = with(false, vec![clamp("wg0", ClampState::Waiting, Origin::Named)]);
    let lines = outcome(&on(link("wg0")), true, &status);
    assert_eq!(lines, ["`wg0` is not up: nothing is clamped now, and it will be as soon as it appears"]);
}

#[test]
fn a_path_mtu_above_the_links_own_gives_a_warning() {
    let options = ClampOptions { mtu: Some(PathMtu::new(1400).unwrap()), persist: true, ..ClampOptions::default() };
    let mut clamp = clamp("wg0", ClampState::Active, Origin::Named);
    (clamp.mode, clamp.mtu, clamp.persist) = (Mode::Fixed, Some(1400), true);
    let lines = outcome(&Change::On(link("wg0"), options), true, &with(false, vec![clamp]));
    assert_eq!(
        lines,
        [
            "`wg0` is clamped to a path MTU of 1400, and after a reboot",
            "warning: 1400 is more than the MTU of `wg0`, which is 1380: it cannot help there",
        ]
    );
}

#[test]
fn auto_without_a_vpn_reports_that_it_waits() {
    let lines = outcome(&on(Target::Auto), true, &with(true, Vec::new()));
    assert_eq!(
        lines,
        [
            "every VPN link is clamped, now and whenever one appears",
            "no VPN link is up now; one that appears will be clamped at once",
        ]
    );
}

#[test]
fn auto_names_the_links_it_found() {
    let status = with(true, vec![clamp("wg0", ClampState::Active, Origin::Auto)]);
    let lines = outcome(&on(Target::Auto), false, &status);
    assert_eq!(
        lines,
        [
            "every VPN link is clamped already, now and whenever one appears",
            "  `wg0` is clamped to the route MTU (currently 1380)",
        ]
    );
}

#[test]
fn turning_one_off_does_not_hide_that_auto_holds_it() {
    let held = with(true, vec![clamp("wg0", ClampState::Active, Origin::Auto)]);
    let lines = outcome(&Change::Off(link("wg0")), true, &held);
    assert_eq!(lines, ["`wg0` is still clamped, because every VPN link is", "hint: `airpods net clamp off` ends that"]);
    let none = with(false, Vec::new());
    assert_eq!(outcome(&Change::Off(link("wg0")), true, &none), ["`wg0` is not clamped any more"]);
    assert_eq!(outcome(&Change::Off(link("wg0")), false, &none), ["nothing to do: `wg0` was not clamped"]);
}

#[test]
fn ending_auto_names_what_stays_clamped() {
    let status = with(false, vec![clamp("wg0", ClampState::Active, Origin::Named)]);
    let lines = outcome(&Change::Off(Target::Auto), true, &status);
    assert_eq!(lines[0], "VPN links are no longer clamped automatically");
    assert_eq!(lines[1], "`wg0` is still clamped by name; `airpods net clamp off wg0` ends that");
}

#[test]
fn the_status_is_a_table_whose_columns_line_up() {
    let mut fixed = clamp("wg0-mullvad", ClampState::Active, Origin::Named);
    (fixed.mode, fixed.mtu, fixed.persist) = (Mode::Fixed, Some(1300), true);
    let clamps = vec![fixed, clamp("tun0", ClampState::Waiting, Origin::Named)];
    let mut status_value = with(true, clamps);
    status_value.counters = Counters { ipv4_out: 3, ipv4_in: 2, ipv6_out: 1, ipv6_in: 0 };
    assert_eq!(
        status(&status_value),
        [
            "auto: on (every VPN link, now and whenever one appears)",
            "LINK         STATE    CLAMPED TO  LINK MTU  KIND       BY     PERSIST",
            "wg0-mullvad  active   1300        1380      wireguard  named  yes",
            "tun0         waiting  route       -         -          named  no",
            "handshake packets through clamped links: IPv4 3 out, 2 in; IPv6 1 out, 0 in",
        ]
    );
}

#[test]
fn a_status_without_an_active_clamp_says_so() {
    let waiting = with(false, vec![clamp("wg0", ClampState::Waiting, Origin::Named)]);
    assert!(status(&waiting).contains(&"nothing is clamped now: no such link is up".to_owned()));
    let empty = status(&with(false, Vec::new()));
    assert_eq!(empty[0], "auto: off");
    assert_eq!(empty[1], "nothing is clamped; `airpods net clamp on` clamps every VPN link");
    let contested = status(&with(false, vec![clamp("wg0", ClampState::Contested, Origin::Named)]));
    assert!(contested.iter().any(|line| line.starts_with("warning: `wg0`: another program keeps removing")));
}

#[test]
fn refused_rules_are_reported_with_the_cause_and_not_attributed() {
    let mut refused = with(true, vec![clamp("wg0", ClampState::Refused, Origin::Auto)]);
    refused.refusal = Some("this kernel has no nf_tables".to_owned());
    let line = "`wg0` is not clamped: the kernel refuses the rules (this kernel has no nf_tables)";
    assert!(status(&refused).contains(&format!("warning: {line}")));
    assert!(outcome(&on(Target::Auto), true, &refused).contains(&format!("  {line}")));
    assert_eq!(outcome(&on(link("wg0")), true, &refused), [line]);
}

#[test]
fn a_link_that_cannot_be_clamped_is_reported_by_the_status_and_by_auto() {
    let unclampable =
        |link: &str| Unclampable { link: link.to_owned(), reason: "its name ends in an asterisk".to_owned() };
    let mut reported = with(true, vec![clamp("wg0", ClampState::Active, Origin::Auto)]);
    reported.unclampable = vec![unclampable("wg*")];
    let warning = "warning: `wg*` cannot be clamped: its name ends in an asterisk";
    assert!(status(&reported).iter().any(|line| line == warning));
    let but = "every VPN link but `wg*` is clamped, now and whenever one appears: its name ends in an asterisk";
    let clamped = "  `wg0` is clamped to the route MTU (currently 1380)";
    assert_eq!(outcome(&on(Target::Auto), true, &reported), [but, clamped]);
    assert_eq!(json(&reported)["unclampable"][0]["reason"], "its name ends in an asterisk");
    reported.unclampable.push(unclampable("x*"));
    let lines = outcome(&on(Target::Auto), false, &reported);
    assert_eq!(lines[0], "every VPN link but `wg*`, `x*` is clamped already, now and whenever one appears");
    assert_eq!(lines[2..], [warning, &warning.replace("wg*", "x*")]);
}

#[test]
fn a_clamp_that_was_asked_for_and_is_not_in_force_is_no_success() {
    let refused = with(true, vec![clamp("wg0", ClampState::Refused, Origin::Auto)]);
    let named = with(false, vec![clamp("wg0", ClampState::Refused, Origin::Named)]);
    let mut unclampable = with(true, vec![clamp("wg0", ClampState::Active, Origin::Auto)]);
    unclampable.unclampable = vec![Unclampable { link: "wg*".to_owned(), reason: "x".to_owned() }];
    let waiting = with(false, vec![clamp("wg0", ClampState::Waiting, Origin::Named)]);
    for (change, status, is_short) in [
        (on(Target::Auto), &refused, true),
        (on(Target::Auto), &unclampable, true),
        (on(Target::Auto), &named, false),
        (on(Target::Auto), &waiting, false),
        (on(link("wg0")), &named, true),
        (on(link("wg0")), &unclampable, false),
        (on(link("wg0")), &waiting, false),
        (Change::Off(Target::Auto), &unclampable, false),
        (Change::Reset, &refused, false),
    ] {
        assert_eq!(is_short_of(&change, status), is_short, "{change:?} {status:?}");
    }
}

#[test]
fn the_size_is_the_one_that_the_routes_say() {
    let mut narrow = clamp("wg0", ClampState::Active, Origin::Named);
    (narrow.link_mtu, narrow.route_mtu) = (Some(1500), Some(1400));
    let narrow = with(false, vec![narrow]);
    assert_eq!(outcome(&on(link("wg0")), true, &narrow), ["`wg0` is clamped to the route MTU (currently 1400)"]);
    assert!(status(&narrow)[2].contains("route (1400)"), "{:?}", status(&narrow));
}
