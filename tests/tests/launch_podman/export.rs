//! The output of `airpods export`, run by `podman kube play` and by Quadlet's generator.

use std::os::unix::fs::PermissionsExt;

use airpods_lab::{Image, Place};

use crate::host::{ALONE, Host, IMAGE, service};
use crate::podman_5;

/// Two services that find each other. One has every value that needs escaping in a text format.
fn configuration() -> String {
    let first = "network_aliases = [\"first\"]\nneeds_webui_secret = true\npids_limit = 99\n\
                 resources = { memory = \"64m\", cpus = 0.5 }\nenv = { QUOTED = \"\\\"$HOME\\\" $(HOME) 50% #\", YES = \"yes\" }\n\
                 volumes.kept = { source = \"kept\", target = \"/kept\" }\nvolumes.own = { source = \"bind://own\", target = \"/own\" }";
    let second =
        "network_aliases = [\"second\"]\nentrypoint_override = [\"/lab-probe\"]\nenv.FIRST = \"http://first:7001\"";
    format!("{ALONE}{}{}", service("first", 7001, first), service("second", 7002, second))
}

/// Runs the command with a fixed data folder.
fn export(host: &Host, arguments: &str) -> String {
    let output = host.command(arguments).env("AIRPODS_HOME", "/tmp/airpods").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "airpods {arguments}: {told}");
    told
}

fn plays(host: &Host, toml: &str) {
    host.configure(toml);
    let told = export(host, "export kube -o /tmp/airpods.yaml");
    assert!(told.contains("wrote /tmp/airpods.yaml"), "{told}");
    host.podman("kube play /tmp/airpods.yaml");

    for url in ["http://127.0.0.1:7001/", "http://127.0.0.1:7002/"] {
        host.user.sh(&format!("lab-probe get {url}")).unwrap();
    }
    let env = host.inside("first-first", "env").out;
    assert!(env.contains("QUOTED=\"$HOME\" $(HOME) 50% #\n") && env.contains("YES=yes\n"), "{env}");
    let reached = host.inside("second-second", "get http://first:7001/");
    assert_eq!(reached.code, 0, "the other pod is not found by its name: {}", reached.err);
    assert_eq!(host.field("first-first", ".HostConfig.Memory"), (64 << 20).to_string());
    host.podman("volume inspect kept");
    host.sandbox.sh("test -d /tmp/airpods/volumes/own").unwrap();
}

/// podman 4.3 stores a Secret and then cannot read it, so there is none here.
#[test]
fn podman_plays_the_yaml() {
    plays(&Host::new(), &configuration().replace("needs_webui_secret = true", ""));
}

#[test]
fn podman_5_plays_the_yaml_and_its_generator_takes_the_units() {
    let (host, _inside) = podman_5::host("root");
    Image::serving(IMAGE, 80).import(&host.user).unwrap();
    plays(&host, &configuration());
    let mode = std::fs::metadata(host.sandbox.path("/tmp/airpods.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a secret");
    let secret = host.sandbox.sh("cat /tmp/airpods/state/webui-secret").unwrap();
    let env = host.inside("first-first", "env").out;
    assert!(env.contains(&format!("WEBUI_SECRET_KEY={secret}\n")), "the secret of the launcher is not the container's");
    host.podman("kube down /tmp/airpods.yaml");

    host.configure(&configuration().replace("[services.second]", "[services.second]\npod = \"pair\""));
    export(&host, "export quadlet --dir /tmp/units");
    let generate = "nsenter --mount --target $(cat /run/debian-13.pid) env QUADLET_UNIT_DIRS=/tmp/units \
                    /usr/libexec/podman/quadlet -dryrun 2>&1";
    let generated = host.sandbox.sh(generate).unwrap();
    for unit in ["airpods_network-network", "airpods_pair-pod", "airpods-first", "airpods-second"] {
        assert!(generated.contains(&format!("---{unit}.service---")), "{unit}: {generated}");
    }
    let complaints =
        generated.lines().filter(|line| line.starts_with("quadlet-generator") && !line.contains("Loading source"));
    assert_eq!(complaints.collect::<Vec<_>>(), [] as [&str; 0]);
    let second = generated.split("---airpods-second.service---").nth(1).unwrap();
    for line in ["Wants=airpods-first.service", "After=airpods-first.service", "After=airpods_pair-pod.service"] {
        assert!(second.lines().any(|written| written == line), "{line}: {second}");
    }
    runs_as_generated(&host, &generated);
}

/// A stand-in for systemctl: it logs its arguments and succeeds.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >> /tmp/systemctl\n";

#[test]
fn installed_units_are_where_the_generator_finds_them_and_go_again() {
    let (host, _inside) = podman_5::host("root");
    host.sandbox.write_file("/usr/local/bin/systemctl", SYSTEMCTL).unwrap();
    host.sandbox.sh("chmod 755 /usr/local/bin/systemctl").unwrap();
    host.configure(&configuration());
    export(&host, "export quadlet --install");
    assert!(host.sandbox.read_file("/tmp/systemctl").unwrap().contains("daemon-reload"));
    let generate = "nsenter --mount --target $(cat /run/debian-13.pid) /usr/libexec/podman/quadlet -dryrun 2>&1";
    let generated = host.sandbox.sh(generate).unwrap();
    for unit in ["airpods_network-network", "airpods-first", "airpods-second"] {
        assert!(generated.contains(&format!("---{unit}.service---")), "{unit}: {generated}");
    }
    let mode =
        std::fs::metadata(host.sandbox.path("/etc/containers/systemd/airpods-first.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a secret");
    export(&host, "export quadlet --remove");
    assert_eq!(host.sandbox.sh("ls -A /etc/containers/systemd").unwrap(), "");
}

/// Runs the units' command lines in systemd's order, which shows that podman accepts them. A test
/// on a whole machine shows that systemd accepts the units.
fn runs_as_generated(host: &Host, made: &str) {
    for (unit, key) in [
        ("airpods_network-network", "ExecStart="),
        ("airpods_pair-pod", "ExecStartPre="),
        ("airpods-first", "ExecStart="),
        ("airpods-second", "ExecStart="),
    ] {
        let text = made.split(&format!("---{unit}.service---")).nth(1).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        // Replace specifiers and variables as systemd does. Apart from these, its quoting is the
        // shell's.
        let line = line.replace("%t", "/run").replace("%N", unit).replace("%%", "%").replace("$$", "\\$");
        let line = line.replace("--cgroups=split ", "").replace("--sdnotify=conmon ", "");
        host.podman(line.strip_prefix("/usr/bin/podman ").unwrap());
    }
    for url in ["http://127.0.0.1:7001/", "http://127.0.0.1:7002/"] {
        host.user.sh(&format!("lab-probe get {url}")).unwrap();
    }
    let env = host.inside("first-0", "env").out;
    assert!(env.contains("QUOTED=\"$HOME\" $(HOME) 50% #\n") && env.contains("WEBUI_SECRET_KEY="), "{env}");
    assert_eq!(host.inside("first-0", "pids-max").out.trim(), "99");
    assert_eq!(host.field("first-0", ".HostConfig.NanoCpus"), "500000000");
    for (from, name, port) in [("first-0", "second", 7002), ("second-0", "first", 7001)] {
        let reached = host.inside(from, &format!("get http://{name}:{port}/"));
        assert_eq!(reached.code, 0, "{from} does not reach {name}: {}", reached.err);
    }
}
