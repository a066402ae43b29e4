//! `net clamp on`, with and without `--mtu auto`.

use airpods_lab::{Place, Rules, client, terminal};

use crate::host::Host;

#[test]
fn auto_sets_what_the_path_takes_and_what_hung_completes() {
    let host = Host::behind(Rules::narrow(1300, 1300));
    assert!(!host.download().completed(), "the premise: it hangs");
    let output = host.succeed("net clamp on wg0 --mtu auto --json");
    let document = output.json().unwrap();
    assert_eq!(host.clamped_to(), Some(1300), "{output:?}");
    assert!(host.download().completed());
    assert_eq!((&document["changed"], &document["remedy"]["mtu"]), (&true.into(), &1300.into()), "{document:#}");
    let proof = &document["proof"];
    assert_eq!((&proof["outcome"], &proof["before"], &proof["of"]), (&"proven".into(), &0.into(), &3.into()));
    assert!(proof["packets"].as_u64().unwrap() >= 3, "{proof}");
    assert_eq!(document["measured"]["verdict"], "path-narrow");
    assert!(output.err.contains("proven: 0 of 3 transfers completed before, 3 of 3 complete now"), "{}", output.err);
}

#[test]
fn auto_without_a_link_sets_the_value_for_every_vpn_link() {
    let host = Host::behind(Rules::narrow(1350, 1300));
    let output = host.succeed("net clamp on --mtu auto");
    assert!(output.err.contains("every VPN link is clamped"), "{}", output.err);
    assert_eq!(host.clamped_to(), Some(1300));
    assert!(host.download().completed());
}

#[test]
fn on_a_path_without_a_fault_auto_reports_it_and_changes_nothing() {
    let host = Host::behind(Rules::default());
    let output = host.succeed("net clamp on wg0 --mtu auto");
    assert!(output.err.contains("nothing hangs: ") && output.err.contains("nothing was changed"), "{}", output.err);
    assert_eq!(host.clamped_to(), None);
}

/// A filter that drops hellos of more than 2000 bytes: sizes can be measured, but no transfer
/// completes with any clamp.
fn never_proven() -> Rules {
    Rules { hello_limit: Some(2000), ..Rules::narrow(1300, 1300) }
}

#[test]
fn an_unproven_clamp_is_restored_to_its_former_value() {
    let host = Host::behind(never_proven());
    let fails = |arguments: &str| {
        let output = host.airpods(arguments);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.err.contains("error: the clamp is not proven to help: 0 of 3 transfers"), "{}", output.err);
        assert!(output.err.contains("the former state is restored") && output.err.contains("hint: "), "{}", output.err);
        output
    };
    fails("net clamp on wg0 --mtu auto");
    assert_eq!(host.clamped_to(), None, "there was none before");
    host.succeed("net clamp on wg0 --no-proof");
    let output = fails("net clamp on wg0 --mtu auto --json");
    assert_eq!(host.clamped_to(), Some(0), "it was the route's MTU before");
    let document = output.json().unwrap();
    assert_eq!((&document["changed"], &document["proof"]["outcome"]), (&false.into(), &"not-proven".into()));
    host.succeed("net clamp on wg0 --mtu 1400 --no-proof");
    fails("net clamp on wg0 --mtu auto");
    assert_eq!(host.clamped_to(), Some(1400), "it was that before");
}

#[test]
fn the_routes_mtu_does_not_cure_a_narrower_path_and_is_not_left_there() {
    let host = Host::behind(Rules::narrow(1300, 1300));
    let output = host.airpods("net clamp on wg0");
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.err.contains("`airpods net clamp on wg0 --mtu auto` measures what the path takes"),
        "{}",
        output.err
    );
    assert_eq!(host.clamped_to(), None);
    host.succeed("net clamp on wg0 --no-proof");
    assert_eq!(host.clamped_to(), Some(0), "with --no-proof it is what was asked for");
}

#[test]
fn a_fitting_value_is_proven_and_a_link_without_a_fault_is_reported() {
    let host = Host::behind(Rules::narrow(1300, 1300));
    let output = host.succeed("net clamp on wg0 --mtu 1280 --json");
    assert_eq!(output.json().unwrap()["proof"]["outcome"], "proven", "{output:?}");
    host.world.path().change(|rules| *rules = Rules::default());
    host.succeed("net clamp off wg0");
    let output = host.succeed("net clamp on wg0");
    assert!(output.err.contains("3 of 3 transfers complete, as before"), "{}", output.err);
    assert_eq!(host.clamped_to(), Some(0));
}

#[test]
fn where_nothing_answers_it_was_not_measured_and_the_clamp_is_kept() {
    let host = Host::behind(Rules::default());
    host.world.internet().sh("ip link set inet0 down").unwrap();
    let output = host.succeed("net clamp on wg0 --json");
    assert_eq!(output.json().unwrap()["proof"]["outcome"], "not-measured", "{output:?}");
    assert!(output.err.contains("its effect was not measured: "), "{}", output.err);
    assert_eq!(host.clamped_to(), Some(0));
    let auto = host.airpods("net clamp on wg0 --mtu auto");
    assert!(auto.code == 1 || auto.code == 9, "{auto:?}");
    assert_eq!(host.clamped_to(), Some(0), "{auto:?}");
}

#[test]
fn under_a_fixed_clamp_the_path_is_measured_without_it() {
    let host = Host::behind(Rules::narrow(1300, 1300));
    host.succeed("net clamp on wg0 --mtu 1200 --no-proof --persist");
    let output = host.succeed("net clamp on wg0 --mtu auto --json");
    assert!(output.err.contains("the fixed value of 1200 is lifted while the path is measured"), "{}", output.err);
    assert_eq!(host.clamped_to(), Some(1300));
    let clamp = &output.json().unwrap()["status"]["clamps"][0];
    assert_eq!((&clamp["mtu"], &clamp["persist"]), (&1300.into(), &true.into()), "it was to be kept: {clamp}");
    assert!(host.download().completed());
    // The path has become as wide as the link.
    host.world.path().change(|rules| *rules = Rules::default());
    let output = host.succeed("net clamp on wg0 --mtu auto");
    assert!(output.err.contains("the route's MTU is enough"), "{}", output.err);
    assert_eq!(host.clamped_to(), Some(0));
}

/// polkit asks for an administrator's password and remembers it for the action, as on a desktop.
const KEEPS: &str = r#"polkit.addRule(function(action, subject) {
    if (action.id.indexOf("org.airpods.") == 0) return polkit.Result.AUTH_ADMIN_KEEP;
});"#;

#[test]
fn one_password_is_enough_to_lift_a_fixed_clamp_measure_and_set_another() {
    let host = Host::with_rule(Rules::narrow(1300, 1300), KEEPS);
    host.world.sandbox().sh("airpods net clamp on wg0 --mtu 1200 --no-proof").unwrap();
    let screen =
        terminal::in_a_terminal(&host.user, &client::line("net clamp on wg0 --mtu auto"), "password\n").unwrap();
    assert!(screen.contains("code=0"), "{screen}");
    assert_eq!(screen.matches("Password:").count(), 1, "{screen}");
    assert!(screen.contains("proven: "), "{screen}");
    assert_eq!(host.clamped_to(), Some(1300));
}

#[test]
fn a_second_password_for_removing_a_trial_clamp_is_announced_before_the_prompt() {
    let host = Host::with_rule(Rules::narrow(1300, 1300), KEEPS);
    let screen =
        terminal::in_a_terminal(&host.user, &client::line("net clamp on wg0 --mtu 1300"), "password\n").unwrap();
    let (before, _) = screen.split_once("Password:").unwrap_or((&screen, ""));
    assert!(before.contains("may need the password a second time"), "{screen}");
    assert!(screen.contains("code=0") && screen.matches("Password:").count() == 1, "{screen}");
}

#[test]
fn a_value_that_makes_no_sense_is_refused_before_a_password_is_asked_for() {
    let host = Host::with_rule(Rules::narrow(1300, 1300), KEEPS);
    for wrong in ["--mtu 100", "--mtu automatic", "wg0 --mtu auto --no-proof", "wg0 --url http://registry.example"] {
        let screen = terminal::in_a_terminal(&host.user, &client::line(&format!("net clamp on {wrong}")), "").unwrap();
        assert!(screen.contains("code=2") && !screen.contains("Password"), "{wrong}: {screen}");
    }
}

#[test]
fn a_link_that_packets_do_not_leave_by_is_not_measured_by_another() {
    let host = Host::behind(Rules::narrow(1300, 1300));
    host.world
        .sandbox()
        .sh("ip tuntap add wg9 mode tun && ip addr add 198.51.100.129/30 dev wg9 && ip link set wg9 up")
        .unwrap();
    let output = host.airpods("net clamp on wg9 --mtu auto");
    assert_eq!(output.code, 9, "{output:?}");
    assert!(output.err.contains("leave by `wg0`, not by `wg9`"), "{}", output.err);
    let kept = host.succeed("net clamp on wg9");
    assert!(kept.err.contains("its effect was not measured: packets to the internet leave by `wg0`"), "{kept:?}");
}
