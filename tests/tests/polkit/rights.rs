//! What the helper's process may do, by the kernel's word.

use airpods_lab::Place;
use airpods_lab::sandbox::people::HELPER_USER;

use crate::host::{Answer, Host, ON};

/// Bit 12 in `linux/capability.h`.
const NET_ADMIN: &str = "0000000000001000";
const NOTHING: &str = "0000000000000000";

/// The lines of `/proc/PID/status` that say what each thread of a process may do (`proc_pid_status(5)`).
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
