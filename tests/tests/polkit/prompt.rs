//! Prompts that a user answers, dismisses or leaves open, and prompts whose caller leaves the bus.

use airpods_lab::{Place, eventually};

use crate::agent::{Person, Prompt, Prompted};
use crate::host::{Answer, CHANGES, Host, ON};

const AIRPODS_ON: &[&str] = &["airpods", "net", "clamp", "on", "wg0"];
/// The uid of every sandbox's administrator.
const ADMIN: u32 = 1002;

#[test]
fn the_prompt_shows_an_administrator_the_request() {
    let host = Host::new();
    let asked: [(&[&str], &str, &str); 5] = [
        (
            AIRPODS_ON,
            "clamp-on",
            "limit the size of TCP packets on wg0 (clamp-on; path MTU: route; kept after a reboot: no, so far: no)",
        ),
        (
            &["airpods", "net", "clamp", "on"],
            "clamp-on",
            "limit the size of TCP packets on every VPN link \
             (clamp-on; path MTU: route; kept after a reboot: no, so far: no)",
        ),
        (
            &["airpods", "net", "clamp", "on", "other0", "--any-link", "--mtu=1300", "--persist"],
            "clamp-any-link",
            "limit the size of TCP packets on other0, even if it is not a VPN link \
             (clamp-any-link; path MTU: 1300; kept after a reboot: yes, so far: no)",
        ),
        (
            &["airpods", "net", "clamp", "off", "wg0"],
            "clamp-off",
            "stop limiting the size of TCP packets on wg0 (clamp-off; kept after a reboot so far: no)",
        ),
        (
            &["airpods", "net", "clamp", "reset"],
            "reset",
            "remove the MSS clamps on every link (reset; kept after a reboot so far: yes)",
        ),
    ];
    for (words, action, wish) in asked {
        let (output, prompts) = Prompted::start(&host, "alice", Person::Agrees, words).finish();
        assert!(output.status.success(), "{output:?}");
        let action = format!("org.airpods.helper1.{action}");
        let message = format!("Authentication is required to {wish}");
        assert_eq!(prompts, [Prompt { action, message, users: vec![ADMIN] }]);
    }
}

#[test]
fn a_dismissed_prompt_has_its_own_error_and_exit_code_and_changes_nothing() {
    let host = Host::new();
    let before = host.ruleset();
    let (output, prompts) = Prompted::start(&host, "alice", Person::Dismisses, AIRPODS_ON).finish();
    assert_eq!((output.status.code(), prompts.len()), (Some(5), 1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("(AuthDismissed)\nhint: "), "{output:?}");

    let busctl = [&["busctl", "--system", "call"][..], &Host::HELPER, ON].concat();
    let (output, _) = Prompted::start(&host, "alice", Person::Dismisses, &busctl).finish();
    assert_eq!(Answer::from_busctl(&output), Answer::own("AuthDismissed"));
    assert_eq!(host.ruleset(), before);
}

#[test]
fn an_authorization_does_not_outlive_its_call() {
    let host = Host::new();
    let (output, _) = Prompted::start(&host, "alice", Person::Agrees, AIRPODS_ON).finish();
    assert!(output.status.success(), "{output:?}");
    for change in &CHANGES[1..] {
        assert_eq!(host.call("alice", change), Answer::standard("InteractiveAuthorizationRequired"));
    }
    let twice = "airpods net clamp off wg0 && exec airpods net clamp on wg0";
    let (output, prompts) = Prompted::start(&host, "alice", Person::Agrees, &["sh", "-c", twice]).finish();
    // The agent is registered for the shell's process, which becomes the second command. The first
    // one has no agent.
    assert_eq!((output.status.code(), prompts.len()), (Some(4), 0), "{output:?}");
}

#[test]
fn a_caller_who_leaves_at_the_prompt_changes_nothing_and_the_prompt_closes() {
    let host = Host::new();
    let before = host.ruleset();
    assert!(host.call("alice", &["GetStatus"]).0.is_ok());
    let helper = host.helper_pid();
    let prompted = Prompted::start(&host, "alice", Person::Hesitates, AIRPODS_ON);
    eventually("the prompt", || prompted.prompts().len() == 1);
    host.sandbox.sh("kill -KILL $(pgrep -u alice -x airpods)").unwrap();
    eventually("the prompt's end", || prompted.closed() == 1);
    eventually("the line in the log", || {
        host.log().contains("result=AccessDenied detail=\"the caller has left the bus\"")
    });
    assert_eq!((host.ruleset(), host.helper_pid()), (before, helper));
}

#[test]
fn an_open_prompt_does_not_delay_other_callers() {
    let host = Host::new();
    let prompted = Prompted::start(&host, "alice", Person::Hesitates, AIRPODS_ON);
    eventually("the prompt", || prompted.prompts().len() == 1);
    assert_eq!(host.call("root", ON), Answer::changed());
    assert!(host.call("alice", &["GetStatus"]).0.unwrap().contains("\"wg0\""));
    let wait = ["airpods", "net", "clamp", "on", "tun9"];
    let (output, prompts) = Prompted::start(&host, "alice", Person::Agrees, &wait).finish();
    assert_eq!((output.status.code(), prompts.len()), (Some(8), 0), "one prompt at a time: {output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("(Busy)"), "{output:?}");
    let (output, prompts) = Prompted::start(&host, "bob", Person::Agrees, &wait).finish();
    assert_eq!((output.status.code(), prompts.len()), (Some(0), 1), "for each user: {output:?}");
}

#[test]
fn hostile_names_never_reach_a_prompt() {
    let host = Host::new();
    for name in ["wg0\x1b[31m", "wg0\nroot", "$(reboot)", "<b>wg0</b>", "wg0;", "-x"] {
        let busctl = [&["busctl", "--system", "call"][..], &Host::HELPER, &["ClampOff", "s", "--", name]].concat();
        let (output, prompts) = Prompted::start(&host, "alice", Person::Agrees, &busctl).finish();
        assert_eq!(Answer::from_busctl(&output), Answer::own("InvalidLinkName"), "{name:?}");
        assert_eq!(prompts, []);
    }
    assert!(!host.log().contains('\x1b'));
}
