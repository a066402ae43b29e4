//! polkit is not there, comes back, or does not know our actions.

use std::time::{Duration, Instant};

use airpods_lab::Place;

use crate::host::{Answer, CHANGES, Host, OFF, ON};

const GRANT: &str = "polkit.addRule(function(action, subject) {
    if (action.id.indexOf('org.airpods.helper1.') == 0 && subject.user == 'alice') return polkit.Result.YES;
});";

/// How long the answer about a polkit that is absent may take on a machine without delays. A polkit
/// that hangs is given up after 2 s, and one that the bus is starting is waited for.
const AT_ONCE: Duration = Duration::from_secs(2);

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

#[test]
fn without_polkit_root_is_served_and_users_read() {
    let host = Host::with_rules(&[("50-alice", GRANT)]);
    host.sandbox.stop_polkit().unwrap();
    assert_eq!(host.call("root", &["ClampOn", "sa{sv}", "tun9", "0"]), Answer::changed());
    let before = host.ruleset();
    for change in CHANGES {
        // A read takes as long as this machine needs to run busctl and to answer.
        let read = timed(|| assert!(host.call("alice", &["GetStatus"]).0.is_ok()));
        // `ClampOff` would change nothing, so the helper answers without asking polkit.
        let expected = if change == OFF { Answer::unchanged() } else { Answer::own("AuthUnavailable") };
        let refused = timed(|| assert_eq!(host.call("alice", change), expected, "{change:?}"));
        assert!(refused < AT_ONCE + read * 4, "{change:?}: {refused:?}, and {read:?} for a read");
    }
    assert_eq!(host.ruleset(), before);
    assert!(host.call("alice", &["GetStatus"]).0.unwrap().contains("tun9"));
    for change in CHANGES {
        assert_eq!(host.call("root", change), Answer::changed(), "{change:?}");
    }
}

#[test]
fn a_hung_polkit_delays_no_interactive_caller() {
    let host = Host::with_rules(&[("50-alice", GRANT)]);
    assert!(host.call("alice", &["GetStatus"]).0.is_ok());
    let polkit = host.owner("org.freedesktop.PolicyKit1");
    host.sandbox.sh(&format!("kill -STOP {polkit}")).unwrap();
    // By default busctl allows a password prompt.
    let asking = |user: &str, words: &[&str]| {
        let mut busctl = host.sandbox.as_user(user).command("busctl");
        Answer::of(busctl.args(["--system", "--timeout=20", "call"]).args(Host::HELPER).args(words))
    };
    let start = Instant::now();
    assert_eq!(asking("root", ON), Answer::changed());
    for _ in 0..2 {
        assert_eq!(asking("alice", OFF), Answer::own("AuthUnavailable"));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    host.sandbox.sh(&format!("kill -CONT {polkit}")).unwrap();
    assert_eq!(host.call("alice", OFF), Answer::changed());
}

#[test]
fn polkit_that_is_restarted_is_asked_again_by_the_same_helper() {
    let host = Host::with_rules(&[("50-alice", GRANT)]);
    assert_eq!(host.call("alice", ON), Answer::changed());
    let helper = host.helper_pid();
    host.sandbox.stop_polkit().unwrap();
    assert_eq!(host.call("alice", OFF), Answer::own("AuthUnavailable"));
    host.sandbox.start_polkit().unwrap();
    assert_eq!(host.call("alice", OFF), Answer::changed());
    assert_eq!(host.call("bob", ON), Answer::standard("InteractiveAuthorizationRequired"));
    assert_eq!(host.helper_pid(), helper);
}

#[test]
fn polkit_that_the_bus_has_to_start_first_is_waited_for() {
    let host = Host::without_polkit();
    host.sandbox.add_polkit_rule("50-alice", GRANT).unwrap();
    assert_eq!(host.call("alice", ON), Answer::changed());
    assert!(host.sandbox.bus_name_has_owner("org.freedesktop.PolicyKit1").unwrap());
}

#[test]
fn without_our_actions_every_call_is_denied_and_the_cause_logged() {
    let host = Host::without_polkit();
    host.sandbox.add_polkit_rule("50-alice", GRANT).unwrap();
    host.sandbox.sh("rm /usr/share/polkit-1/actions/org.airpods.helper1.policy").unwrap();
    host.sandbox.start_polkit().unwrap();
    let before = host.ruleset();
    for user in ["alice", "root"] {
        assert_eq!(host.call(user, ON), Answer::standard("AccessDenied"), "{user}");
    }
    assert_eq!(host.ruleset(), before);
    let log = host.log();
    assert!(log.contains("event=no-answer-from-polkit") && log.contains("the policy is not installed"), "{log}");
}
