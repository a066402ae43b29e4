//! The 57 configurations in `tests/stacks` need what the 57 public stacks need that were counted.

use std::collections::{BTreeMap, BTreeSet};

use airpods_lab::stacks::{Stack, stacks};

use super::*;
use crate::podman::ContainerOption;

/// Each need with the number of public stacks that have it. For UDP and for ranges of ports none
/// was counted.
const COUNTED: [(&str, usize); 30] = [
    ("short-image", 41),
    ("bind", 41),
    ("depends-on", 26),
    ("nvidia", 24),
    ("env-file", 22),
    ("variables", 9),
    ("device-nodes", 18),
    ("both-nodes", 10),
    ("unpublished", 14),
    ("external-network", 14),
    ("host-gateway", 13),
    ("health-command", 10),
    ("shm", 10),
    ("security-opt", 9),
    ("labels", 9),
    ("group-add", 8),
    ("one-line-command", 8),
    ("host-ip", 7),
    ("one-gpu", 7),
    ("pull-always", 6),
    ("auto-update", 7),
    ("capabilities", 5),
    ("read-only", 4),
    ("oneshot", 4),
    ("user", 3),
    ("keep-id", 1),
    ("init", 3),
    ("hostname", 3),
    ("udp-port", 1),
    ("port-range", 1),
];

/// The label by which `podman auto-update` finds a container.
const AUTO_UPDATE: &str = "io.containers.autoupdate";

type Needs = BTreeSet<&'static str>;

fn when(has: bool, need: &'static str) -> Option<&'static str> {
    has.then_some(need)
}

/// The needs that the settings of a service show.
fn of_settings(config: &Config, service: &Service) -> Needs {
    let has = |option| !service.options.get(option).is_empty();
    let first = |option| service.options.get(option).first().map_or("", String::as_str);
    let of_all = [config.runtime.gpu_device_flag.clone()];
    let gpus = if service.gpu.device.is_empty() { &of_all[..] } else { &service.gpu.device[..] };
    let gpu = |fits: fn(&GpuDevice) -> bool| service.gpu.wanted() && gpus.iter().any(fits);
    let node = |path: &str| service.devices.iter().any(|device| device.starts_with(path));
    let any_port = |fits: fn(&PortMapping) -> bool| service.ports.iter().any(fits);
    let is_published = !service.ports.is_empty() || service.network_mode == NetworkMode::Host;
    let (kfd, dri) = (node("/dev/kfd"), node("/dev/dri"));
    [
        when(!service.depends_on.is_empty(), "depends-on"),
        when(gpu(|gpu| matches!(gpu, GpuDevice::Device(name) if name == "nvidia.com/gpu=all")), "nvidia"),
        when(gpu(is_one), "one-gpu"),
        when(!service.env_file.is_empty(), "env-file"),
        when(kfd || dri, "device-nodes"),
        when(kfd && dri, "both-nodes"),
        when(!is_published && !service.oneshot, "unpublished"),
        when(!service.networks.is_empty() || config.runtime.network.external, "external-network"),
        when(service.extra_hosts.iter().any(|host| host.ends_with(":host-gateway")), "host-gateway"),
        when(matches!(&service.health, Some(Health { test: HealthTest::Command { .. }, .. })), "health-command"),
        when(first(ContainerOption::Ipc) == "host" || has(ContainerOption::ShmSize), "shm"),
        when(has(ContainerOption::SecurityOpt), "security-opt"),
        when(service.labels.keys().any(|label| label != AUTO_UPDATE), "labels"),
        when(service.labels.contains_key(AUTO_UPDATE), "auto-update"),
        when(has(ContainerOption::GroupAdd), "group-add"),
        when(any_port(|port| port.host_ip.is_some()), "host-ip"),
        when(any_port(|port| !port.protocol.is_tcp()), "udp-port"),
        when(
            any_port(|port| port.host.first().get() < port.pairs().map(|(host, _)| host.port).max().unwrap()),
            "port-range",
        ),
        when(service.pull == Pull::Always, "pull-always"),
        when(has(ContainerOption::CapAdd) || has(ContainerOption::CapDrop), "capabilities"),
        when(has(ContainerOption::ReadOnly) || service.volumes.values().any(|volume| volume.read_only), "read-only"),
        when(service.oneshot, "oneshot"),
        when(has(ContainerOption::User), "user"),
        when(first(ContainerOption::Userns).starts_with("keep-id"), "keep-id"),
        when(has(ContainerOption::Init), "init"),
        when(has(ContainerOption::Hostname), "hostname"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether this is one GPU of several.
fn is_one(gpu: &GpuDevice) -> bool {
    match gpu {
        GpuDevice::One(_) => true,
        GpuDevice::Device(name) => name != "nvidia.com/gpu=all",
        GpuDevice::Auto | GpuDevice::None => false,
    }
}

/// The needs that only the spelling of a service shows, because its settings have a normal form.
fn of_spelling(service: &toml::Value) -> Needs {
    let image = service.get("image").and_then(toml::Value::as_str);
    let text = toml::to_string(service).unwrap();
    // A variable with a default needs no file.
    let from_file = text.split("${").skip(1).any(|rest| !rest.split('}').next().unwrap_or_default().contains('-'));
    let volumes = service.get("volumes").and_then(toml::Value::as_table).into_iter().flatten();
    let begins = |source: &str| ["./", "~/", "$HOME/"].iter().any(|start| source.starts_with(start));
    [
        when(image.is_some_and(is_short), "short-image"),
        when(volumes.into_iter().any(|(_, volume)| volume.as_str().is_some_and(begins)), "bind"),
        when(text.contains("${"), "variables"),
        when(from_file, "env-file"),
        when(service.get("command").is_some_and(toml::Value::is_str), "one-line-command"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether a name of an image lacks its registry or its tag.
fn is_short(image: &str) -> bool {
    let (first, last) = (image.split('/').next().unwrap_or_default(), image.rsplit('/').next().unwrap_or_default());
    first == image || !first.contains('.') || !last.contains(':')
}

/// The needs of a stack, from its settings and their spelling.
fn found(stack: &Stack) -> Needs {
    let environment = Environment { home: Some("/home/alice".into()), ..Environment::default() };
    let loaded = load(&environment, Some(&stack.path)).unwrap_or_else(|error| panic!("{}: {error:?}", stack.name));
    assert!(loaded.warnings.is_empty(), "{}: {:?}", stack.name, loaded.warnings);
    let written: toml::Table = stack.text.parse().unwrap();
    let spelled = |name: &ServiceName| written.get("services")?.get(name.as_str());
    let of_service = |(name, service): (&ServiceName, &Service)| {
        let of_spelling = spelled(name).map(of_spelling).unwrap_or_default();
        of_spelling.into_iter().chain(of_settings(&loaded.config, service)).collect::<Needs>()
    };
    loaded.config.enabled().flat_map(of_service).collect()
}

#[test]
fn the_stacks_have_the_needs_that_were_counted() {
    let stacks = stacks().unwrap();
    assert_eq!(stacks.len(), 57);
    let mut counts = BTreeMap::new();
    for stack in &stacks {
        let found = found(stack);
        let listed: BTreeSet<&str> = stack.needs.iter().map(String::as_str).collect();
        assert_eq!(listed, found, "{}: what it lists, and what it has", stack.name);
        for need in found {
            *counts.entry(need).or_insert(0) += 1;
        }
    }
    assert_eq!(counts, BTreeMap::from(COUNTED));
}
