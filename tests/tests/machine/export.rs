//! The output of `airpods export`, run without airpods for an ordinary user: by systemd with
//! Quadlet's units, and by `podman kube play`.

use airpods_lab::{Machine, Place, Suite};

use crate::host::eventually;
use crate::launch::{ALONE, Launcher, service};
use crate::on_both;

/// Two services with limits that know each other by name; the second uses the first. podman 4.3
/// cannot read a secret from a played YAML.
fn pair(secret: bool) -> String {
    let secret = if secret { "needs_webui_secret = true\n" } else { "" };
    [
        ALONE.to_owned(),
        service("one", 7001, &format!("pids_limit = 40\nnetwork_aliases = [\"uno\"]\n{secret}")),
        service(
            "two",
            7002,
            "resources = { memory = \"64m\" }\nnetwork_aliases = [\"due\"]\nenv.ONE = \"http://uno:7001\"",
        ),
    ]
    .concat()
}

fn both_answer(alice: &Launcher) -> bool {
    [7001, 7002].iter().all(|port| alice.alice.sh(&format!("lab-probe get http://127.0.0.1:{port}/")).is_ok())
}

/// Checks that all of her units with these names are active and none has failed. A unit becomes
/// ready only at its next health check, a moment after its service answers.
fn units_run(alice: &Launcher) {
    let active = "systemctl --user is-active airpods_network-network.service airpods-one.service airpods-two.service";
    eventually("three active units", || alice.alice.sh(active).is_ok_and(|output| output == "active\nactive\nactive"));
    assert_eq!(alice.sh("systemctl --user list-units --failed --no-legend 'airpods*'"), "");
}

on_both! {
    fn the_yaml_is_played_by_an_ordinary_users_podman(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        let alice = Launcher::new(&machine, &pair(suite == Suite::Debian13));
        alice.sh("airpods export kube -o ~/airpods.yaml; podman kube play ~/airpods.yaml");
        eventually("both answer", || both_answer(&alice));
        assert_eq!(alice.cgroup("two-two", "memory.max"), (64 << 20).to_string());
        assert!(alice.inside("two-two", "get http://one:7001/").contains("200"));
        alice.sh("podman kube down ~/airpods.yaml");
        assert_eq!(alice.sh("podman ps --all --quiet"), "");
    }
}

/// Debian 12's podman has no Quadlet.
#[test]
fn the_units_run_under_debian_13s_systemd_and_again_when_a_service_dies_or_their_user_comes_back() {
    let machine = Machine::stocked(Suite::Debian13).unwrap();
    let alice = Launcher::new(&machine, &pair(true));
    alice.sh("airpods export quadlet --dir ~/.config/containers/systemd; systemctl --user daemon-reload");
    // `two` pulls in `one`, which it uses and which starts first.
    alice.sh("systemctl --user start airpods-two");
    eventually("both answer", || both_answer(&alice));
    units_run(&alice);
    let moment = |unit: &str, of: &str| -> u64 {
        alice.sh(&format!("systemctl --user show --value --property {of}Monotonic {unit}")).parse().unwrap()
    };
    let (ready, begun) =
        (moment("airpods-one", "ActiveEnterTimestamp"), moment("airpods-two", "InactiveExitTimestamp"));
    assert!(0 < ready && ready <= begun, "`one` was ready at {ready}, and `two` begun at {begun}");
    assert_eq!(alice.cgroup("one-0", "pids.max"), "40");
    assert_eq!(alice.cgroup("two-0", "memory.max"), (64 << 20).to_string());
    assert!(alice.inside("one-0", "get http://due:7002/").contains("200"));
    assert!(alice.inside("one-0", "env").contains("WEBUI_SECRET_KEY="));

    let pid = "podman inspect --format '{{.State.Pid}}' one-0";
    let before = alice.sh(pid);
    alice.sh(&format!("kill -KILL {before}"));
    eventually("another process", || alice.alice.sh(pid).is_ok_and(|pid| pid != before && pid != "0"));

    machine.sh("systemctl restart user@1000.service").unwrap();
    eventually("both answer again", || both_answer(&alice));
    units_run(&alice);
    // Undo the export, as the documentation describes.
    alice.sh("systemctl --user stop 'airpods-*'; rm ~/.config/containers/systemd/airpods*");
    alice.sh("systemctl --user daemon-reload; podman network rm airpods_network");
    assert_eq!(alice.sh("podman ps --all --quiet; podman network ls --format '{{.Name}}'"), "podman");
    alice.sh("airpods start");
    assert!(alice.is_healthy("one") && alice.is_healthy("two"), "{}", alice.status());
}
