//! Every setting is compared with podman's report and with the kernel.

use std::collections::BTreeMap;

use super::*;
use crate::kernel::{Bound, View};
use crate::plan::Source;
use crate::podman::{ContainerDetail, ContainerOption, HostFacts, MountDetail, Networking, Options};
use crate::port::HostPort;

/// A service with every setting, and a container that matches all of them.
fn right() -> (Expected, ContainerDetail, View) {
    let toml = THREE.replace(
        "[services.model]",
        "[services.model]\nresources = { memory = \"64m\", cpus = 0.5 }\nenv = { KEY = \"s3cret\" }\n\
         entrypoint_override = [\"/serve\"]\nsysctls.net.ipv4.ip_local_port_range = \"1024 65000\"\ncommand_args = [\"--fast\"]\nvolumes.host = { source = \"/srv\", target = \"/srv\" }",
    );
    let toml = format!("runtime.gpu_device_flag = \"/dev/fuse\"\nruntime.network.mtu = 1380\n{toml}");
    let desired = desired(&toml, &["model"], NEW);
    let expected = desired.expected(&desired.launches[0]);
    let Networking::Own(endpoint) = expected.spec.networking.clone() else { panic!("{expected:?}") };
    let detail = ContainerDetail {
        state: ContainerState::Running,
        oom_killed: false,
        stopped_by_user: false,
        restarts: 0,
        pid: Some(1),
        id: "4635".into(),
        image: "docker.io/lab/model:1".into(),
        command: vec!["/serve".into(), "--fast".into()],
        env: [("KEY".into(), "s3cret".into()), ("PATH".into(), "/bin".into())].into(),
        mounts: vec![
            MountDetail {
                volume: Some("weights".into()),
                source: "/volumes/x".into(),
                target: "/weights".into(),
                read_only: false,
            },
            MountDetail { volume: None, source: "/srv".into(), target: "/srv".into(), read_only: false },
        ],
        devices: vec!["/dev/fuse".into()],
        options: Options::default(),
        labels: [].into(),
        hosts: Vec::new(),
        health: Vec::new(),
        health_timeout: None,
        host_network: false,
        networks: [("airpods_network".into(), vec!["llm".into(), "4635".into(), "model".into()])].into(),
        ports: endpoint.ports,
        dns_servers: Vec::new(),
        pids_limit: 2048,
        memory: 64 << 20,
        nano_cpus: 500_000_000,
        restart: "unless-stopped".into(),
    };
    let kernel = View {
        pids: Some(Bound::At(2048)),
        unit_pids: None,
        processes: None,
        memory: Some(Bound::At(64 << 20)),
        cpus: Some(Bound::At(0.5)),
        links: Some(vec![("eth0".into(), 1380)]),
        devices: Some(vec!["/dev/fuse".into()]),
        silent_ports: Vec::new(),
        sysctls: Some([("net.ipv4.ip_local_port_range".to_owned(), "1024\t65000".to_owned())].into()),
        leads_to: BTreeMap::new(),
    };
    (expected, detail, kernel)
}

fn settings(differences: &[Difference]) -> Vec<(Setting, Source)> {
    differences.iter().map(|one| (one.setting, one.source)).collect()
}

#[test]
fn a_container_that_is_right_in_every_way_has_no_difference() {
    let (expected, detail, kernel) = right();
    assert_eq!(read_back(&expected, &detail, &kernel), []);
    // A value that cannot be read is unknown, and no difference.
    assert_eq!(read_back(&expected, &detail, &View::default()), []);
}

#[test]
fn a_kernel_parameter_with_another_value_is_reported() {
    for found in [Some("1024\t60999"), Some("1024"), None] {
        let (expected, detail, mut kernel) = right();
        let found = found.map(|found| ("net.ipv4.ip_local_port_range".to_owned(), found.to_owned()));
        kernel.sysctls = Some(found.into_iter().collect());
        let setting = Setting::Option(ContainerOption::Sysctls);
        assert_eq!(settings(&read_back(&expected, &detail, &kernel)), [(setting, Source::Kernel)]);
    }
}

#[test]
fn each_setting_that_differs_in_podman_is_reported_alone() {
    type Spoil = fn(&mut ContainerDetail);
    let spoils: [(Setting, Spoil); 14] = [
        (Setting::Network, |detail| detail.networks = [("other".into(), Vec::new())].into()),
        (Setting::Aliases, |detail| detail.networks.get_mut("airpods_network").unwrap().truncate(1)),
        (Setting::DnsServers, |detail| detail.dns_servers.push("9.9.9.9".parse().unwrap())),
        (Setting::Ports, |detail| detail.ports.clear()),
        (Setting::PidsLimit, |detail| detail.pids_limit = 0),
        (Setting::Memory, |detail| detail.memory = 1),
        (Setting::Cpus, |detail| detail.nano_cpus = 1),
        (Setting::Restart, |detail| detail.restart = "no".into()),
        (Setting::Image, |detail| detail.image = "docker.io/lab/model:2".into()),
        (Setting::Entrypoint, |detail| detail.command = vec!["/image".into(), "--fast".into()]),
        (Setting::Env, |detail| drop(detail.env.insert("KEY".into(), "other".into()))),
        (Setting::Env, |detail| drop(detail.env.remove("KEY"))),
        (Setting::Volumes, |detail| drop(detail.mounts.remove(0))),
        (Setting::Volumes, |detail| detail.mounts[1].source = "/else".into()),
    ];
    for (setting, spoil) in spoils {
        let (expected, mut detail, kernel) = right();
        spoil(&mut detail);
        let found = settings(&read_back(&expected, &detail, &kernel));
        // An alias belongs to a network: if the network is missing, so is the alias.
        assert_eq!(found[0], (setting, Source::Podman), "{setting:?}");
        assert!(found.len() == 1 || setting == Setting::Network, "{found:?}");
    }
    let (expected, mut detail, kernel) = right();
    detail.host_network = true;
    assert_eq!(settings(&read_back(&expected, &detail, &kernel)), [(Setting::NetworkMode, Source::Podman)]);
}

#[test]
fn each_setting_that_differs_in_the_kernel_is_reported_alone() {
    type Spoil = fn(&mut View);
    let spoils: [(Setting, &str, Spoil); 6] = [
        (Setting::PidsLimit, "no limit", |kernel| kernel.pids = Some(Bound::None)),
        (Setting::Memory, "1048576", |kernel| kernel.memory = Some(Bound::At(1 << 20))),
        (Setting::Cpus, "2", |kernel| kernel.cpus = Some(Bound::At(2.0))),
        (Setting::NetworkMtu, "1500 on eth0", |kernel| kernel.links = Some(vec![("eth0".into(), 1500)])),
        (Setting::Gpu, "/dev/kvm", |kernel| kernel.devices = Some(vec!["/dev/kvm".into()])),
        (Setting::Listening, "none", |kernel| kernel.silent_ports = vec![HostPort::tcp(7001)]),
    ];
    for (setting, found, spoil) in spoils {
        let (expected, detail, mut kernel) = right();
        spoil(&mut kernel);
        let differences = read_back(&expected, &detail, &kernel);
        assert_eq!(settings(&differences), [(setting, Source::Kernel)]);
        assert_eq!(differences[0].found, found);
    }
}

#[test]
fn the_kernel_may_round_memory_down_to_whole_pages() {
    let (expected, detail, mut kernel) = right();
    kernel.memory = Some(Bound::At((64 << 20) - 4096));
    assert_eq!(read_back(&expected, &detail, &kernel), []);
}

#[test]
fn arguments_alone_stand_behind_the_program_of_the_image() {
    let (mut expected, mut detail, kernel) = right();
    expected.spec.entrypoint = None;
    detail.command = vec!["/image".into(), "--fast".into()];
    assert_eq!(read_back(&expected, &detail, &kernel), []);
    detail.command.push("--more".into());
    assert_eq!(settings(&read_back(&expected, &detail, &kernel)), [(Setting::Command, Source::Podman)]);
}

#[test]
fn a_difference_names_both_values_but_never_that_of_a_variable() {
    let (expected, mut detail, mut kernel) = right();
    kernel.pids = Some(Bound::At(1));
    detail.env.insert("KEY".into(), "0ther".into());
    let texts: Vec<String> = read_back(&expected, &detail, &kernel).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["`KEY` was given a value and podman has another", "`2048` was asked for and the kernel has `1`"]
    );
}

#[test]
fn a_stricter_limit_of_systemd_is_reported_and_not_refused() {
    let (expected, detail, mut kernel) = right();
    kernel.unit_pids = Some(1741);
    let differences = read_back(&expected, &detail, &kernel);
    assert_eq!(settings(&differences), [(Setting::PidsLimit, Source::Systemd)]);
    let why = differences[0].excuse(&HostFacts::default()).unwrap();
    let warning = differences[0].warning("model", &why);
    assert!(warning.contains("`2048` was asked for and systemd's unit has `1741`"), "{warning}");
    kernel.unit_pids = Some(4096);
    assert!(read_back(&expected, &detail, &kernel).is_empty());
}

#[test]
fn only_a_limit_whose_controller_rootless_podman_lacks_is_excused() {
    let (expected, mut detail, mut kernel) = right();
    (kernel.pids, kernel.memory, kernel.cpus) = (Some(Bound::None), Some(Bound::None), Some(Bound::None));
    detail.restart = "no".into();
    let excuses = |rootless, cgroups_v2, controllers: &[&str]| -> Vec<Setting> {
        let cgroup_controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        let facts = HostFacts { rootless, cgroups_v2, cgroup_controllers, ..HostFacts::default() };
        let all = read_back(&expected, &detail, &kernel);
        all.iter().filter(|one| one.excuse(&facts).is_some()).map(|one| one.setting).collect()
    };
    assert_eq!(excuses(true, true, &["memory", "pids"]), [Setting::Cpus]);
    assert_eq!(excuses(true, false, &["memory", "pids"]), [Setting::PidsLimit, Setting::Memory, Setting::Cpus]);
    assert_eq!(excuses(false, true, &[]), []);
}

#[test]
fn a_name_of_cdi_is_met_by_any_device_and_what_cannot_be_read_is_no_difference() {
    let (mut expected, mut detail, mut kernel) = right();
    expected.spec.gpu = vec!["nvidia.com/gpu=all".into()];
    let device =
        |detail: &ContainerDetail, kernel: &View, expected: &Expected| read_back(expected, detail, kernel).len();
    assert_eq!(device(&detail, &kernel, &expected), 0);
    kernel.devices = Some(Vec::new());
    assert_eq!(device(&detail, &kernel, &expected), 1);
    // podman's report is used if it lists devices. Rootless podman's does not.
    kernel.devices = None;
    expected.spec.gpu = vec!["/dev/kvm".into()];
    assert_eq!(device(&detail, &kernel, &expected), 1);
    detail.devices.clear();
    assert_eq!(device(&detail, &kernel, &expected), 0);
}
