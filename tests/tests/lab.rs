//! Tests of the laboratory: worlds are real, and leave nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use airpods_lab::tunnel::PROBE;
use airpods_lab::{
    BlackHole, Capture, FAMILIES, Family, Netns, Place, Program, Sandbox, TIMEOUT, World, WorldPlan, run,
};

#[test]
fn a_network_namespace_is_its_own_and_gone_with_its_value() {
    let (here, there) = (Netns::new().unwrap(), Netns::new().unwrap());
    here.veth_to(&there, "wg0", "far").unwrap();
    here.add_tun("tun0", 1380).unwrap();
    assert_eq!(here.sh("ls -x /sys/class/net >/dev/null; ip -o link | wc -l").unwrap(), "3");
    let links = here.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert!(links.contains("wg0") && links.contains("tun0"));
    let veth = there.sh("ip link show far").unwrap();
    assert!(veth.contains("far"));
    drop(here);
    let start = Instant::now();
    while there.sh("ip link show far").is_ok() {
        assert!(start.elapsed() < TIMEOUT, "the pair outlived its namespace");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[should_panic(expected = "inside")]
fn a_panic_inside_a_network_namespace_comes_out() {
    Netns::new().unwrap().run(|| panic!("inside"));
}

#[test]
fn a_sandbox_has_its_own_processes_users_and_network() {
    let sandbox = Sandbox::new().unwrap();
    assert_eq!(sandbox.sh("cat /proc/1/comm").unwrap(), "airpods-lab");
    assert_eq!(sandbox.sh("ls /sys/class/net").unwrap(), "lo");
    assert_eq!(sandbox.sh("hostname").unwrap(), "sandbox");
    let alice = sandbox.as_user("alice");
    let output =
        alice.sh("id -un; echo $HOME; touch $HOME/x $XDG_RUNTIME_DIR/y; grep CapEff /proc/self/status").unwrap();
    assert_eq!(output, "alice\n/home/alice\nCapEff:\t0000000000000000");
    assert_eq!(sandbox.as_user("airpods-helper").sh("id -u").unwrap(), "990");
    assert_eq!(sandbox.as_user("admin").sh("id -Gn").unwrap(), "admin sudo");
}

#[test]
fn a_command_in_a_sandbox_passes_on_exit_codes_and_signals() {
    let sandbox = Sandbox::new().unwrap();
    assert_eq!(sandbox.command("sh").args(["-c", "exit 7"]).status().unwrap().code(), Some(7));
    assert_eq!(sandbox.command("sh").args(["-c", "kill -KILL $$"]).status().unwrap().code(), Some(137));
    let mut waiting = sandbox
        .command("sh")
        .args(["-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(waiting.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    run(Command::new("kill").arg(waiting.id().to_string())).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(3));
}

#[test]
fn the_real_bus_and_polkit_run_in_a_sandbox() {
    const POLKIT: &str = "org.freedesktop.PolicyKit1";
    let sandbox = Sandbox::new().unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    assert!(sandbox.bus_name_has_owner(POLKIT).unwrap());
    let refused = sandbox.as_user("alice").sh("pkcheck --action-id org.freedesktop.policykit.exec --process $$");
    assert!(refused.unwrap_err().to_string().contains("requires authentication"));
    sandbox.stop_polkit().unwrap();
    assert!(!sandbox.bus_name_has_owner(POLKIT).unwrap());
}

#[test]
fn the_black_hole_is_real_and_a_lower_mtu_escapes_it() {
    let world = World::new(WorldPlan::with_hole(BlackHole::A)).unwrap();
    let machine = world.add_machine("box").unwrap();
    let (host, behind) = (world.try_from(world.sandbox()).unwrap(), world.try_from(&machine).unwrap());
    assert!(host.all_completed(), "the host itself: {host:?}");
    assert!(behind.all_hung(), "behind the bridge: {behind:?}");
    machine.sh("ip link set eth0 mtu 1380").unwrap();
    let lower = world.try_from(&machine).unwrap();
    assert!(lower.all_completed(), "with a lower MTU: {lower:?}");
}

#[test]
fn a_capture_sees_what_was_announced() {
    let world = World::new(WorldPlan::with_hole(BlackHole::None)).unwrap();
    let machine = world.add_machine("box").unwrap();
    let tunnel = Capture::start(world.sandbox(), "wg0").unwrap();
    let internet = Capture::start(world.internet(), "eth0").unwrap();
    for (family, mss) in [(Family::V4, 1460), (Family::V6, 1440)] {
        assert!(world.download(&machine, family).unwrap().completed());
        for (capture, link) in [(&tunnel, "wg0"), (&internet, "eth0")] {
            for ack in [false, true] {
                let syn = capture.expect(|syn| syn.family == family && syn.ack == ack).unwrap();
                assert_eq!(syn.mss, Some(mss), "{link}: {syn:?}");
            }
        }
    }
}

#[test]
fn podman_runs_containers_in_a_sandbox_for_root_and_for_a_user() {
    const TAG: &str = "docker.io/ollama/ollama:latest";
    let world = World::new(WorldPlan::with_hole(BlackHole::None)).unwrap();
    let image = world.image(TAG, 11434).unwrap();
    for name in ["root", "alice"] {
        let user = world.sandbox().as_user(name);
        image.import(&user).unwrap();
        user.sh("podman network create --ipv6 --subnet 10.89.7.0/24 --subnet fd89:7::/64 lab").unwrap();
        let run = "podman run -d --network lab --pids-limit 100";
        user.sh(&format!("{run} --name web --network-alias ollama -p 127.0.0.1:11434:11434 {TAG}")).unwrap();
        user.sh(&format!("{run} --name other {TAG}")).unwrap();
        let health = user.sh(&format!("{PROBE} get --body http://127.0.0.1:11434/api/tags")).unwrap();
        assert_eq!(health, "ok", "{name}: a published port");
        let named = user.sh("podman exec other /lab-probe get --body http://ollama:11434/whoami").unwrap();
        assert!(named.contains("10.89.7.") || named.contains("fd89:7:"), "{name}: an alias: {named}");
        let resolved = user.sh("podman exec other /lab-probe resolve download.example").unwrap();
        assert!(resolved.contains("192.0.2.80"), "{name}: the internet's names: {resolved}");
        // By default slirp4netns carries no IPv6.
        let families: &[Family] = if name == "root" { &FAMILIES } else { &[Family::V4] };
        let exec = || {
            let mut podman = user.command("podman");
            podman.args(["exec", "web", "/lab-probe"]);
            podman
        };
        let trials = world.try_by(families, exec).unwrap();
        assert!(trials.all_completed(), "{name}: {trials:?}");
        if name == "root" {
            assert_eq!(user.sh("podman exec web /lab-probe pids-max").unwrap(), "100");
        }
        user.sh("podman rm -f web other").unwrap();
    }
}

#[test]
fn a_tunnel_that_is_made_again_has_another_index_and_carries() {
    let mut world = World::new(WorldPlan::default()).unwrap();
    let index = |world: &World| world.sandbox().sh("cat /sys/class/net/wg0/ifindex").unwrap();
    let before = index(&world);
    world.destroy_tunnel().unwrap();
    assert!(world.sandbox().sh("ip link show wg0").is_err());
    world.rebuild_tunnel().unwrap();
    assert_ne!(index(&world), before);
    assert!(world.download(world.sandbox(), Family::V4).unwrap().completed());
}

/// The state that a sandbox could leave on its host: rules, links, mounts, namespaces, cgroups.
fn host_state(namespaces: &BTreeSet<String>) -> (String, String, String, usize, BTreeSet<String>) {
    let output = |line: &str| String::from_utf8(run(Command::new("sh").args(["-ec", line])).unwrap().stdout).unwrap();
    let alive = fs::read_dir("/proc").unwrap().flatten().flat_map(|process| {
        ["pid", "net", "mnt", "cgroup"].map(|kind| fs::read_link(process.path().join("ns").join(kind)))
    });
    let alive: BTreeSet<String> =
        alive.flatten().map(|link| link.display().to_string()).filter(|link| namespaces.contains(link)).collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    (output("nft list ruleset"), output("ip -o -br link; ip netns"), mounts, groups(), alive)
}

/// The control groups of sandboxes whose supervisor is gone.
fn groups() -> usize {
    // Enter no group, because those of other tests and of the killed one vanish meanwhile.
    let find = ["/sys/fs/cgroup", "-ignore_readdir_race", "-name", "airpods-lab-*", "-print", "-prune"];
    let found = run(Command::new("find").args(find)).unwrap().stdout;
    String::from_utf8(found)
        .unwrap()
        .lines()
        .filter_map(|group| group.rsplit('-').next())
        .filter(|supervisor| !fs::exists(format!("/proc/{supervisor}")).unwrap())
        .count()
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    leaves_nothing_behind(&["hold"]);
}

#[test]
fn a_killed_test_with_a_path_leaves_nothing_behind() {
    leaves_nothing_behind(&["hold", "--path"]);
}

/// Kills the process that holds a world, and checks that nothing is left.
fn leaves_nothing_behind(holder: &[&str]) {
    let before = host_state(&BTreeSet::new());
    let mut test = Command::new(Program::Lab.path().unwrap()).args(holder).stdout(Stdio::piped()).spawn().unwrap();
    let mut init = String::new();
    BufReader::new(test.stdout.take().unwrap()).read_line(&mut init).unwrap();
    let namespace = |kind| fs::read_link(format!("/proc/{}/ns/{kind}", init.trim())).unwrap().display().to_string();
    let namespaces = BTreeSet::from(["pid", "net", "mnt", "cgroup"].map(namespace));
    assert_eq!(host_state(&namespaces).4.len(), 4);
    test.kill().unwrap();
    test.wait().unwrap();
    let start = Instant::now();
    loop {
        let after = host_state(&namespaces);
        if after == before {
            return;
        }
        assert!(start.elapsed() < TIMEOUT, "still there: {after:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
