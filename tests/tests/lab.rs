//! The laboratory keeps its promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use airpods_lab::{BlackHole, FAMILIES, Place, Sandbox, World, WorldPlan};

#[test]
fn a_sandbox_has_its_own_processes_users_and_network() {
    let sandbox = Sandbox::new().unwrap();
    assert_eq!(sandbox.sh("cat /proc/1/comm").unwrap(), "airpods-lab");
    assert_eq!(sandbox.sh("ls /sys/class/net").unwrap(), "lo");
    assert_eq!(sandbox.sh("hostname").unwrap(), "sandbox");
    let alice = sandbox.as_user("alice");
    assert_eq!(alice.sh("id -un; echo $HOME; touch $HOME/x $XDG_RUNTIME_DIR/y && echo ok").unwrap(), "alice\n/home/alice\nok");
    assert_eq!(sandbox.as_user("airpods-helper").sh("id -u").unwrap(), "990");
}

#[test]
fn the_real_bus_and_polkit_run_in_a_sandbox() {
    let sandbox = Sandbox::new().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    assert!(sandbox.bus_name_has_owner("org.freedesktop.PolicyKit1").unwrap());
    let alice = sandbox.as_user("alice");
    println!("{:?}", alice.sh("busctl --system list | head -5; pkcheck --action-id org.freedesktop.policykit.exec --process $$ 2>&1 || true"));
    sandbox.stop_polkit().unwrap();
    assert!(!sandbox.bus_name_has_owner("org.freedesktop.PolicyKit1").unwrap());
}

#[test]
fn the_black_hole_is_real_and_a_lower_mtu_escapes_it() {
    let world = World::new(WorldPlan::with_hole(BlackHole::A)).unwrap();
    let machine = world.add_machine("box").unwrap();
    for family in FAMILIES {
        assert!(world.download(world.sandbox(), family).unwrap().completed(), "the host itself, {family:?}");
        let hung = world.download(&machine, family).unwrap();
        assert!(!hung.completed(), "behind the bridge, {family:?}");
        assert!(!world.upload(&machine, family).unwrap().completed());
    }
    machine.sh("ip link set eth0 mtu 1380").unwrap();
    for family in FAMILIES {
        assert!(world.download(&machine, family).unwrap().completed(), "with a lower MTU, {family:?}");
        assert!(world.upload(&machine, family).unwrap().completed(), "with a lower MTU, {family:?}");
    }
}
