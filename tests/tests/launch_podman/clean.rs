//! `airpods clean` removes the selected objects of airpods, and never those of other programs.

use airpods_lab::{Place, terminal};
use serde_json::Value;

use crate::host::{ALONE, Host, IMAGE, service};

fn config() -> String {
    let volume = "volumes.kept = { source = \"kept\", target = \"/kept\" }";
    format!("{ALONE}{}{}", service("one", 7001, volume), service("two", 7002, "pod = \"duo\""))
}

/// A host with running services, and with another program's container, pod, volume, network and
/// image.
fn among_others() -> Host {
    let host = Host::new();
    host.podman("network create theirs");
    host.podman("volume create theirs");
    host.podman(&format!("tag {IMAGE} localhost/theirs:1"));
    host.podman("run -d --name stranger --network theirs -v theirs:/x localhost/theirs:1 serve-http 80");
    host.podman("pod create --name theirs");
    host.configure(&config());
    host.succeed("start");
    host
}

/// The containers, pods, networks, volumes and images of other programs.
fn foreign_objects(host: &Host) -> String {
    let everything = host.inventory();
    let images = host.podman("images --format '{{.Repository}}'");
    everything
        .lines()
        .chain(images.lines())
        .filter(|line| line.contains("theirs") || line.contains("stranger"))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn all_of_ours_goes_and_all_of_the_others_stays() {
    let host = among_others();
    let before = foreign_objects(&host);
    let planned: Value = serde_json::from_str(&host.succeed("clean --all --dry-run --json").out).unwrap();
    let named = |kind: &str, name: &str| {
        planned["steps"].as_array().unwrap().iter().find(|step| step["kind"] == kind && step["name"] == name).cloned()
    };
    assert!(named("volume", "kept").unwrap()["size_bytes"].is_u64(), "{planned}");
    assert!(named("container", "stranger").is_none() && named("volume", "theirs").is_none(), "{planned}");
    assert!(host.inventory().contains("one-0 runs"), "a dry run did something");
    let output = host.succeed("clean --all --volumes --force");
    assert_eq!(foreign_objects(&host), before, "{}", output.err);
    let left = host.inventory();
    let ours = ["one-0", "two-0", "duo", "kept", "airpods_network"];
    assert!(ours.iter().all(|name| !left.contains(name)), "{left}");
    assert!(
        !host.podman("images --format '{{.Repository}}:{{.Tag}}'").contains(IMAGE),
        "the image has another name only"
    );
    let copies = host.sandbox.sh("ls /etc/airpods-test.toml* | cat").unwrap();
    assert!(copies.lines().count() == 1 && copies.contains(".bak"), "{copies}");
}

#[test]
fn volumes_go_only_when_they_were_named() {
    let host = among_others();
    let output = host.succeed("clean --all --force --no-backup-config");
    assert!(output.err.contains("the volume `kept` stays"), "{}", output.err);
    assert!(host.inventory().contains("kept"));
    host.configure(&config());
    let line = "trap : INT; AIRPODS_CONFIG=/etc/airpods-test.toml airpods clean --volumes; echo code=$?";
    let asked = |keys: &str| terminal::once_shown(&host.user, line, "[y/N]", || keys.to_owned()).unwrap();
    let screen = asked("n\n");
    assert!(screen.contains("lose what is in the volume `kept` ("), "{screen}");
    assert!(screen.contains("nothing was changed") && screen.contains("code=0"), "{screen}");
    assert!(host.inventory().contains("kept"));
    assert!(asked("\u{3}").contains("code=130"));
    assert!(host.inventory().contains("kept"));
    assert!(asked("y\n").contains("removed the volume `kept`"));
    assert!(!host.inventory().contains("kept"));
}

#[test]
fn objects_in_use_stay_and_without_a_selection_or_a_terminal_nothing_is_removed() {
    let host = among_others();
    host.refuse("clean", 2, &["nothing selected to clean", "--pods", "--all"]);
    host.refuse("clean --pods", 2, &["needs confirmation", "--yes"]);
    let output = host.succeed("clean --volumes --images --network --yes");
    for skipped in
        ["the volume `kept` stays: the container `one-0` uses it", "the network `airpods_network` stays", "the image"]
    {
        assert!(output.err.contains(skipped), "{skipped}: {}", output.err);
    }
    assert!(host.inventory().contains("one-0 runs"));
    // Another program's container uses our volume, so no option removes the volume.
    host.podman(&format!("run -d --name guest -v kept:/x {IMAGE} serve-http 80"));
    let output = host.succeed("clean --pods --volumes --yes");
    assert!(output.err.contains("the volume `kept` stays: the container `guest` uses it"), "{}", output.err);
    assert!(host.inventory().contains("kept") && !host.inventory().contains("one-0"));
}
