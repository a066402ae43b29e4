//! The configurations in `tests/stacks`, which have the needs of 57 public stacks, started by real
//! podman. One image stands for all of theirs, and `/dev/null` for every GPU.

mod applied;

use std::collections::BTreeSet;

use airpods_lab::stacks::{Stack, stacks, variables};
use airpods_lab::{Background, Image, Place, TIMEOUT};
use serde_json::Value;

use crate::host::Host;
use crate::pulls::{REGISTRY, registry};

/// The image that stands for every other.
const STAND_IN: &str = "localhost/stand-in:1";

/// The networks that are there before any stack.
const NETWORKS: [&str; 6] = ["ai", "caddy", "edge", "home", "proxy", "traefik"];

/// The devices of the cards, and what NVIDIA's toolkit writes of its own.
const CARDS: &str = "mkdir -p /dev/dri
    for name in kfd dri/card0 dri/renderD128 nvidia0 nvidia1; do mknod -m 666 /dev/$name c 1 3; done";
const CDI: &str = "cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- { name: '0', containerEdits: { deviceNodes: [{ path: /dev/nvidia0 }] } }
- { name: '1', containerEdits: { deviceNodes: [{ path: /dev/nvidia1 }] } }
- { name: GPU-8f6a1c2e-0b7d-4a52-9a43-2f1f6c9d1a10, containerEdits: { deviceNodes: [{ path: /dev/nvidia0 }] } }
- { name: all, containerEdits: { deviceNodes: [{ path: /dev/nvidia0 }, { path: /dev/nvidia1 }] } }
";

/// A machine on which public stacks are started one after another.
struct Machine {
    host: Host,
    /// podman's service, which each command would start otherwise, and the registry.
    _servers: [Background; 2],
}

impl Machine {
    /// The machine of this user, with the images of these stacks.
    fn of(user: &str, stacks: &[Stack]) -> Self {
        let host = Host::bare(user);
        host.sandbox.sh(CARDS).unwrap();
        for (path, text) in variables().unwrap() {
            host.sandbox.write_file(&format!("/etc/{}", path.file_name().unwrap().display()), text).unwrap();
        }
        Image::standing_in(STAND_IN).import(&host.user).unwrap();
        for network in NETWORKS {
            host.podman(&format!("network create {network}"));
        }
        let servers = [podman(&host), mirror(&host)];
        let machine = Self { host, _servers: servers };
        machine.supply(stacks);
        machine
    }

    /// Supplies the images of the stacks: by the registry if they are always pulled.
    fn supply(&self, stacks: &[Stack]) {
        let (mut pulled, mut present) = (BTreeSet::new(), BTreeSet::new());
        for stack in stacks {
            for (_, service) in services(&self.configured(stack)) {
                let image = service["image"].as_str().unwrap().to_owned();
                let always = service["pull"] == "always";
                if always { &mut pulled } else { &mut present }.insert(image);
            }
        }
        if !present.is_empty() {
            self.host.podman(&format!("tag {STAND_IN} {}", Vec::from_iter(present).join(" ")));
        }
        for image in pulled {
            self.host.podman(&format!("push --quiet {STAND_IN} {REGISTRY}/{image}"));
        }
    }

    /// Makes a stack the configuration, and returns it as the program shows it.
    fn configured(&self, stack: &Stack) -> Value {
        self.host.configure(&stack.text);
        self.host.succeed("config show --json").json().unwrap()
    }

    /// Every object that a stack could leave behind, except for volumes, which stay.
    fn objects(&self) -> String {
        let list = "podman ps --all --format '{{.Names}}'; podman pod ps --format '{{.Name}}';
            podman network ls --format '{{.Name}}'";
        self.host.user.sh(list).unwrap()
    }

    /// Makes the folders and files of the host that a stack mounts.
    fn furnish(&self, stack: &Stack, config: &Value) {
        let of_service = |(_, service): (&String, &Value)| {
            let volumes = service["volumes"].as_object().into_iter().flatten();
            volumes.map(|(_, volume)| volume["source"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for path in services(config).flat_map(of_service).filter(|path| path.starts_with('/')) {
            let name = path.rsplit('/').next().unwrap_or_default();
            // Only files have a dot within their names here.
            let is_file = name.trim_start_matches('.').contains('.') || name == "Caddyfile";
            let make = if is_file { "install -D /dev/null" } else { "mkdir -p" };
            self.host.sandbox.sh(&format!("[ -e {path} ] || {make} {path}")).unwrap();
        }
        let has_nvidia = stack.needs("nvidia") || stack.needs("one-gpu");
        self.host.sandbox.write_file("/etc/cdi/nvidia.yaml", if has_nvidia { CDI } else { "" }).unwrap();
    }

    /// Starts a stack, checks it, starts it again, and removes it.
    fn run(&self, stack: &Stack) {
        let config = self.configured(stack);
        self.furnish(stack, &config);
        let before = self.objects();
        let said = self.host.airpods("start");
        assert_eq!(said.code, 0, "{}: {}", stack.name, said.err);
        let made = self.inspect(&config);
        let faults: Vec<String> =
            services(&config).flat_map(|(name, service)| applied::faults(&self.host, name, service, &made)).collect();
        assert!(faults.is_empty(), "{}:\n{}", stack.name, faults.join("\n"));

        let again = self.host.airpods("start --dry-run");
        assert!(again.out.contains("nothing to do"), "{}: {}{}", stack.name, again.out, again.err);
        let again = self.host.airpods("start");
        assert_eq!(again.code, 0, "{}: {}", stack.name, again.err);
        let since = |containers: &Value| {
            let of_one = |one: &Value| format!("{} {}", one["Id"], one["State"]["StartedAt"]);
            containers.as_array().unwrap().iter().map(of_one).collect::<Vec<_>>()
        };
        assert_eq!(since(&self.inspect(&config)), since(&made), "{}: a second start changed it", stack.name);

        let said = self.host.airpods("stop --remove --yes");
        assert_eq!(said.code, 0, "{}: {}", stack.name, said.err);
        assert_eq!(self.objects(), before, "{} left something behind", stack.name);
    }

    /// podman's report of all containers of the configuration.
    fn inspect(&self, config: &Value) -> Value {
        let names: Vec<&str> = services(config).map(|(_, service)| service["container"].as_str().unwrap()).collect();
        serde_json::from_str(&self.host.podman(&format!("inspect {}", names.join(" ")))).unwrap()
    }
}

/// The enabled services of a configuration.
fn services(config: &Value) -> impl Iterator<Item = (&String, &Value)> {
    config["services"].as_object().unwrap().iter().filter(|(_, service)| service["enabled"] == true)
}

/// The service of the user's podman, at the address where every command looks first.
fn podman(host: &Host) -> Background {
    let socket = host.user.sh("echo ${XDG_RUNTIME_DIR:-/run}/podman/podman.sock").unwrap();
    host.sandbox.serve_podman(&host.user, &socket, TIMEOUT).unwrap()
}

/// A registry of the host's own, which this machine's podman takes for all others.
fn mirror(host: &Host) -> Background {
    let own = format!("[[registry]]\nlocation = \"{REGISTRY}\"\ninsecure = true\n");
    let others = ["docker.io", "ghcr.io"]
        .map(|name| format!("[[registry]]\nprefix = \"{name}\"\nlocation = \"{REGISTRY}/{name}\"\ninsecure = true\n"));
    host.sandbox.write_file("/etc/containers/registries.conf", own + &others.concat()).unwrap();
    registry(host, REGISTRY, "")
}

/// Runs every stack of those whose turn it is.
fn run(user: &str, takes: impl Fn(usize, &Stack) -> bool) {
    let all = stacks().unwrap().into_iter().enumerate();
    let stacks: Vec<Stack> = all.filter(|(at, stack)| takes(*at, stack)).map(|(_, stack)| stack).collect();
    let machine = Machine::of(user, &stacks);
    for stack in &stacks {
        machine.run(stack);
    }
}

/// How many tests share the stacks, and so run side by side.
const PARTS: usize = 4;

/// Only an ordinary user's podman can keep that user's id.
fn is_for_root(stack: &Stack) -> bool {
    !stack.needs("keep-id")
}

#[test]
fn public_stacks_start_on_roots_podman_1() {
    run("root", |at, stack| at % PARTS == 0 && is_for_root(stack));
}

#[test]
fn public_stacks_start_on_roots_podman_2() {
    run("root", |at, stack| at % PARTS == 1 && is_for_root(stack));
}

#[test]
fn public_stacks_start_on_roots_podman_3() {
    run("root", |at, stack| at % PARTS == 2 && is_for_root(stack));
}

#[test]
fn public_stacks_start_on_roots_podman_4() {
    run("root", |at, stack| at % PARTS == 3 && is_for_root(stack));
}

/// A fourth of them, and the one that is for ordinary users alone.
#[test]
fn public_stacks_start_on_an_ordinary_users_podman() {
    run("alice", |at, stack| at % 4 == 0 || !is_for_root(stack));
}
