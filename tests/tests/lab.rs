//! The laboratory keeps its promises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use airpods_lab::tunnel::{CA, PROBE};
use airpods_lab::{BlackHole, FAMILIES, Family, Image, Place, Sandbox, Transfer, World, WorldPlan};

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

#[test]
fn podman_runs_containers_in_a_sandbox_for_root_and_for_a_user() {
    let world = World::new(WorldPlan::with_hole(BlackHole::None)).unwrap();
    let tag = "docker.io/ollama/ollama:latest";
    let image = Image::serving(tag, 11434).with_file("/ca.pem", world.sandbox().read_file(CA).unwrap());
    let root = world.sandbox().seat().clone();
    let alice = world.sandbox().as_user("alice");
    for (who, seat) in [("root", root), ("alice", alice)] {
        image.import(&seat).unwrap();
        seat.sh(&format!("podman run -d --name web --pids-limit 100 -p 127.0.0.1:11434:11434 {tag}")).unwrap();
        let health = seat.sh(&format!("{PROBE} get --body http://127.0.0.1:11434/api/tags")).unwrap();
        assert_eq!(health, "ok", "{who}");
        for family in [Family::V4] {
            let url = world.url(family, "/download");
            let mut get = seat.command("podman");
            get.args(["exec", "web", "/lab-probe", "get", &url]);
            assert!(Transfer::of(&mut get).unwrap().completed(), "{who}");
        }
        if who == "root" {
            assert_eq!(seat.sh("podman exec web /lab-probe pids-max").unwrap(), "100");
        }
        seat.sh("podman rm -f web").unwrap();
    }
}
