//! Launches by an ordinary user: rootless podman under systemd, cgroups version 2 delegated to the
//! user, and the user's podman socket of systemd. All claims about limits are checked in the
//! kernel.

pub(crate) use airpods_lab::client::ALONE;
use airpods_lab::machine::{IMAGE, User};
use airpods_lab::{Machine, Place};
use serde_json::Value;

use crate::host::eventually;
use crate::on_both;

/// The address of a stocked machine's name server, which knows `far.example`.
pub(crate) const DNS: &str = "192.0.2.53";

/// A service of the laboratory's image.
pub(crate) fn service(name: &str, port: u16, more: &str) -> String {
    format!(
        "[services.{name}]\nimage = \"{IMAGE}\"\nports = [{{ host = {port}, container = {port} }}]\n\
         command_args = [\"serve-http\", \"{port}\"]\nhealth = {{ path = \"/\" }}\n{more}\n"
    )
}

/// Two services on a network and one on the host's.
pub(crate) fn three() -> String {
    [
        ALONE.to_owned(),
        format!("[runtime.network]\ndns_servers = [\"{DNS}\"]\n"),
        service("one", 7001, "pids_limit = 40\nnetwork_aliases = [\"uno\"]"),
        service("two", 7002, "pids_limit = 512\nresources = { memory = \"64m\" }\nnetwork_aliases = [\"due\"]"),
        service("three", 7003, "pids_limit = 512\nnetwork_mode = \"host\""),
    ]
    .concat()
}

/// Alice on a stocked machine.
pub(crate) struct Launcher<'a> {
    machine: &'a Machine,
    pub(crate) alice: User,
}

impl<'a> Launcher<'a> {
    /// Alice with a configuration.
    pub(crate) fn new(machine: &'a Machine, config: &str) -> Self {
        machine.write_file("/home/alice/.config/airpods/config.toml", config).unwrap();
        machine.sh("chown -R alice: /home/alice/.config").unwrap();
        Self::without_config(machine)
    }

    /// Alice without a configuration, as a new user of airpods.
    pub(crate) fn without_config(machine: &'a Machine) -> Self {
        let alice = machine.as_lingering("alice");
        Self { machine, alice }
    }

    /// Runs a shell line as alice and returns both of its outputs together.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        let output = self.alice.command("sh").args(["-euc", &format!("{{ {line}; }} 2>&1")]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{line}: {}: {text}", output.status);
        text
    }

    /// Runs the probe within a container, and returns its output, with its exit code unless that is
    /// 0.
    pub(crate) fn inside(&self, container: &str, words: &str) -> String {
        let exec = format!("podman exec {container} /lab-probe {words} || echo \"exit code $?\"");
        self.alice.sh(&exec).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A file of a container's control group.
    pub(crate) fn cgroup(&self, container: &str, file: &str) -> String {
        let pid = self.sh(&format!("podman inspect --format '{{{{.State.Pid}}}}' {container}"));
        self.machine.sh(&format!("cat \"/sys/fs/cgroup$(sed -n s/^0:://p /proc/{pid}/cgroup)/{file}\"")).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.alice.sh("airpods status --json").unwrap()).unwrap()
    }

    pub(crate) fn is_healthy(&self, service: &str) -> bool {
        let status = self.status();
        let found = status["services"].as_array().unwrap().iter().find(|found| found["service"] == service).unwrap();
        found["status"] == "running" && found["health"]["code"] == 200
    }

    /// The value of a line `NAME VALUE`.
    fn event(&self, container: &str, file: &str, name: &str) -> u32 {
        let text = self.cgroup(container, file);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        value.parse().unwrap()
    }
}

on_both! {
    fn an_ordinary_users_services_run_within_limits_that_the_kernel_enforces(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        let alice = Launcher::new(&machine, &three());
        let text = alice.sh("airpods start");
        // A warning about reboots is expected: podman's boot unit does not start containers with
        // the default restart policy.
        let after_boot = |line: &str| line.contains("do not come back after a reboot");
        let wrong = text.lines().any(|line| line.contains("warning") && !after_boot(line));
        assert!(!wrong, "a limit is not enforced, or something else is wrong: {text}");
        for service in ["one", "two", "three"] {
            assert!(alice.is_healthy(service), "{service}: {}", alice.status());
        }
        // The podman service that the command started for itself has ended with it.
        assert_eq!(machine.sh("pgrep -af '[s]ystem service' || true; ls -d /run/user/1000/airpods-* 2>/dev/null || true").unwrap(), "");

        // The container gets as many processes as the limit allows, and one more fails. The rest of
        // the machine is unaffected.
        assert_eq!(alice.cgroup("one-0", "pids.max"), "40");
        let forked: u32 = alice.inside("one-0", "fork 41").parse().unwrap();
        assert!((20..40).contains(&forked), "{forked} more processes in a container with room for 40");
        assert!(alice.event("one-0", "pids.events", "max") > 0);
        assert!(alice.is_healthy("one"), "the service has not survived the bomb in it");

        assert_eq!(alice.cgroup("two-0", "memory.max"), (64 << 20).to_string());
        assert_eq!(alice.inside("two-0", "hold 16"), "16");
        assert_eq!(alice.inside("two-0", "hold 200"), "exit code 137");
        assert!(alice.event("two-0", "memory.events", "oom_kill") > 0);
        assert!(alice.is_healthy("two"), "the service has not survived the glutton in it");

        // Check the services' names, and the name server.
        assert!(alice.inside("one-0", "get http://due:7002/").contains("200"));
        assert!(alice.inside("two-0", "get http://uno:7001/").contains("200"));
        assert_eq!(alice.inside("two-0", "resolve far.example"), "203.0.113.7");
        let own = machine.sh("readlink /proc/1/ns/net").unwrap();
        assert_eq!(alice.sh("readlink /proc/$(podman inspect --format '{{.State.Pid}}' three-0)/ns/net"), own);

        // podman restarts a killed service, and a second start has nothing to do. By now systemd
        // offers a podman socket for alice.
        let pid = alice.sh("podman inspect --format '{{.State.Pid}}' one-0");
        alice.sh(&format!("kill -KILL {pid}"));
        eventually("the service's next life", || alice.is_healthy("one"));
        assert_ne!(alice.sh("podman inspect --format '{{.State.Pid}}' one-0"), pid);
        assert_eq!(alice.cgroup("one-0", "pids.max"), "40");
        let socket_is_used = || alice.sh("systemctl --user is-active podman.service || true") == "active";
        assert!(!socket_is_used());
        alice.sh("systemctl --user start podman.socket");
        let again = alice.sh("airpods start");
        assert_eq!(again.matches("is running already").count(), 3, "{again}");
        assert!(socket_is_used(), "the podman that systemd keeps for her was not used");

        assert!(alice.sh("airpods logs one -n 5").contains("listen"), "{}", alice.sh("airpods logs one -n 5"));
        alice.sh("airpods stop --remove --yes");
        assert_eq!(alice.sh("podman ps --all --quiet; podman network ls --format '{{.Name}}'"), "podman");
        assert_eq!(alice.sh("systemctl --user --failed --no-legend"), "");
    }
}
