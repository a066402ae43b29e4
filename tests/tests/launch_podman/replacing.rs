//! Running containers are read back, and replaced only after confirmation. An interrupted
//! replacement leaves the old container.

use std::time::{Duration, Instant};

use airpods_lab::{Image, Place, terminal};

use crate::host::{ALONE, Host, IMAGE, assert_no_process, service, signal};

fn two(one: &str, two: &str) -> String {
    format!("{ALONE}{}{}", service("one", 7001, one), service("two", 7002, two))
}

/// A volume from a folder that airpods makes.
const FOLDER: &str = "volumes.data = { source = \"bind://models/x\", target = \"/data\" }";

/// A service with every kind of setting.
fn everything(folder: &str) -> String {
    let more = "entrypoint_override = [\"/lab-probe\"]\nnetwork_aliases = [\"uno\"]\npids_limit = 99\nneeds_webui_secret = true\n\
         resources = { memory = \"64m\", cpus = 0.5 }\nenv = { KEY = \"a=b c\", NONE = \"\" }\n\
         volumes.named = { source = \"named\", target = \"/named\" }\n\
         volumes.host = { source = \"/etc/hostname\", target = \"/host/name\" }";
    let service = service("one", 7001, &format!("{more}\n{folder}"));
    let runtime = "[runtime]\ngpu_device_flag = \"/dev/fuse\"\nrestart_policy = \"on-failure\"\n\
                   network = { mtu = 1380, dns_servers = [\"192.0.2.53\"], subnet = \"10.77.0.0/24\" }\n";
    format!("{ALONE}{runtime}{service}")
}

/// Checks that every setting is applied, that a second start has nothing to do, and that it finds a
/// change from outside.
pub(crate) fn reads_everything_back(host: &Host, folder: &str) {
    host.configure(&everything(folder));
    host.succeed("start");
    let id = host.field("one-0", ".Id");
    let again = host.succeed("start");
    assert!(again.err.contains("`one` is running already"), "{}", again.err);
    assert_eq!(host.field("one-0", ".Id"), id);
    host.podman("network disconnect airpods_network one-0");
    let refused = host.refuse("start", 2, &["runtime.network_name", "airpods_network", "one-0", "--yes"]);
    assert!(!refused.err.contains("a=b c"), "{}", refused.err);
    let output = host.succeed("start --yes");
    assert!(output.err.contains("runtime.network_name"), "it did not say why: {}", output.err);
    assert_ne!(host.field("one-0", ".Id"), id);
    host.succeed("stop --remove --yes");
}

#[test]
fn every_setting_is_read_back_and_a_changed_one_found() {
    reads_everything_back(&Host::new(), FOLDER);
}

#[test]
fn every_setting_is_read_back_rootless() {
    reads_everything_back(&Host::of("alice"), FOLDER);
}

#[test]
fn a_limit_changed_at_run_time_is_found_in_the_kernel() {
    let host = Host::new();
    host.configure(&two("resources.cpus = 0.5", ""));
    host.succeed("start");
    // podman 4.3 changes the limits of a running container in the kernel, but not in its database.
    host.podman("update --cpus 1.5 one-0");
    host.refuse("start", 2, &["services.one.resources.cpus", "`0.5`", "the kernel has `1.5`", "--yes"]);
    // A start of `two` does not check other services.
    host.succeed("start two");
    host.succeed("start --yes");
    host.succeed("start");
}

#[test]
fn a_changed_secret_is_found_and_never_shown() {
    let host = Host::new();
    host.configure(&two("needs_webui_secret = true", ""));
    host.succeed("start");
    let first = host.inside("one-0", "env").out;
    let file = host.user.sh("find /root -name webui-secret").unwrap();
    let other = "another-".repeat(8);
    host.user.sh(&format!("printf {other} > {}", file.trim())).unwrap();
    let output = host.refuse("start", 2, &["services.one.env", "WEBUI_SECRET_KEY", "another"]);
    assert!(!output.err.contains(&other), "{}", output.err);
    let secret = first.lines().find_map(|line| line.strip_prefix("WEBUI_SECRET_KEY=")).unwrap();
    assert!(!output.err.contains(secret), "{}", output.err);
    host.succeed("start --yes");
    assert!(host.inside("one-0", "env").out.contains(&format!("WEBUI_SECRET_KEY={other}")));
}

#[test]
fn a_device_of_cdi_is_read_back() {
    let host = Host::new();
    let description = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits:\n    \
                       deviceNodes:\n    - path: /dev/fuse\n";
    host.sandbox.write_file("/etc/cdi/nvidia.yaml", description).unwrap();
    host.configure(&two("", "gpu.enabled = false"));
    let planned = host.succeed("start --dry-run").out;
    assert!(planned.contains("device nvidia.com/gpu=all"), "{planned}");
    host.succeed("start");
    host.succeed("start");
    let refused = host.refuse("start --cpu", 2, &["one-0", "--yes"]);
    assert!(!refused.err.contains("two-0"), "it has no device to lose: {}", refused.err);
}

#[test]
fn ports_are_swapped_between_two_services_that_run() {
    let host = Host::new();
    host.configure(&two("", ""));
    host.succeed("start");
    let swapped = two("", "").replace("host = 7001", "host = x").replace("host = 7002", "host = 7001");
    host.configure(&swapped.replace("host = x", "host = 7002"));
    host.succeed("start --yes");
    for (url, container) in [("http://127.0.0.1:7002/", "one-0"), ("http://127.0.0.1:7001/", "two-0")] {
        assert_eq!(host.sandbox.sh(&format!("lab-probe get {url}")).map(|_| ()).ok(), Some(()), "{url} of {container}");
    }
}

#[test]
fn an_unnamed_service_returns_on_a_recreated_network_after_its_dependency() {
    let host = Host::new();
    let toml = two("env.OTHER = \"http://two:7002\"", "network_aliases = [\"two\"]");
    host.configure(&format!("{toml}[runtime.network]\nsubnet = \"10.77.0.0/24\"\n"));
    host.succeed("start");
    host.configure(&format!("{toml}[runtime.network]\nsubnet = \"10.78.0.0/24\"\n"));
    host.refuse("start two", 1, &["runtime.network.subnet", "--reset-network"]);
    let planned = host.succeed("start two --dry-run");
    assert!(planned.err.contains("needs confirmation") && planned.err.contains("`one-0`"), "{}", planned.err);
    host.succeed("start two --yes");
    for container in ["one-0", "two-0"] {
        let address = host.field(container, ".NetworkSettings.Networks.airpods_network.IPAddress");
        assert!(address.starts_with("10.78.0."), "{container}: {address}");
    }
    let started = |container: &str| host.field(container, ".State.StartedAt");
    assert!(started("two-0") < started("one-0"), "{} and {}", started("two-0"), started("one-0"));
}

#[test]
fn ctrl_c_while_a_container_is_recreated_restores_the_former_one() {
    let host = Host::new();
    host.configure(&two("", ""));
    host.succeed("start");
    let (before, id) = (host.inventory(), host.field("one-0", ".Id"));
    let never = "path = \"/\", expected_status = [500, 599]";
    host.configure(&two("pids_limit = 9", "").replacen("path = \"/\"", never, 1));
    let mut starting = host.command("start --yes").stderr(std::process::Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !host.inventory().contains("one-0 runs") || !host.inventory().contains("one-0-former") {
        assert!(start.elapsed() < Duration::from_secs(60), "it did not start: {}", host.inventory());
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(&starting, "INT");
    assert_eq!(starting.wait().unwrap().code(), Some(130));
    assert_eq!((host.inventory(), host.field("one-0", ".Id")), (before, id));
    assert_eq!(host.field("one-0", ".State.Status"), "running");
    assert_no_process(&host, "podman system service");
}

#[test]
fn fetching_images_starts_nothing() {
    let host = Host::bare("root");
    host.configure(&two("", "").replace(IMAGE, "127.0.0.1:1/nobody/nothing:1"));
    host.refuse("start --pre-fetch", 1, &["services.one.image", "127.0.0.1:1/nobody/nothing:1"]);
    Image::serving(IMAGE, 80).import(&host.user).unwrap();
    host.configure(&two("", ""));
    let before = host.inventory();
    let output = host.succeed("start --pre-fetch");
    assert!(output.err.contains("every image is here already"), "{}", output.err);
    assert_eq!(host.inventory(), before);
}

#[test]
fn one_after_the_other_ends_where_side_by_side_does() {
    let host = Host::new();
    host.configure(&two("", "pod = \"alone\""));
    host.succeed("start --sequential");
    assert_eq!(host.succeed("start --dry-run").out.lines().last(), Some("nothing to do"));
}

#[test]
fn on_a_terminal_a_start_asks_and_recreates_only_after_a_yes() {
    let host = Host::new();
    host.configure(&two("", ""));
    host.succeed("start");
    let id = host.field("one-0", ".Id");
    host.configure(&two("pids_limit = 9", ""));
    let question = "Stop and replace the container `one-0`? Volumes stay. [y/N]";
    let answered = |keys: &str| {
        let line = "AIRPODS_CONFIG=/etc/airpods-test.toml airpods start";
        terminal::once_shown(&host.user, line, question, || keys.to_owned()).unwrap()
    };
    let output = answered("n\n");
    assert!(output.contains("services.one.pids_limit") && output.contains("nothing was changed"), "{output}");
    assert_eq!(host.field("one-0", ".Id"), id);
    answered("y\n");
    assert_ne!(host.field("one-0", ".Id"), id);
}

#[test]
fn a_container_whose_configured_name_changed_is_replaced_after_confirmation() {
    let host = Host::new();
    host.configure(&two("", ""));
    host.succeed("start");
    host.configure(&two("container = \"uno\"", ""));
    assert_eq!(host.status()["services"][0]["container"], "one-0");
    host.refuse("start", 2, &["services.one.container", "`uno` was asked for and podman has `one-0`", "--yes"]);
    host.succeed("start --yes");
    assert_eq!(host.podman("ps -a --format '{{.Names}}' --sort names"), "two-0\nuno");
    host.succeed("start");
}
