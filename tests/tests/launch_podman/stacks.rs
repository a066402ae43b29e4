//! The needs of public stacks of local AI, started by real podman. Each configuration is started,
//! checked inside the container, started a second time without changes, and removed.

use airpods_lab::Place;

use crate::host::{ALONE, Host, service};

/// A stack: its need, its configuration, and the values to check.
struct Stack {
    need: &'static str,
    toml: String,
    /// Containers, their fields in Go's template language, and a text that each field must contain.
    seen: &'static [(&'static str, &'static str, &'static str)],
}

/// A service that listens on port 80 and has these keys.
fn alone(need: &'static str, keys: &str, seen: &'static [(&'static str, &'static str, &'static str)]) -> Stack {
    let toml = format!("{ALONE}[services.one]\nimage = \"localhost/lab:1\"\ncommand = \"serve-http 80\"\n{keys}\n");
    Stack { need, toml, seen }
}

#[track_caller]
fn starts(host: &Host, stack: &Stack) {
    host.configure(&stack.toml);
    host.succeed("start");
    for (container, template, words) in stack.seen {
        let found = host.field(container, template);
        assert!(found.contains(words), "{}: {template} is {found}", stack.need);
    }
    let again = host.succeed("start --dry-run").out;
    assert!(again.contains("nothing to do"), "{}: {again}", stack.need);
    host.succeed("stop --remove --yes");
}

#[test]
fn the_needs_of_stacks_are_met_and_a_second_start_has_nothing_to_do() {
    have_what_they_need(&Host::new());
}

/// Each stack of one container that root's podman can run here.
pub(crate) fn have_what_they_need(host: &Host) {
    for stack in [
        alone(
            "confinement",
            "user = \"1000:100\"\nread_only = true\ncap_drop = [\"ALL\"]\ncap_add = [\"NET_BIND_SERVICE\"]\n\
             security_opt = [\"no-new-privileges:true\", \"seccomp:unconfined\"]\ngroup_add = [\"44\"]\n\
             env_file = []\nports = [\"127.0.0.1:7001:80\"]\nhealth.path = \"/\"",
            &[
                ("one-0", ".Config.User", "1000:100"),
                ("one-0", ".HostConfig.ReadonlyRootfs", "true"),
                ("one-0", ".BoundingCaps", "[CAP_NET_BIND_SERVICE]"),
                ("one-0", ".HostConfig.SecurityOpt", "no-new-privileges"),
                ("one-0", ".HostConfig.GroupAdd", "44"),
                ("one-0", ".NetworkSettings.Ports", "127.0.0.1 7001"),
            ],
        ),
        alone(
            "names, labels, memory and devices",
            "init = true\nhostname = \"box\"\nshm_size = \"128m\"\nlabels = { \"traefik.enable\" = true }\n\
             extra_hosts = [\"db:192.0.2.7\"]\ndevices = [\"/dev/null:/dev/kfd:rw\"]\nports = [\"7100-7102:80-82\", \"7100:53/udp\"]\n\
             health.command = [\"/lab-probe\", \"env\"]\nvolumes.kept = \"kept:/kept:ro\"\nvolumes.host = \"/srv:/srv:ro\"",
            &[
                ("one-0", ".Config.Hostname", "box"),
                ("one-0", ".HostConfig.ShmSize", "134217728"),
                ("one-0", ".Config.Labels", "traefik.enable:true"),
                ("one-0", ".HostConfig.ExtraHosts", "db:192.0.2.7"),
                ("one-0", ".HostConfig.Init", "true"),
                ("one-0", ".Mounts", "false"),
            ],
        ),
        alone(
            "folders in memory, limits, and a patient health check",
            "working_dir = \"/kept\"\ntmpfs = [\"/cache:size=16m,mode=1777\", \"/scratch\"]\nulimits = { nofile = { soft = 128, hard = 256 }, nproc = 512 }\n\
             sysctls = { net.core.somaxconn = 77, \"net.ipv4.ip_local_port_range\" = \"2048 61000\", kernel.msgmax = 16384 }\n\
             volumes.kept = \"kept:/kept\"\nports = [\"127.0.0.1:7001:80\"]\n\
             health = { command = [\"/lab-probe\", \"env\"], interval = \"1s\", timeout = \"9s\", retries = 3, start_period = \"5s\" }",
            &[
                ("one-0", ".Config.WorkingDir", "/kept"),
                ("one-0", ".HostConfig.Tmpfs", "size=16m"),
                ("one-0", ".HostConfig.Ulimits", "{RLIMIT_NOFILE 128 256}"),
                ("one-0", ".Config.Healthcheck.Timeout", "9"),
            ],
        ),
        alone(
            "the host's memory, and no ports",
            "ports = []\nipc = \"host\"\nrestart_policy = \"on-failure\"",
            // The IPC namespace is not checked: podman 4.3 reports the same for every container.
            &[("one-0", ".HostConfig.RestartPolicy.Name", "on-failure")],
        ),
        alone(
            "the host's network",
            "network_mode = \"host\"\nports = [7005]\nextra_hosts = [\"db:192.0.2.7\"]",
            &[("one-0", ".HostConfig.ExtraHosts", "db:192.0.2.7")],
        )
        .with("serve-http 80", "serve-http 7005"),
        alone(
            "every right",
            "privileged = true\nports = [\"127.0.0.1:7001:80\"]",
            &[("one-0", ".HostConfig.Privileged", "true")],
        ),
    ] {
        starts(host, &stack);
    }
}

impl Stack {
    fn with(mut self, from: &str, to: &str) -> Self {
        self.toml = self.toml.replace(from, to);
        self
    }
}

#[test]
fn a_kernel_parameter_is_the_containers_own_and_one_that_was_changed_is_found() {
    find_a_changed_kernel_parameter(&Host::new());
}

#[test]
fn an_ordinary_users_container_has_kernel_parameters_of_its_own() {
    find_a_changed_kernel_parameter(&Host::of("alice"));
}

pub(crate) fn find_a_changed_kernel_parameter(host: &Host) {
    host.configure(&format!(
        "{ALONE}{}",
        service("one", 7001, "sysctls = { net.core.somaxconn = 77, kernel.msgmax = 16384 }")
    ));
    host.succeed("start");
    let pid = host.field("one-0", ".State.Pid");
    let of_one = |command: &str| {
        let line = format!("nsenter --target {} --net --ipc {command}", pid.trim());
        host.sandbox.sh(&line).unwrap().trim().to_owned()
    };
    let value = |name: &str| of_one(&format!("cat /proc/sys/{name}"));
    assert_eq!((value("net/core/somaxconn").as_str(), value("kernel/msgmax").as_str()), ("77", "16384"));
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
    of_one("sh -c 'echo 78 > /proc/sys/net/core/somaxconn'");
    host.refuse("start", 2, &["services.one.sysctls", "`net.core.somaxconn=77`", "the kernel has `78`", "--yes"]);
    host.succeed("start --yes");
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
    host.succeed("stop --remove --yes");
}

#[test]
fn an_ordinary_users_container_keeps_the_user_and_the_groups() {
    keep_the_user_and_the_groups(&Host::of("alice"));
}

pub(crate) fn keep_the_user_and_the_groups(host: &Host) {
    let kept = "userns = \"keep-id\"\ngroup_add = [\"keep-groups\"]\nports = [\"7001:8080\"]";
    let seen: &[_] = &[("one-0", ".Config.Annotations", "run.oci.keep_original_groups:1")];
    starts(host, &alone("keep-id", kept, seen).with("serve-http 80", "serve-http 8080"));
}

#[test]
fn a_chain_of_a_job_and_services_starts_in_order_by_the_services_own_names() {
    start_in_order(&Host::new());
}

pub(crate) fn start_in_order(host: &Host) {
    let model =
        service("model", 7001, "health.command = [\"/lab-probe\", \"env\"]").replace("health = { path = \"/\" }\n", "");
    host.configure(&format!(
        "{ALONE}[services.job]\nimage = \"localhost/lab:1\"\ncommand = \"env\"\noneshot = true\n{model}{}",
        service("web", 7002, "depends_on = { job = \"completed\", model = \"healthy\" }")
    ));
    host.succeed("start");
    assert_eq!(host.field("job-0", ".State.ExitCode"), "0");
    let resolved = host.inside("web-0", "resolve model");
    assert_eq!(resolved.code, 0, "{resolved:?}");
    let status = host.succeed("status").out;
    assert!(status.contains("done") && status.contains("healthy in"), "{status}");
    let output = host.succeed("start").err;
    assert!(output.contains("`job` has run before") && output.contains("`web` is running already"), "{output}");
    host.configure(&format!(
        "{ALONE}[services.job]\nimage = \"localhost/lab:1\"\ncommand = \"no-such-word\"\noneshot = true\n"
    ));
    host.refuse("start --yes job", 1, &["services.job", "exit code"]);
}

#[test]
fn a_network_that_is_there_already_is_used_and_left_there() {
    leave_a_network_of_others(&Host::new());
}

pub(crate) fn leave_a_network_of_others(host: &Host) {
    let toml = format!(
        "runtime.network_name = \"proxy\"\nruntime.network.external = true\n{ALONE}{}",
        service("one", 7001, "networks = [\"db\"]")
    );
    host.configure(&toml);
    host.refuse("start", 1, &["there is no network named `proxy`", "podman network create proxy"]);
    host.podman("network create proxy");
    host.podman("network create db");
    host.succeed("start");
    let networks = host.field("one-0", ".NetworkSettings.Networks");
    assert!(networks.contains("proxy:") && networks.contains("db:"), "{networks}");
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
    host.succeed("stop --remove --yes");
    let left = host.podman("network ls --format '{{.Name}}'");
    assert!(left.contains("proxy") && left.contains("db"), "{left}");
}

#[test]
fn files_beside_the_configuration_give_values_and_folders() {
    let host = Host::new();
    host.sandbox.write_file("/etc/.env", "TAG=1\nSECRET=from the file\n").unwrap();
    host.sandbox.write_file("/etc/extra.env", "EXTRA=yes\n").unwrap();
    host.sandbox.write_file("/etc/data/x", "here").unwrap();
    host.configure(&format!(
        "{ALONE}[services.one]\nimage = \"localhost/lab:${{TAG}}\"\ncommand = \"serve-http 80\"\nenv_file = \"extra.env\"\n\
         env = {{ KEY = \"${{SECRET}}\", PLAIN = \"$${{HOME}}\" }}\nvolumes.data = \"./data:/data:ro\"\npull = \"never\"\n"
    ));
    host.succeed("start");
    let env = host.inside("one-0", "env").out;
    for line in ["KEY=from the file", "PLAIN=${HOME}", "EXTRA=yes"] {
        assert!(env.contains(line), "{line}: {env}");
    }
    assert!(host.field("one-0", ".Mounts").contains("/etc/data /data"));
    assert!(host.succeed("start --dry-run").out.contains("nothing to do"));
}
