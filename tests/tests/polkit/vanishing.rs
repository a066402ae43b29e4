//! Callers who leave the bus before polkit judges them: the pattern of CVE-2021-3560.

use airpods_lab::{Place, eventually};

use crate::host::{Answer, Host, ON};

const TRIES: usize = 500;
const CALL: &str =
    "busctl --system call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1 ClampOn 'sa{sv}' wg0 0";

/// Calls that are killed up to 50 ms after their start, a few at a time. Some have sent nothing,
/// some wait for an answer, and some are done.
fn killed_calls() -> String {
    let call = format!("{CALL} >/dev/null 2>&1 & p=$!; sleep $1; kill -KILL $p 2>/dev/null; wait $p 2>/dev/null; true");
    let delays: Vec<_> = (0..TRIES).map(|number| format!("0.{:06}", 50_000 * number / TRIES)).collect();
    format!("printf '%s\\n' {} | xargs -n 1 -P 6 sh -c '{}' sh", delays.join(" "), call.replace('\'', "'\\''"))
}

#[test]
fn five_hundred_callers_killed_around_their_call_change_nothing() {
    let host = Host::new();
    assert_eq!(host.call("root", &["ClampOn", "sa{sv}", "tun9", "0"]), Answer::changed());
    let (before, helper) = (host.ruleset(), host.helper_pid());
    // These calls expect no answer, so dbus-send leaves as soon as it has sent. bob sends them, and
    // first: the log takes a hundred lines of a user, and a hundred of callers unknown to the bus.
    let [destination, path, interface] = Host::HELPER;
    let send = format!("dbus-send --system --type=method_call --dest={destination} {path} {interface}.Reset");
    host.sandbox.as_user("bob").sh(&format!("for i in $(seq 100); do {send}; done")).unwrap();
    let judged = |event: &str| {
        let log = host.log();
        let lines = log.lines().filter(|line| line.contains(&format!("event={event} ")) && !line.contains(" uid=0 "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // The line of a caller who has left before the bus is asked about them does not name the call.
    eventually("the last line in the log", || judged("reset").len() + judged("caller-unknown").len() == 100);
    host.sandbox.as_user("alice").sh(&killed_calls()).unwrap();
    // polkit answers in order, so this answer shows that it has answered all earlier questions.
    assert_eq!(host.call("alice", ON), Answer::standard("InteractiveAuthorizationRequired"), "the helper is alive");
    assert_eq!((host.ruleset(), host.helper_pid()), (before, helper), "and is the same");
    let calls = [judged("reset"), judged("clamp-on")].concat();
    assert!(calls.iter().all(|line| line.starts_with("level=warning ") && !line.contains("result=changed")));
    assert!(calls.iter().any(|line| line.contains("the caller has left the bus")), "some have left in time");
    assert!(!host.log().contains("no-answer-from-polkit"), "and polkit is not blamed for it");
}

#[test]
fn an_authorized_caller_who_leaves_during_the_check_changes_nothing() {
    let grant = "polkit.addRule(function(action, subject) {
        if (subject.user == 'alice') return polkit.Result.YES;
    });";
    let host = Host::with_rules(&[("50-alice", grant)]);
    assert!(host.call("alice", &["GetStatus"]).0.is_ok());
    let before = host.ruleset();
    let polkit = host.owner("org.freedesktop.PolicyKit1");
    host.sandbox.sh(&format!("kill -STOP {polkit}")).unwrap();
    host.sandbox.as_user("alice").sh(&format!("{CALL} & sleep 0.3; kill -KILL $!; wait $! || true")).unwrap();
    host.sandbox.sh(&format!("kill -CONT {polkit}")).unwrap();
    eventually("the line in the log", || host.log().contains("event=clamp-on uid=1000"));
    assert!(host.log().contains("result=AccessDenied"));
    assert_eq!(host.ruleset(), before);
    assert_eq!(host.call("alice", ON), Answer::changed(), "one who stays is served");
}
