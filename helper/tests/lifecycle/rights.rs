//! `CAP_NET_ADMIN` in a user namespace that does not own the network namespace.

use std::process::Output;

use airpods_lab::Place;

use crate::machine::Machine;

/// Runs the helper as root of a user namespace, until it ends. Every user of the host has the same
/// number there. Only a process outside can write that map.
fn in_a_user_namespace(machine: &Machine, options: &str) -> Output {
    let inside = "until grep -q 65536 /proc/self/uid_map && grep -q 65536 /proc/self/gid_map; do sleep 0.01; done; \
        exec timeout 60 /usr/libexec/airpods-helper";
    let outside = format!(
        "unshare --user {options} sh -euc '{inside}' &
        until [ \"$(readlink /proc/$!/ns/user)\" != \"$(readlink /proc/self/ns/user)\" ]; do sleep 0.01; done
        for ids in uid gid; do echo 0 0 65536 > /proc/$!/${{ids}}_map; done
        wait $!"
    );
    machine.sandbox.command("sh").args(["-euc", &outside]).output().unwrap()
}

#[test]
fn in_a_user_namespace_without_its_own_network_the_helper_reports_a_foreign_network() {
    let machine = Machine::new();
    machine.sandbox.stop_bus();
    let refused = in_a_user_namespace(&machine, "");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(11), "{told}");
    assert!(told.contains("the kernel does not let this process change rules"), "{told}");
    assert!(told.contains("a user namespace needs a network namespace of its own"), "{told}");
    // With its own network namespace the helper gets as far as the bus, which is stopped.
    let served = in_a_user_namespace(&machine, "--net");
    let told = String::from_utf8_lossy(&served.stderr);
    assert_eq!(served.status.code(), Some(13), "{told}");
}
