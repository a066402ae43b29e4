//! The rights of the helper's process, as the kernel reports them.

use airpods_lab::sandbox::people::HELPER_USER;
use airpods_lab::{Background, Place, eventually};

use crate::host::{Answer, Host, ON};

/// Bit 12 in `linux/capability.h`.
const NET_ADMIN: &str = "0000000000001000";
const NOTHING: &str = "0000000000000000";

/// The lines of `/proc/PID/status` with the rights of each thread of a process
/// (`proc_pid_status(5)`).
fn rights_of_threads(host: &Host, pid: &str) -> Vec<Vec<String>> {
    let names = "^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs):";
    let threads = host.sandbox.sh(&format!("ls /proc/{pid}/task")).unwrap();
    let read = |thread: &str| {
        let lines = host.sandbox.sh(&format!("grep -E '{names}' /proc/{pid}/task/{thread}/status")).unwrap();
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    threads.split_whitespace().map(read).collect()
}

fn expected() -> Vec<String> {
    let id = HELPER_USER.1;
    let [ids, net_admin, nothing] = [format!("{id} {id} {id} {id}"), NET_ADMIN.into(), NOTHING.into()];
    vec![
        format!("Uid: {ids}"),
        format!("Gid: {ids}"),
        "Groups:".to_owned(),
        format!("CapInh: {nothing}"),
        format!("CapPrm: {net_admin}"),
        format!("CapEff: {net_admin}"),
        format!("CapBnd: {net_admin}"),
        format!("CapAmb: {nothing}"),
        "NoNewPrivs: 1".to_owned(),
    ]
}

#[test]
fn activated_as_root_the_helper_has_given_root_up_in_every_thread() {
    let host = Host::new();
    assert_eq!(host.call("root", ON), Answer::changed());
    let threads = rights_of_threads(&host, &host.helper_pid());
    assert!(!threads.is_empty());
    for rights in threads {
        assert_eq!(rights, expected());
    }
}

/// Starts the helper with these options of setpriv. Like a service manager, it makes the helper's
/// folders first.
fn started_by_hand(host: &Host, rights: &str) -> Background {
    let folders = "install -d -o airpods-helper -g airpods-helper -m 700 /run/airpods-helper /var/lib/airpods-helper";
    host.sandbox.sh(folders).unwrap();
    let mut setpriv = host.sandbox.command("setpriv");
    setpriv.args(rights.split(' ')).arg("/usr/libexec/airpods-helper").env("RUNTIME_DIRECTORY", "/run/airpods-helper");
    Background::start(&mut setpriv, &host.sandbox.log_path("helper")).unwrap()
}

/// The unit's user and capabilities, as options of setpriv.
const AS_THE_UNIT: &str = "--reuid airpods-helper --regid airpods-helper --clear-groups --no-new-privs \
    --inh-caps -all,+net_admin --ambient-caps -all,+net_admin --bounding-set -all,+net_admin";

#[test]
fn started_with_the_units_rights_the_helper_lays_down_what_it_can_pass_on() {
    let host = Host::new();
    let mut helper = started_by_hand(&host, AS_THE_UNIT);
    let is_there = || host.sandbox.bus_name_has_owner("org.airpods.Helper1").unwrap();
    helper.until("the helper", airpods_lab::TIMEOUT, is_there).unwrap();
    for rights in rights_of_threads(&host, &host.helper_pid()) {
        assert_eq!(rights, expected());
    }
    assert_eq!(host.call("root", ON), Answer::changed());
    assert!(host.ruleset().contains("table inet airpods"));
}

#[test]
fn with_more_or_fewer_rights_or_as_another_user_the_helper_does_not_run() {
    let host = Host::new();
    let raw = AS_THE_UNIT.replace("net_admin", "net_admin,+net_raw");
    let bounding = AS_THE_UNIT.replace("--bounding-set -all,+net_admin", "--bounding-set +all");
    let group = AS_THE_UNIT.replace("--clear-groups", "--groups 0");
    let none = AS_THE_UNIT.replace(",+net_admin", "");
    let alice = AS_THE_UNIT.replace("airpods-helper", "alice");
    for (rights, code, told) in [
        (raw.as_str(), 10, "there are more rights than CAP_NET_ADMIN: the bounding set"),
        (bounding.as_str(), 10, "there are more rights than CAP_NET_ADMIN: the bounding set"),
        (group.as_str(), 10, "there are more rights than CAP_NET_ADMIN: supplementary groups"),
        (none.as_str(), 11, "there is no CAP_NET_ADMIN in the permitted set"),
        (alice.as_str(), 12, "started as user 1000, which is neither root nor the helper's own user"),
    ] {
        let mut helper = started_by_hand(&host, rights);
        eventually("its end", || helper.ended().is_some());
        assert_eq!(helper.ended().unwrap().code(), Some(code), "{rights}");
        assert!(host.sandbox.logs().contains(told), "{rights}");
        assert!(!host.sandbox.bus_name_has_owner("org.airpods.Helper1").unwrap());
    }
}
