//! Generated configurations, in any combination and spelling: a second start has nothing to do.

use std::hash::{DefaultHasher, Hash, Hasher};

use airpods_lab::Place;

use crate::host::{ALONE, Host};

/// The number of configurations of a run.
const CONFIGURATIONS: u64 = 8;

/// Lines of a service, each with its own key.
const LINES: [&str; 20] = [
    "resources.memory = \"64M\"",
    "resources.cpus = \"0.123456\"",
    "network_aliases = [\"b\", \"a\", \"one\"]",
    "volumes.host = { source = \"/run/lab/../lab/./models//a\", target = \"/a//b/./c/\" }",
    "volumes.named = \"kept:/kept:ro\"",
    "env = { HOME = \"\", A = \"x=y\", B = 1.0, PATH = \"/opt\" }",
    "pids_limit = 77",
    "user = \"1000:100\"",
    "group_add = [\"44\"]",
    "init = true",
    "read_only = true",
    "cap_add = [\"sys_ptrace\"]",
    "security_opt = [\"no-new-privileges:true\"]",
    "tmpfs = [\"/cache/:size=1024k\"]",
    // With one ulimit set, podman 4.3 takes the rest from the host, with a limit on processes that
    // it may not set. So both are given here.
    "ulimits = { nofile = { soft = 128, hard = 256 }, nproc = 512 }",
    "labels.\"a.b\" = true",
    "extra_hosts = [\"db=192.0.2.7\"]",
    "restart_policy = \"on-failure\"",
    "working_dir = \"/\"",
    // podman drops no capability of a privileged container, and airpods refuses the two together.
    EITHER[0],
];

const EITHER: [&str; 2] = ["privileged = true", "cap_drop = [\"chown\"]"];

/// Settings that the containers of a pod share, or that host networking takes from the host.
const OWN: [&str; 4] = [
    "hostname = \"box\"",
    "shm_size = \"65536k\"",
    "sysctls = [\"net.core.somaxconn = 0x4d\", \"net.ipv4.ip_local_port_range=2048  61000\"]",
    "ports = [\"127.0.0.1:7101:8080\", \"7100:81\"]",
];

const PLACES: [&str; 3] = ["", "pod = \"p\"", "network_mode = \"host\""];

/// The configuration of a seed, which is always the same.
fn configuration(seed: u64) -> String {
    let drawn = |what: usize| {
        let mut hasher = DefaultHasher::new();
        (seed, what).hash(&mut hasher);
        hasher.finish()
    };
    let place = PLACES[usize::try_from(seed).unwrap() % PLACES.len()];
    let own: &[&str] = if place.is_empty() { &OWN } else { &[] };
    let lines = LINES.iter().chain(own).enumerate().filter(|(at, _)| drawn(*at) % 2 == 0);
    let mut lines: Vec<&str> = lines.map(|(_, line)| *line).collect();
    if !lines.contains(&EITHER[0]) {
        lines.push(EITHER[1]);
    }
    format!(
        "{ALONE}[services.one]\nimage = \"localhost/lab:1\"\ncommand = \"serve-http 8080\"\n{place}\n{}\n",
        lines.join("\n")
    )
}

pub(crate) fn have_nothing_to_do_again(host: &Host) {
    host.sandbox.sh("mkdir -p /run/lab/models/a").unwrap();
    for seed in 0..CONFIGURATIONS {
        let toml = configuration(seed);
        host.configure(&toml);
        let output = host.airpods("start --no-wait");
        assert_eq!(output.code, 0, "{toml}\n{}", output.err);
        let id = host.field("one-0", ".Id");
        let planned = host.succeed("start --dry-run");
        assert!(planned.out.contains("nothing to do"), "{toml}\n{}{}", planned.out, planned.err);
        host.succeed("start --no-wait");
        assert_eq!(host.field("one-0", ".Id"), id, "it was replaced:\n{toml}");
        host.succeed("stop --remove --yes");
    }
}

#[test]
fn a_second_start_of_generated_configurations_has_nothing_to_do() {
    have_nothing_to_do_again(&Host::new());
}
