//! `airpods doctor` on hosts with a real fault: it reports that fault and no other, and its cures
//! work.

use std::collections::BTreeSet;

use airpods_lab::{Background, CommandOutput, Place};
use serde_json::Value;

use crate::host::{ALONE, DNS, Host, service};

/// Findings that a sandbox always has for an ordinary user: no control groups of their own, and a
/// storage driver that only copies.
const OF_A_SANDBOX: [&str; 3] = ["cgroup-version", "user-session", "storage-copies"];

/// A host without faults, with the helper, polkit, a name server and one service in the
/// configuration.
fn well(user: &str) -> (Host, Background) {
    let host = Host::of(user);
    let (dns, _) = host.start_dns();
    host.sandbox.write_file("/etc/resolv.conf", format!("nameserver {DNS}\n")).unwrap();
    host.sandbox.install_helper().unwrap();
    host.sandbox.start_bus().unwrap();
    host.sandbox.start_polkit().unwrap();
    host.configure(&one(""));
    (host, dns)
}

fn one(more: &str) -> String {
    format!("{ALONE}{more}\n{}", service("one", 7001, "pids_limit = 40"))
}

/// The doctor's findings other than `ok`, without those that a sandbox always has.
fn examine(host: &Host) -> (CommandOutput, Vec<Value>) {
    let output = host.airpods("doctor --json");
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] != "ok").cloned();
    let findings: Vec<Value> =
        findings.filter(|finding| !OF_A_SANDBOX.contains(&finding["code"].as_str().unwrap())).collect();
    let broken = findings.iter().any(|finding| finding["level"] == "broken");
    assert_eq!((output.code, report["broken"] == true), (i32::from(broken), broken), "{output:?}");
    (output, findings)
}

#[track_caller]
fn is_well(host: &Host) {
    let (_, findings) = examine(host);
    assert_eq!(findings, Vec::<Value>::new());
}

/// Checks that the doctor finds only this, with these words, and returns the cure.
#[track_caller]
fn finds(host: &Host, level: &str, code: &str, words: &[&str]) -> String {
    let (_, findings) = examine(host);
    let found: BTreeSet<(&str, &str)> = findings
        .iter()
        .map(|finding| (finding["level"].as_str().unwrap(), finding["code"].as_str().unwrap()))
        .collect();
    assert_eq!(found, BTreeSet::from([(level, code)]), "{findings:#?}");
    let cause = findings[0]["cause"].as_str().unwrap();
    for word in words {
        assert!(cause.contains(word), "{word} is not in: {cause}");
    }
    findings[0]["cure"].as_str().unwrap_or_default().to_owned()
}

/// Runs a cure as its user would; steps with `sudo` run as root.
#[track_caller]
fn take(host: &Host, cure: &str) {
    for step in cure.split(" && ") {
        let environment = "export AIRPODS_CONFIG=/etc/airpods-test.toml";
        match step.strip_prefix("sudo ") {
            Some(step) => host.sandbox.sh(step).unwrap(),
            None => host.user.sh(&format!("{environment}; {step}")).unwrap(),
        };
    }
}

#[test]
fn a_working_host_has_no_finding_and_the_doctor_leaves_no_trace() {
    for user in ["root", "alice"] {
        let (host, _dns) = well(user);
        let before = host.inventory();
        is_well(&host);
        let own = format!("asked of the host's own name servers ({DNS}, in /etc/resolv.conf)");
        assert!(host.succeed("doctor").out.contains(&format!("names will be {own}")));
        host.succeed("start");
        is_well(&host);
        // The doctor finds nothing although it looked: it asked these servers from within the
        // container's network.
        assert!(host.succeed("doctor").out.contains(&format!("names are {own}")));
        host.succeed("stop --remove --yes");
        assert_eq!(host.inventory(), before);
        let plain = host.succeed("health");
        assert!(plain.out.contains("ok      podman ") && !plain.out.contains('\u{1b}'), "{}", plain.out);
        assert_eq!(plain.err, "");
        crate::host::assert_no_process(&host, "podman system service");
    }
}

#[test]
fn a_configuration_that_every_command_refuses_is_a_finding_with_its_place() {
    let (host, _dns) = well("root");
    host.configure(&one("cli.log_lines = 0"));
    let cure = finds(&host, "broken", "configuration-wrong", &["/etc/airpods-test.toml:4:", "log_lines"]);
    assert_eq!(cure, "airpods config edit");
    host.configure(&one("dependencies.required = [\"sh\", \"no-such-program\"]"));
    finds(&host, "broken", "dependency-missing", &["no-such-program"]);
    host.configure(&one("dependencies = { required = [\"no-such-program\"], skip_checks = true }"));
    is_well(&host);
}

#[test]
fn without_podman_only_that_is_reported() {
    let (host, _dns) = well("root");
    host.sandbox.sh("mv /usr/bin/podman /usr/bin/podman.away").unwrap();
    assert_eq!(finds(&host, "broken", "podman-missing", &[]), "apt install podman");
    host.configure(&one("runtime.podman_url = \"unix:///run/podman/podman.sock\""));
    let cure = finds(&host, "broken", "podman-socket", &["/run/podman/podman.sock", "runtime.podman_url"]);
    assert_eq!(cure, "systemctl enable --now podman.socket");
}

#[test]
fn parts_of_podman_that_are_missing_are_named() {
    let (host, _dns) = well("alice");
    let parts = [
        ("/usr/lib/podman/aardvark-dns", "aardvark-dns", "sudo apt install aardvark-dns"),
        ("/usr/sbin/iptables", "firewall-program", "sudo apt install iptables"),
        ("/usr/bin/slirp4netns", "rootless-network", "sudo apt install slirp4netns"),
        ("/usr/bin/newgidmap", "id-mappers", "sudo apt install uidmap"),
    ];
    for (file, code, cure) in parts {
        host.sandbox.sh(&format!("mv {file} {file}.away")).unwrap();
        assert_eq!(finds(&host, "broken", code, &["is not installed"]), cure);
        host.sandbox.sh(&format!("mv {file}.away {file}")).unwrap();
    }
    let broken = "cd /usr/bin; mv slirp4netns slirp4netns.away; \
                  printf '#!/bin/sh\\necho libslirp.so.0: no such file >&2; exit 127\\n' > slirp4netns; chmod 755 slirp4netns";
    host.sandbox.sh(broken).unwrap();
    let cure =
        finds(&host, "broken", "rootless-network", &["`slirp4netns` does not start", "libslirp.so.0: no such file"]);
    assert_eq!(cure, "sudo apt install --reinstall slirp4netns");
    host.sandbox.sh("mv /usr/bin/slirp4netns.away /usr/bin/slirp4netns").unwrap();
    host.sandbox.sh("chmod u-s /usr/bin/newuidmap").unwrap();
    finds(&host, "broken", "id-mappers", &["`newuidmap` has neither"]);
    host.sandbox.sh("chmod u+s /usr/bin/newuidmap").unwrap();
    is_well(&host);
}

#[test]
fn missing_rights_of_an_ordinary_user_are_named_and_the_cure_works() {
    let (host, _dns) = well("alice");
    host.sandbox.sh("sed -i /alice/d /etc/subuid").unwrap();
    let cure = finds(&host, "broken", "subordinate-ids", &["/etc/subuid", "alice"]);
    take(&host, &cure);
    is_well(&host);
    host.sandbox.sh("chmod 600 /dev/net/tun").unwrap();
    let cure = finds(&host, "broken", "tun-device", &["/dev/net/tun cannot be opened"]);
    take(&host, &cure);
    is_well(&host);
    host.configure(&one("").replace("host = 7001", "host = 81"));
    let cure = finds(&host, "broken", "port-privileged", &["port 81", "services.one.ports"]);
    take(&host, &cure);
    is_well(&host);
}

#[test]
fn the_reasons_that_the_helper_cannot_clamp_are_distinguished() {
    let (host, _dns) = well("alice");
    let rule =
        |answer: &str| format!("polkit.addRule(function(action, subject) {{ return polkit.Result.{answer}; }});");
    host.sandbox.stop_polkit().unwrap();
    finds(&host, "note", "polkit-missing", &["only root can clamp"]);
    host.sandbox.add_polkit_rule("50-never", &rule("NO")).unwrap();
    host.sandbox.start_polkit().unwrap();
    finds(&host, "note", "helper-denied", &["not even with a password"]);
    host.sandbox.sh("rm /etc/polkit-1/rules.d/50-never.rules").unwrap();
    host.sandbox.stop_polkit().unwrap();
    host.sandbox.sh("mv /usr/share/polkit-1/actions/org.airpods.helper1.policy /root").unwrap();
    host.sandbox.start_polkit().unwrap();
    finds(&host, "note", "polkit-policy", &["its policy is not installed"]);
    host.sandbox.stop_bus();
    host.sandbox.sh("chmod 644 /usr/libexec/airpods-helper").unwrap();
    host.sandbox.start_bus().unwrap();
    finds(&host, "note", "helper-failed", &["could not be started"]);
    host.sandbox.sh("rm /usr/share/dbus-1/system-services/org.airpods.Helper1.service").unwrap();
    host.sandbox.reload_bus().unwrap();
    finds(&host, "note", "helper-missing", &["is not installed"]);
    host.sandbox.stop_bus();
    finds(&host, "note", "bus-missing", &["system bus"]);
    host.configure(&one("runtime.network.mss_clamp = \"require\""));
    finds(&host, "broken", "bus-missing", &["nothing can be clamped"]);
    host.configure(&one("runtime.network.mss_clamp = \"off\""));
    is_well(&host);
}

#[test]
fn the_owner_of_a_port_or_a_name_is_named_and_the_cure_works() {
    let (host, _dns) = well("root");
    host.podman(&format!("run -d --name squatter -p 7001:80 {}", crate::host::IMAGE));
    // The cure does not stop a container that airpods did not make.
    assert_eq!(
        finds(&host, "broken", "port-in-use", &["services.one.ports", "7001", "squatter"]),
        "airpods config edit"
    );
    host.podman("rm -f squatter");
    is_well(&host);
    host.podman(&format!("create --name one-0 {}", crate::host::IMAGE));
    let cure = finds(&host, "broken", "name-taken", &["services.one.container", "one-0"]);
    take(&host, &cure);
    is_well(&host);
    let mut server = host.sandbox.command("lab-probe");
    server.args(["serve-http", "7001"]);
    let _server = Background::start_ready(&mut server, &host.sandbox.log_path("other")).unwrap();
    let cure = finds(&host, "broken", "port-in-use", &["7001", "your program `lab-probe`"]);
    assert_eq!(cure, "airpods config set services.one.ports.0.host 7002");
}

#[test]
fn a_program_of_another_user_is_reported_without_its_name() {
    let (host, _dns) = well("alice");
    let mut server = host.sandbox.command("lab-probe");
    server.args(["serve-http", "7001"]);
    let _server = Background::start_ready(&mut server, &host.sandbox.log_path("other")).unwrap();
    finds(&host, "broken", "port-in-use", &["7001", "a program of another user"]);
}

#[test]
fn a_route_of_a_tunnel_into_the_services_network_is_a_clash() {
    let (host, _dns) = well("root");
    let config = |subnet: &str| format!("{}[runtime.network]\nsubnet = \"{subnet}\"\n", one(""));
    host.configure(&config("10.89.7.0/24"));
    host.succeed("start");
    is_well(&host);
    // The route is in a table of its own, as Tailscale's and Mullvad's are.
    let tunnel = "ip tuntap add tun0 mode tun; ip link set tun0 up; ip route add 10.88.0.0/15 dev tun0 table 52";
    host.sandbox.sh(tunnel).unwrap();
    let cure = finds(&host, "broken", "subnet-clash", &["10.89.7.0/24", "10.88.0.0/15", "`tun0`"]);
    assert_eq!(cure, "airpods config set runtime.network.subnet 10.90.0.0/24 && airpods start --reset-network");
    host.configure(&config("10.90.0.0/24"));
    host.succeed("start --reset-network");
    is_well(&host);
}

#[test]
fn a_description_of_a_gpu_that_names_what_is_gone_is_stale() {
    let (host, _dns) = well("root");
    let yaml = "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: all\n  containerEdits:\n    deviceNodes:\n    \
                - path: /dev/nvidia0\n";
    host.sandbox.write_file("/etc/cdi/nvidia.yaml", yaml).unwrap();
    let cure = finds(&host, "broken", "gpu-stale", &["/etc/cdi/nvidia.yaml", "/dev/nvidia0"]);
    assert_eq!(cure, "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
    host.sandbox.sh("touch /dev/nvidia0").unwrap();
    is_well(&host);
}

#[test]
fn a_service_that_ended_by_itself_is_dead_and_one_that_was_stopped_or_killed_is_not() {
    let (host, _dns) = well("root");
    host.configure(&format!("{}init = true\n", one("runtime.restart_policy = \"no\"")));
    let await_end = || {
        airpods_lab::eventually("the end of the service", || host.field("one-0", ".State.Status") == "exited");
    };
    host.succeed("start");
    host.succeed("stop");
    is_well(&host);
    host.succeed("start");
    host.podman("kill --signal KILL one-0");
    await_end();
    assert_eq!(host.status()["services"][0]["status"], "stopped");
    is_well(&host);
    host.succeed("start");
    // The init process passes on the end of its only child.
    let init = host.field("one-0", ".State.Pid");
    host.sandbox.sh(&format!("pkill -ABRT -P {init}")).unwrap();
    await_end();
    assert_eq!(finds(&host, "broken", "service-dead", &["`one` has ended: exit code 134"]), "airpods logs one");
}

#[test]
fn a_reached_process_limit_is_reported_with_the_setting_that_raises_it() {
    let (host, _dns) = well("root");
    host.succeed("start");
    is_well(&host);
    host.inside("one-0", "fork 60");
    let cure = finds(&host, "broken", "pids-reached", &["`one` could not fork", "`pids_limit` is 40"]);
    assert_eq!(cure, "airpods config set services.one.pids_limit 80 && airpods start one --yes");
    host.configure(&one("").replace("pids_limit = 40", "pids_limit = 80"));
    host.succeed("start one --yes");
    assert_eq!(host.inside("one-0", "pids-max").out.trim(), "80");
    is_well(&host);
}

#[test]
fn a_limit_lowered_at_run_time_is_reported_and_start_restores_it() {
    let (host, _dns) = well("root");
    host.succeed("start");
    let pid = host.field("one-0", ".State.Pid");
    let lower = format!(
        "group=$(sed -n 's/^[0-9]*:pids://p;s/^0:://p' /proc/{pid}/cgroup | head -n1); \
         for mount in /sys/fs/cgroup/pids /sys/fs/cgroup; do [ ! -f $mount$group/pids.max ] || echo 1 > $mount$group/pids.max; done"
    );
    host.sandbox.sh(&lower).unwrap();
    let cure = finds(&host, "broken", "pids-low", &["1 processes", "40 are configured"]);
    take(&host, &cure);
    assert_eq!(host.inside("one-0", "pids-max").out.trim(), "40");
    is_well(&host);
}
