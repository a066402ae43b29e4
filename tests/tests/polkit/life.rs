//! The helper's end and start on a machine without a service manager, and the state that outlives
//! it.

use airpods_lab::{Place, eventually};

use crate::host::{Answer, Host, ON};

const STATUS: &[&str] = &["GetStatus"];
const KEPT: &[&str] = &["ClampOn", "sa{sv}", "tun9", "1", "persist", "b", "true"];

/// Ends the helper and waits until it is gone.
fn end(host: &Host, signal: &str) {
    let pid = host.helper_pid();
    host.sandbox.sh(&format!("kill -{signal} {pid}")).unwrap();
    let status = format!("/proc/{pid}/status");
    eventually("its end", || host.sandbox.read_file(&status).is_err());
}

#[test]
fn a_helper_that_is_killed_leaves_its_rules_and_the_next_one_finds_them() {
    let host = Host::new();
    assert_eq!(host.call("root", ON), Answer::changed());
    let clamped = host.ruleset();
    end(&host, "KILL");
    assert_eq!(host.ruleset(), clamped);
    assert!(host.call("alice", STATUS).0.unwrap().contains("\"wg0\""), "anybody's call starts the helper");
    assert_eq!(host.ruleset(), clamped);
}

#[test]
fn a_helper_that_is_stopped_leaves_no_trace_but_what_is_to_be_kept() {
    let host = Host::new();
    let untouched = host.ruleset();
    assert_eq!(host.call("root", ON), Answer::changed());
    assert_eq!(host.call("root", KEPT), Answer::changed());
    end(&host, "TERM");
    assert_eq!(host.ruleset(), untouched);
    assert_eq!(host.sandbox.sh("ls -A /run/airpods-helper").unwrap(), "");
    let status = host.call("alice", STATUS).0.unwrap();
    assert!(status.contains("\"tun9\"") && !status.contains("\"wg0\""), "{status}");
    assert!(host.ruleset().contains("tun9"));
    assert_eq!(host.call("root", &["Reset"]), Answer::changed());
    end(&host, "TERM");
    assert!(!host.call("alice", STATUS).0.unwrap().contains("tun9"), "a reset forgets that, too");
    assert_eq!(host.ruleset(), untouched);
}

#[test]
fn a_call_while_the_helper_steps_down_is_served_by_the_next_one() {
    let host = Host::new();
    for _ in 0..20 {
        assert_eq!(host.call("root", ON), Answer::changed());
        let before = host.helper_pid();
        host.sandbox.sh(&format!("kill -TERM {before}")).unwrap();
        eventually("the name is free", || !host.sandbox.bus_name_has_owner("org.airpods.Helper1").unwrap());
        assert_eq!(host.call("root", KEPT), Answer::changed());
        assert_ne!(host.helper_pid(), before);
        assert!(host.ruleset().contains("tun9"), "{}", host.ruleset());
        assert_eq!(host.call("root", &["Reset"]), Answer::changed());
    }
}

#[test]
fn its_folders_are_closed_to_other_users() {
    let host = Host::new();
    assert_eq!(host.call("root", KEPT), Answer::changed());
    let folders = "/run/airpods-helper /var/lib/airpods-helper";
    let rights = host.sandbox.sh(&format!("find {folders} -printf '%u %g %m %y\\n' | sort -u")).unwrap();
    assert_eq!(rights, "airpods-helper airpods-helper 600 f\nairpods-helper airpods-helper 700 d");
}
