//! The grants and denials of polkit's rules.

use airpods_lab::{Place, repository};

use crate::host::{Answer, CHANGES, Host, OFF, ON};

const OTHER_LINK: &[&str] = &["ClampOn", "sa{sv}", "tun9", "0"];
/// Requests for more than a clamp of a VPN link to the route MTU until the next reboot.
const MORE: [&[&str]; 5] = [
    &["ClampOn", "sa{sv}", "wg0", "1", "mtu", "u", "576"],
    &["ClampOn", "sa{sv}", "wg0", "1", "persist", "b", "true"],
    &["ClampOn", "sa{sv}", "br9", "1", "any-link", "b", "true"],
    &["ClampOn", "sa{sv}", "not-there", "1", "any-link", "b", "true"],
    &["ClampOn", "sa{sv}", "br9", "3", "any-link", "b", "true", "mtu", "u", "576", "persist", "b", "true"],
];
const AUTO: &[&str] = &["ClampOn", "sa{sv}", "", "0"];

fn example(name: &str) -> String {
    std::fs::read_to_string(repository().join("polkit/examples").join(name)).unwrap()
}

fn password_needed() -> Answer {
    Answer::standard("InteractiveAuthorizationRequired")
}

/// Checks that a user whom a rule lets clamp cannot change a persistent clamp. The same clamp can
/// be changed once it is not persistent.
#[track_caller]
fn assert_kept_clamps_need_a_password(host: &Host, user: &str) {
    const KEPT: &str = "/var/lib/airpods-helper/state.json";
    let keep: &[&str] = &["ClampOn", "sa{sv}", "wg0", "2", "mtu", "u", "1300", "persist", "b", "true"];
    assert_eq!(host.call("root", keep), Answer::changed());
    let (kept, ruleset) = (host.sandbox.read_file(KEPT).unwrap(), host.ruleset());
    for change in [ON, OFF] {
        assert_eq!(host.call(user, change), password_needed(), "{user}: {change:?}");
    }
    assert_eq!((host.sandbox.read_file(KEPT).unwrap(), host.ruleset()), (kept, ruleset), "{user}");
    // The same clamp, no longer kept.
    assert_eq!(host.call("root", &["ClampOn", "sa{sv}", "wg0", "1", "mtu", "u", "1300"]), Answer::changed());
    for change in [ON, OFF] {
        assert_eq!(host.call(user, change), Answer::changed(), "{user}: {change:?}");
    }
}

#[test]
fn without_a_rule_only_root_changes_anything() {
    let host = Host::new();
    let introspected = host.sandbox.busctl(&[&["introspect"][..], &Host::HELPER].concat()).unwrap();
    let methods = introspected.lines().filter(|line| line.contains(" method ")).count();
    assert_eq!(methods, CHANGES.len() + 1, "every method but GetStatus changes something: {introspected}");
    // Prepares clamps, so that every request would change something.
    assert_eq!(host.call("root", OTHER_LINK), Answer::changed());
    assert_eq!(host.call("root", &["ClampOn", "sa{sv}", "wg1", "0"]), Answer::changed());
    let before = host.ruleset();
    for user in ["alice", "admin", "daemon", "airpods-helper"] {
        for change in [ON, &["ClampOff", "s", "wg1"], CHANGES[2], AUTO] {
            assert_eq!(host.call(user, change), password_needed(), "{user}: {change:?}");
        }
        assert_eq!(host.ruleset(), before, "{user}");
        assert!(host.call(user, &["GetStatus"]).0.unwrap().contains("tun9"), "{user} reads");
    }
    for change in CHANGES {
        assert_eq!(host.call("root", change), Answer::changed(), "{change:?}");
    }
}

#[test]
fn a_denying_rule_is_a_denial_and_changes_nothing() {
    let deny = "polkit.addRule(function(action) {
        if (action.id.indexOf('org.airpods.helper1.') == 0) return polkit.Result.NO;
    });";
    let host = Host::with_rules(&[("10-deny", deny)]);
    let before = host.ruleset();
    for change in [ON, AUTO] {
        assert_eq!(host.call("alice", change), Answer::standard("AccessDenied"));
    }
    assert_eq!(host.ruleset(), before);
    assert_eq!(host.call("root", ON), Answer::changed(), "polkit never denies root");
    let before = host.ruleset();
    for change in [OFF, CHANGES[2]] {
        assert_eq!(host.call("alice", change), Answer::standard("AccessDenied"));
    }
    assert_eq!(host.ruleset(), before);
}

#[test]
fn the_example_for_a_group_lets_only_its_members_clamp() {
    let host = Host::with_rules(&[("50-airpods-group", &example("50-airpods-group.rules"))]);
    host.sandbox.sh("groupadd -f netdev; usermod -aG netdev alice").unwrap();
    host.sandbox.sh("ip link add br9 type bridge").unwrap();
    let untouched = host.ruleset();
    assert_eq!(host.call("bob", ON), password_needed());
    for more in MORE {
        assert_eq!(host.call("alice", more), password_needed(), "{more:?}");
    }
    assert_eq!(host.ruleset(), untouched);
    assert_eq!(host.call("alice", ON), Answer::changed());
    assert_eq!(host.call("alice", ON), Answer::unchanged());
    assert!(host.sandbox.sh("nft list set inet airpods links").unwrap().contains("\"wg0\""));
    assert_eq!(host.call("bob", OFF), password_needed());
    assert_eq!(host.call("alice", CHANGES[2]), password_needed(), "Reset is not in the rule");
    assert_eq!(host.call("alice", OFF), Answer::changed());
    assert_eq!(host.airpods("alice", "on wg0").0, 0);
    assert_eq!(host.airpods("alice", "off wg0").0, 0);
    assert_eq!(host.airpods("bob", "on wg0").0, 4);
    assert_kept_clamps_need_a_password(&host, "alice");
    assert_eq!(host.call("root", &["ClampOn", "sa{sv}", "", "1", "persist", "b", "true"]), Answer::changed());
    for change in [AUTO, &["ClampOff", "s", ""]] {
        assert_eq!(host.call("alice", change), password_needed(), "{change:?}");
    }
    let fixed = &["ClampOn", "sa{sv}", "", "2", "persist", "b", "true", "mtu", "u", "1300"];
    assert_eq!(host.call("root", fixed), Answer::changed());
    assert_eq!(host.call("alice", ON), password_needed(), "it would override auto, which is kept");
    assert_eq!(host.call("root", CHANGES[2]), Answer::changed());
    assert_eq!(host.ruleset(), untouched);
}

#[test]
fn the_example_for_a_service_user_is_for_its_one_link() {
    let host = Host::with_rules(&[("50-airpods-service", &example("50-airpods-service.rules"))]);
    host.sandbox.sh("useradd --system ai-stack").unwrap();
    let untouched = host.ruleset();
    for other in [OTHER_LINK, AUTO] {
        assert_eq!(host.call("ai-stack", other), password_needed(), "{other:?}");
    }
    assert_eq!(host.call("alice", ON), password_needed());
    for more in &MORE[1..] {
        assert_eq!(host.call("ai-stack", more), password_needed(), "{more:?}");
    }
    assert_eq!(host.call("ai-stack", ON), Answer::changed());
    assert_eq!(host.call("ai-stack", OFF), Answer::changed());
    assert_eq!(host.airpods("ai-stack", "on wg0").0, 0);
    assert_eq!(host.airpods("ai-stack", "on tun9").0, 4);
    assert_eq!(host.airpods("ai-stack", "off wg0").0, 0);
    assert_kept_clamps_need_a_password(&host, "ai-stack");
    assert_eq!(host.ruleset(), untouched);
}
