//! Settings are applied, and a change of them takes effect.

use std::time::{Duration, Instant};

use airpods_lab::{Place, TIMEOUT};

use crate::host::{ALONE, Host, assert_no_process, service, signal};

fn one(more: &str) -> String {
    format!("{ALONE}{}", service("one", 7001, more))
}

#[test]
fn the_pids_limit_is_the_kernels_and_a_fork_bomb_meets_it() {
    let host = Host::new();
    host.configure(&one("pids_limit = 20"));
    host.succeed("start");
    assert_eq!(host.inside("one-0", "pids-max").out.trim(), "20");
    let forked: u32 = host.inside("one-0", "fork 40").out.trim().parse().unwrap();
    assert!((5..20).contains(&forked), "{forked} processes in a container with room for 20");
}

#[test]
fn memory_and_cpus_are_limited_as_configured() {
    let host = Host::new();
    host.configure(&one("resources = { memory = \"64m\", cpus = 0.5 }"));
    host.succeed("start");
    assert_eq!(host.field("one-0", ".HostConfig.Memory"), (64 << 20).to_string());
    assert_eq!(host.field("one-0", ".HostConfig.NanoCpus"), "500000000");
}

#[test]
fn a_changed_setting_recreates_the_container_and_an_unchanged_one_does_not() {
    let host = Host::new();
    let toml = format!("{}{}", one(""), service("two", 7002, ""));
    host.configure(&toml);
    host.succeed("start");
    let (one, two) = (host.field("one-0", ".Id"), host.field("two-0", ".Id"));
    host.configure(&toml.replace("[services.two]", "[services.two]\npids_limit = 99"));
    let planned = host.succeed("start --dry-run").out;
    assert!(planned.contains("set aside the container `two-0`") && planned.contains("leave `one`"), "{planned}");
    assert_eq!(host.field("two-0", ".Id"), two, "a dry run did something");
    let output = host.refuse("start", 2, &["two-0", "services.two.pids_limit", "`99`", "`2048`", "--yes"]);
    assert!(!output.err.contains("one-0"), "{}", output.err);
    host.succeed("start --yes");
    assert_eq!(host.field("one-0", ".Id"), one);
    assert_ne!(host.field("two-0", ".Id"), two);
    assert_eq!(host.inside("two-0", "pids-max").out.trim(), "99");
}

#[test]
fn a_changed_network_is_reported_and_recreated_on_request() {
    let host = Host::new();
    host.configure(&format!("{}[runtime.network]\nsubnet = \"10.77.0.0/24\"\n", one("")));
    host.succeed("start");
    host.configure(&format!("{}[runtime.network]\nsubnet = \"10.78.0.0/24\"\nmtu = 1380\n", one("")));
    host.refuse("start", 1, &["10.77.0.0/24", "10.78.0.0/24", "runtime.network.mtu", "--reset-network"]);
    host.succeed("start --reset-network");
    let address = host.field("one-0", ".NetworkSettings.Networks.airpods_network.IPAddress");
    assert!(address.starts_with("10.78.0."), "{address}");
    let pid = host.field("one-0", ".State.Pid");
    let link =
        host.sandbox.sh(&format!("nsenter -n -t {pid} cat /sys/class/net/eth0/mtu || nsenter -n -t {pid} ip link"));
    assert!(link.unwrap().contains("1380"));
}

#[test]
fn volumes_and_folders_are_mounted_and_stay() {
    let host = Host::new();
    host.configure(&one("volumes.kept = { source = \"kept\", target = \"/kept\" }\n\
                         volumes.data = { source = \"bind://models/x\", target = \"/data\" }"));
    host.succeed("start");
    let mounts = host.podman("inspect --format '{{range .Mounts}}{{.Type}} {{.Destination}};{{end}}' one-0");
    assert!(mounts.contains("volume /kept;") && mounts.contains("bind /data;"), "{mounts}");
    host.succeed("stop --remove --yes");
    assert_eq!(host.podman("volume ls --format '{{.Name}}'"), "kept");
    host.succeed("start");
}

#[test]
fn stopping_reports_only_running_services_and_a_failed_end_has_its_exit_code() {
    let host = Host::new();
    host.configure(&format!("runtime.restart_policy = \"no\"\n{}{}", one(""), service("two", 7002, "")));
    host.succeed("start one");
    let output = host.succeed("stop one two").err;
    assert!(output.contains("stopped `one` (was up ") && output.contains("`two` was not running"), "{output}");
    assert!(!output.contains("stopped `two`"), "{output}");
    assert!(host.succeed("stop").err.contains("no service was running"));
    let table = host.succeed("status").out;
    assert!(table.contains("never started"), "{table}");
    host.succeed("start");
    host.podman("kill --signal KILL one-0");
    let status = host.status();
    let one = &status["services"][0];
    assert_eq!((one["service"].as_str(), one["exit_code"].as_i64()), (Some("one"), Some(137)), "{status}");
}

#[test]
fn logs_show_the_last_lines_of_each_service_with_its_name() {
    let host = Host::new();
    host.configure(&format!("{}{}", one(""), service("second", 7002, "")));
    host.refuse("logs one", 1, &["was never started", "airpods start one"]);
    host.succeed("start");
    let output = host.succeed("logs").out;
    assert!(output.contains("one    | ") && output.contains("second | "), "{output}");
    let alone = host.succeed("logs one -n 1");
    let lines: Vec<&str> = alone.out.lines().chain(alone.err.lines()).collect();
    assert!(lines.len() == 1 && !lines[0].contains(" | "), "{alone:?}");
    let mut following = host.command("logs one --follow").stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut shown = std::io::BufReader::new(following.stdout.take().unwrap());
    let mut line = String::new();
    assert_ne!(std::io::BufRead::read_line(&mut shown, &mut line).unwrap(), 0, "the premise: it follows");
    signal(&following, "INT");
    assert_eq!(following.wait().unwrap().code(), Some(130));
    assert_no_process(&host, "podman system service");
}

#[test]
fn ctrl_c_while_waiting_for_health_leaves_nothing_behind() {
    let host = Host::new();
    host.configure(&one("").replace("path = \"/\"", "path = \"/\", expected_status = [500, 599]"));
    let before = host.inventory();
    let mut starting = host.command("start").stderr(std::process::Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !host.inventory().contains("one-0 runs") {
        assert!(start.elapsed() < TIMEOUT, "it did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    signal(&starting, "INT");
    assert_eq!(starting.wait().unwrap().code(), Some(130));
    assert_eq!(host.inventory(), before);
    assert_no_process(&host, "podman system service");
    assert_eq!(host.sandbox.sh("ls -d /tmp/airpods-podman-* /run/airpods-podman-* 2>/dev/null || true").unwrap(), "");
}

#[test]
fn a_killed_start_takes_its_podman_service_along() {
    let host = Host::new();
    host.configure(&one("").replace("path = \"/\"", "path = \"/\", expected_status = [500, 599]"));
    let mut starting = host.user.command("sh");
    starting.args(["-c", "AIRPODS_CONFIG=/etc/airpods-test.toml airpods start & echo $!; wait"]);
    let mut starting =
        starting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(starting.stdout.take().unwrap()), &mut pid).unwrap();
    let start = Instant::now();
    while !host.inventory().contains("one-0 runs") {
        assert!(start.elapsed() < TIMEOUT, "it did not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    host.sandbox.sh(&format!("kill -KILL {pid}")).unwrap();
    starting.wait().unwrap();
    assert_no_process(&host, "podman system service");
    // The objects of the killed start stay and count as ours. The next start uses them, and removes
    // the folder of the killed start's podman.
    host.configure(&one(""));
    host.succeed("start");
    assert_eq!(host.sandbox.sh("ls -d /tmp/airpods-podman-* /run/airpods-podman-* 2>/dev/null || true").unwrap(), "");
}
