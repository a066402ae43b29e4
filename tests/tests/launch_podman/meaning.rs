//! Settings mean the same in any spelling; other users' files, sockets and locks are not trusted.

use std::process::Stdio;

use airpods_lab::{Background, CommandOutput, Image, Place};

use crate::host::{ALONE, Host, IMAGE, service};

#[test]
fn a_second_start_has_nothing_to_do_with_any_spelling() {
    let host = Host::new();
    host.podman(&format!("tag {IMAGE} localhost/probe:latest"));
    host.sandbox.sh("mkdir -p /srv/models/a; ln -s /srv/models /srv/link").unwrap();
    let more = "volumes.a = { source = \"/srv/link\", target = \"/a/\" }\n\
                volumes.b = { source = \"/srv/./models/../models//a\", target = \"/b\" }\n\
                resources = { memory = \"64M\", cpus = \"0.123456\" }";
    let digest = host.podman("image inspect localhost/probe --format '{{.Digest}}'");
    for image in ["localhost/probe".to_owned(), format!("localhost/probe:latest@{digest}")] {
        let toml = service("one", 7001, more).replace(IMAGE, &image);
        host.configure(&format!("{ALONE}runtime.network.dns_servers = [\"2001:DB8:0:0::53\"]\n{toml}"));
        host.succeed("start --yes --no-wait");
        let id = host.field("one-0", ".Id");
        let planned = host.succeed("start --dry-run").out;
        assert!(planned.contains("leave `one`") && !planned.contains("create"), "{image}: {planned}");
        host.succeed("start --no-wait");
        assert_eq!(host.field("one-0", ".Id"), id, "{image} was replaced");
    }
}

#[test]
fn a_missing_path_is_reported_before_any_change() {
    let host = Host::new();
    host.configure(&format!(
        "{ALONE}{}",
        service("one", 7001, "volumes.a = { source = \"/srv/none\", target = \"/a\" }")
    ));
    host.refuse("start", 1, &["services.one.volumes", "there is no `/srv/none`", "mkdir -p /srv/none"]);
}

#[test]
fn a_key_that_would_have_restricted_a_service_is_an_error_and_nothing_is_published() {
    let host = Host::new();
    let toml = service("one", 7001, "read_onyl = true");
    host.configure(&format!("{ALONE}{toml}"));
    host.refuse("start", 10, &["unknown key `read_onyl`"]);
}

/// `su` and `sudo -E` leave root with another user's variables.
#[test]
fn root_hands_no_secret_to_another_users_podman() {
    let host = Host::bare("root");
    Image::serving(IMAGE, 80).import(&host.user).unwrap();
    host.configure(&format!("{ALONE}{}", service("one", 7001, "needs_webui_secret = true")));
    let alice = host.sandbox.as_user("alice");
    host.sandbox.sh("install -d -o alice -m 700 /run/user-alice").unwrap();
    // It is alice's podman, which would get the secret.
    let mut service = alice.command("podman");
    service.args(["system", "service", "--time=0", "unix:///run/user-alice/false.sock"]);
    let _service = Background::start(&mut service, &host.sandbox.log_path("false")).unwrap();
    host.sandbox.sh("until [ -S /run/user-alice/false.sock ]; do sleep 0.02; done").unwrap();
    let mut command = host.command("start --no-wait");
    command.env("CONTAINER_HOST", "unix:///run/user-alice/false.sock");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("listens on `/run/user-alice/false.sock`, and not this user or root"), "{stderr}");
    assert_eq!(alice.sh("podman ps -a --format '{{.Names}}'").unwrap(), "");

    // root must not put its own podman's socket or its secret into folders where alice could
    // replace them.
    let mut command = host.command("start --no-wait");
    command.env("XDG_RUNTIME_DIR", "/run/user-alice").env("HOME", "/home/alice");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("belongs to another user"), "{stderr}");
    assert_eq!(host.sandbox.sh("find /home/alice /run/user-alice -user root").unwrap(), "", "root left something");
}

/// A configuration says what root starts, with which of the host's folders.
#[test]
fn root_reads_another_users_configuration_only_if_it_is_named() {
    let host = Host::bare("root");
    let config = "/home/alice/.config/airpods/config.toml";
    let install = format!("install -D -o alice /dev/null {config}; echo 'cli.verbose = true' > {config}");
    host.sandbox.sh(&install).unwrap();
    let run = |arguments: &str, variable: &str, value: &str| {
        let mut command = host.command(arguments);
        command.env_remove("AIRPODS_CONFIG").env("HOME", "/root").env(variable, value);
        CommandOutput::of(command.stdin(Stdio::null())).unwrap()
    };
    for (variable, value) in
        [("HOME", "/home/alice"), ("XDG_CONFIG_HOME", "/home/alice/.config"), ("AIRPODS_CONFIG", config)]
    {
        let output = run("config get cli.verbose", variable, value);
        assert_ne!(output.code, 0, "{variable}: {output:?}");
        assert!(output.err.contains("belongs to another user (1000), and this is root"), "{variable}: {output:?}");
        assert!(output.err.contains("name the file with `--config`"), "{variable}: {output:?}");
        let named = run(&format!("--config {config} config get cli.verbose"), variable, value);
        assert_eq!(named.out.trim(), "true", "{variable}: {named:?}");
    }
}

/// The same with every command that needs no running service.
#[test]
fn root_with_another_users_environment_leaves_nothing_in_their_folders() {
    let host = Host::bare("root");
    host.configure(&format!("{ALONE}{}", service("one", 7001, "")));
    let trap = "/etc/made-by-root";
    host.sandbox
        .sh(&format!(
            "install -d -o alice -m 700 /run/user-alice; cd /run/user-alice
            mkdir -p libpod/tmp; mkfifo libpod/tmp/rootless-netns-slirp4netns.pid
            ln -s {trap} .airpods-net-check.lock; chown -hR alice: ."
        ))
        .unwrap();
    for arguments in [
        "net check --url https://192.0.2.53 --no-proof",
        "net clamp status",
        "doctor",
        "status",
        "config show",
        "config init",
        "start --dry-run",
        "stop --yes",
        "clean --all --dry-run",
        "export quadlet",
        "version",
    ] {
        let mut command = host.command(arguments);
        command.env("XDG_RUNTIME_DIR", "/run/user-alice").env("HOME", "/home/alice");
        command.env("XDG_CONFIG_HOME", "/home/alice/.config").env("XDG_STATE_HOME", "/home/alice/.local/state");
        if arguments.starts_with("config") {
            command.env_remove("AIRPODS_CONFIG");
        }
        let said = CommandOutput::of(command.stdin(Stdio::null())).unwrap();
        let left = host.sandbox.sh("find /home/alice /run/user-alice -user root").unwrap();
        assert_eq!(left, "", "airpods {arguments}: {said:?}");
        assert!(!host.sandbox.path(trap).exists(), "airpods {arguments} followed a link: {said:?}");
    }
}
