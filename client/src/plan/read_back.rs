//! Compares a container with its desired settings, one setting at a time.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::label::is_own;
use super::setting::{Difference, Expected, Setting, Source};
use crate::config::Reference;
use crate::kernel::container::is_same;
use crate::kernel::{Bound, View};
use crate::podman::{
    ContainerDetail, ContainerOption, ContainerSpec, ContainerState, Limits, Mount, MountDetail, SecretSource,
};
use crate::port::port_ranges;

/// The text that podman shows in place of a secret's value (`libpod/container_inspect.go`).
const MASKED: &str = "*******";

/// The largest page size in bytes. The kernel rounds a memory limit down to whole pages, of up to
/// 64 KiB.
const LARGEST_PAGE: u64 = 1 << 16;

/// Compares the desired settings with podman's report and with the kernel's values. A value that
/// the kernel did not give is skipped.
#[must_use]
pub fn read_back(expected: &Expected, detail: &ContainerDetail, kernel: &View) -> Vec<Difference> {
    let mut found = Findings::default();
    found.network(expected, detail);
    found.limits(expected, detail);
    found.process(&expected.spec, detail);
    found.mounts(&expected.spec, detail, kernel);
    found.devices(&expected.spec, detail, kernel);
    found.kernel(expected, kernel);
    found.options(&expected.spec, detail);
    found.extras(expected, detail);
    found.0
}

/// The differences so far.
#[derive(Default)]
struct Findings(Vec<Difference>);

impl Findings {
    fn note(&mut self, setting: Setting, source: Source, wanted: impl fmt::Display, found: impl fmt::Display) {
        self.0.push(Difference { setting, source, wanted: wanted.to_string(), found: found.to_string() });
    }

    /// Compares two values, and formats them only if they differ.
    fn compare<'a, T: PartialEq>(
        &mut self,
        setting: Setting,
        wanted: &'a T,
        found: &'a T,
        show: impl Fn(&'a T) -> String,
    ) {
        if wanted != found {
            self.note(setting, Source::Podman, show(wanted), show(found));
        }
    }

    fn network(&mut self, expected: &Expected, detail: &ContainerDetail) {
        let mode = |host: &bool| if *host { "host" } else { "pod" }.to_owned();
        let host = expected.endpoint.is_none();
        self.compare(Setting::NetworkMode, &host, &detail.host_network, mode);
        let Some(endpoint) = &expected.endpoint else { return };
        // Another program may have connected the container to further networks.
        if !detail.networks.contains_key(&endpoint.network) {
            self.note(Setting::Network, Source::Podman, &endpoint.network, list(detail.networks.keys()));
        }
        let found = detail.networks.get(&endpoint.network).cloned().unwrap_or_default();
        // podman adds aliases of its own: ids, and names of pods and containers.
        let wanted: BTreeSet<&String> = endpoint.aliases.iter().collect();
        let kept: BTreeSet<&String> = found.iter().filter(|alias| wanted.contains(alias)).collect();
        self.compare(Setting::Aliases, &wanted, &kept, list);
        self.compare(Setting::DnsServers, &endpoint.dns_servers, &detail.dns_servers, list);
        let (wanted, found) = (port_ranges(&endpoint.ports), port_ranges(&detail.ports));
        self.compare(Setting::Ports, &wanted, &found, list);
    }

    fn limits(&mut self, expected: &Expected, detail: &ContainerDetail) {
        let limits = &expected.spec.limits;
        let pids = i64::from(limits.pids);
        self.compare(Setting::PidsLimit, &pids, &detail.pids_limit, i64::to_string);
        if let Some(memory) = limits.memory {
            self.compare(Setting::Memory, &memory, &detail.memory, u64::to_string);
        }
        if let Some(cpus) = limits.cpus {
            #[allow(clippy::cast_precision_loss, reason = "a number of CPUs is far below 2^52 billionths")]
            let found = detail.nano_cpus as f64 / 1e9;
            if quota(cpus) != quota(found) {
                self.note(Setting::Cpus, Source::Podman, cpus, found);
            }
        }
        let restart = expected.spec.restart.as_str();
        let found = detail.restart.as_str();
        self.compare(Setting::Restart, &restart, &found, ToString::to_string);
    }

    fn process(&mut self, spec: &ContainerSpec, detail: &ContainerDetail) {
        if !Reference::of(&spec.image).is_met_by(&Reference::of(&detail.image)) {
            self.note(Setting::Image, Source::Podman, &spec.image, &detail.image);
        }
        let arguments = spec.command.as_deref().unwrap_or_default();
        match spec.entrypoint.as_deref().filter(|words| !words.is_empty()) {
            // An entrypoint replaces the image's program, so the image's own arguments do not
            // apply.
            Some(program) => {
                let words: Vec<&String> = program.iter().filter(|word| !word.is_empty()).chain(arguments).collect();
                let found: Vec<&String> = detail.command.iter().collect();
                self.compare(Setting::Entrypoint, &words, &found, list);
            }
            None if detail.command.ends_with(arguments) => {}
            None => self.note(Setting::Command, Source::Podman, list(arguments), list(&detail.command)),
        }
        for (variable, wanted) in &spec.env {
            let in_file = matches!(spec.secret_env.get(variable), Some(SecretSource::File(_)));
            let setting = if in_file { Setting::SecretEnv } else { Setting::Env };
            match detail.env.get(variable) {
                Some(found) if found == wanted => {}
                Some(_) => self.note(setting, Source::Podman, variable, "another"),
                None => self.note(setting, Source::Podman, variable, "none"),
            }
        }
        // podman sets these variables when it starts the container.
        let running = detail.state == ContainerState::Running;
        for (variable, name) in spec.podman_secrets().filter(|_| running) {
            // A newer podman lists the secret's name in place of the variable's, with a masked
            // value.
            if !detail.env.contains_key(variable) && detail.env.get(name).is_none_or(|value| value != MASKED) {
                self.note(Setting::SecretEnv, Source::Podman, variable, "none");
            }
        }
    }

    /// Compares the options that are passed to podman unchanged. An option that is not configured
    /// has the image's or podman's default.
    fn options(&mut self, spec: &ContainerSpec, detail: &ContainerDetail) {
        for (row, wanted) in spec.options.iter() {
            if !has_option(row.option, wanted, spec, detail) {
                let found = match row.option {
                    ContainerOption::CapDrop => detail.options.get(ContainerOption::CapAdd),
                    option => detail.options.get(option),
                };
                self.note(Setting::Option(row.option), Source::Podman, list(wanted), list(found));
            }
        }
    }

    /// Compares labels, names in `/etc/hosts`, further networks and the health command. podman and
    /// the image may add more.
    fn extras(&mut self, expected: &Expected, detail: &ContainerDetail) {
        let spec = &expected.spec;
        for (label, wanted) in spec.labels.iter().filter(|(label, _)| !is_own(label)) {
            let found = detail.labels.get(label);
            if found != Some(wanted) {
                let found = found.map_or("none", String::as_str);
                self.note(Setting::Labels, Source::Podman, format_args!("{label}={wanted}"), found);
            }
        }
        let of_pod = expected.endpoint.iter().flat_map(|endpoint| &endpoint.hosts);
        for host in spec.hosts.iter().chain(of_pod).filter(|host| !detail.hosts.contains(host)) {
            self.note(Setting::Hosts, Source::Podman, host, list(&detail.hosts));
        }
        let further = expected.endpoint.iter().flat_map(|endpoint| &endpoint.further);
        for network in further.filter(|network| !detail.networks.contains_key(*network)) {
            self.note(Setting::Networks, Source::Podman, network, list(detail.networks.keys()));
        }
        if let Some(wanted) = spec.health.as_ref().filter(|wanted| **wanted != detail.health) {
            self.note(Setting::Health, Source::Podman, wanted.join(" "), detail.health.join(" "));
        }
        let timeout = spec.health_timeout.filter(|wanted| Some(wanted.get()) != detail.health_timeout);
        if let Some(wanted) = timeout {
            let found = detail.health_timeout.map_or_else(|| "none".to_owned(), |found| format!("{found:?}"));
            self.note(Setting::HealthTimeout, Source::Podman, wanted, found);
        }
    }

    fn mounts(&mut self, spec: &ContainerSpec, detail: &ContainerDetail, kernel: &View) {
        for mount in &spec.mounts {
            let found = detail.mounts.iter().find(|found| plain(&found.target) == plain(mount.target()));
            if !found.is_some_and(|found| is_mount(mount, found, kernel)) {
                let found = found.map_or_else(|| "nothing".to_owned(), |found| shown(found.volume.as_ref(), found));
                self.note(Setting::Volumes, Source::Podman, wanted_mount(mount), found);
            }
        }
    }

    fn devices(&mut self, spec: &ContainerSpec, detail: &ContainerDetail, kernel: &View) {
        // Rootless podman reports no devices.
        let (source, found) = match &kernel.devices {
            Some(found) => (Source::Kernel, found),
            None if detail.devices.is_empty() => return,
            None => (Source::Podman, &detail.devices),
        };
        let gpu = spec.gpu.iter().map(|device| (Setting::Gpu, device));
        let further = spec.devices.iter().map(|device| (Setting::Device, device));
        for (setting, device) in gpu.chain(further) {
            // A CDI name stands for the devices of its description, and a folder such as `/dev/dri`
            // for those in it.
            let there = if device.starts_with('/') {
                let [on_host, in_container] = ends(device);
                let place = if source == Source::Kernel { in_container } else { on_host };
                found.iter().any(|found| found.starts_with(place))
            } else {
                !found.is_empty()
            };
            if !there {
                self.note(setting, source, device, list(found.iter().map(|path| path.display())));
            }
        }
    }

    fn kernel(&mut self, expected: &Expected, kernel: &View) {
        let limits = &expected.spec.limits;
        let pids = kernel.pids.filter(|found| *found != Bound::At(u64::from(limits.pids)));
        if let Some(found) = pids {
            self.note(Setting::PidsLimit, Source::Kernel, limits.pids, found);
        }
        if let Some(allowed) = kernel.unit_pids.filter(|allowed| *allowed < u64::from(limits.pids)) {
            self.note(Setting::PidsLimit, Source::Systemd, limits.pids, allowed);
        }
        if let (Some(wanted), Some(found)) = (limits.memory, kernel.memory) {
            let same = matches!(found, Bound::At(found) if found <= wanted && wanted - found < LARGEST_PAGE);
            if !same {
                self.note(Setting::Memory, Source::Kernel, wanted, found);
            }
        }
        if let (Some(wanted), Some(found)) = (limits.cpus, kernel.cpus) {
            let same = matches!(found, Bound::At(found) if quota(found) == quota(wanted));
            if !same {
                self.note(Setting::Cpus, Source::Kernel, wanted, found);
            }
        }
        if let (Some(wanted), Some(links)) = (expected.mtu, &kernel.links) {
            let there = links.iter().any(|(_, mtu)| *mtu == wanted);
            if !there {
                let found = list(links.iter().map(|(link, mtu)| format!("{mtu} on {link}")));
                self.note(Setting::NetworkMtu, Source::Kernel, wanted, found);
            }
        }
        if let Some(read) = &kernel.sysctls {
            for (name, wanted) in expected.spec.options.sysctls() {
                let found = read.get(name).map_or("none", String::as_str);
                if !is_same(wanted, found) {
                    let setting = Setting::Option(ContainerOption::Sysctls);
                    self.note(setting, Source::Kernel, format_args!("{name}={wanted}"), found);
                }
            }
        }
        for port in &kernel.silent_ports {
            self.note(Setting::Listening, Source::Kernel, port, "none");
        }
    }
}

/// The paths of a device on the host and in the container, `HOST[:CONTAINER[:rwm]]`.
fn ends(device: &str) -> [&str; 2] {
    let mut paths = device.split(':').filter(|part| part.starts_with('/'));
    let on_host = paths.next().unwrap_or_default();
    [on_host, paths.next().unwrap_or(on_host)]
}

/// A CPU limit as podman and the kernel store it, see [`Limits::cpu_quota`].
fn quota(cpus: f64) -> i64 {
    Limits::cpu_quota(cpus)
}

fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}

fn is_mount(wanted: &Mount, found: &MountDetail, kernel: &View) -> bool {
    if wanted.is_read_only() != found.read_only {
        return false;
    }
    match wanted {
        Mount::Volume { name, .. } => found.volume.as_ref() == Some(name),
        Mount::Bind { source, .. } => found.volume.is_none() && is_same_path(source, &found.source, kernel),
    }
}

/// Whether two host paths lead to the same place. The kernel resolves them; a path that it cannot
/// resolve is compared as text. The kernel comes first because `link/..` need not be the folder
/// that holds `link`.
fn is_same_path(one: &Path, other: &Path, kernel: &View) -> bool {
    match (kernel.leads_to.get(one), kernel.leads_to.get(other)) {
        (Some(one), Some(other)) => one == other,
        _ => plain(one) == plain(other),
    }
}

/// A path without `.`, doubled slashes and `..`, as Go's `filepath.Clean` writes it. podman stores
/// paths like that.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn wanted_mount(mount: &Mount) -> String {
    let how = if mount.is_read_only() { " (read-only)" } else { "" };
    match mount {
        Mount::Volume { name, target, .. } => format!("{name} at {}{how}", target.display()),
        Mount::Bind { source, target, .. } => format!("{} at {}{how}", source.display(), target.display()),
    }
}

fn shown(volume: Option<&String>, found: &MountDetail) -> String {
    let how = if found.read_only { " (read-only)" } else { "" };
    volume.cloned().unwrap_or_else(|| found.source.display().to_string()) + how
}

/// Whether a container has the desired option. podman reports the capabilities that are there, not
/// those added or dropped. Of a user namespace it reports only that it is the container's own.
fn has_option(option: ContainerOption, wanted: &[String], spec: &ContainerSpec, detail: &ContainerDetail) -> bool {
    let found = detail.options.get(option);
    let capabilities = detail.options.get(ContainerOption::CapAdd);
    let word = |values: &[String]| values.first().cloned().unwrap_or_default();
    match option {
        ContainerOption::User
        | ContainerOption::Hostname
        | ContainerOption::Init
        | ContainerOption::ReadOnly
        | ContainerOption::Privileged
        | ContainerOption::WorkingDir
        | ContainerOption::ShmSize => found == wanted,
        ContainerOption::GroupAdd | ContainerOption::Ulimits => wanted.iter().all(|one| found.contains(one)),
        // podman does not report sysctls; `Findings::kernel` compares them.
        ContainerOption::Sysctls => true,
        ContainerOption::Tmpfs => wanted.iter().all(|wanted| found.iter().any(|found| is_tmpfs(wanted, found))),
        // podman's inspection does not report which paths are masked.
        ContainerOption::SecurityOpt => wanted
            .iter()
            .filter(|option| !option.starts_with("mask=") && !option.starts_with("unmask="))
            .all(|option| found.contains(option)),
        // podman 4.3 reports `shareable` for every container, even on the host's IPC namespace, so
        // that word proves nothing.
        ContainerOption::Ipc => word(found) == "shareable" || word(found) == word(wanted),
        ContainerOption::Userns => (word(wanted) == "host") == matches!(word(found).as_str(), "" | "host"),
        ContainerOption::CapAdd => wanted.iter().all(|name| {
            if name == "ALL" { capabilities.len() > MAX_DEFAULT_CAPABILITIES } else { capabilities.contains(name) }
        }),
        ContainerOption::CapDrop => {
            let added = spec.options.get(ContainerOption::CapAdd);
            let dropped = |name: &String| wanted.iter().any(|wanted| wanted == "ALL" || wanted == name);
            !capabilities.iter().any(|name| dropped(name) && !added.contains(name))
        }
    }
}

/// An upper bound on the number of capabilities that podman gives by default (containers.conf(5),
/// `default_capabilities`). A container with more counts as one with `ALL`.
const MAX_DEFAULT_CAPABILITIES: usize = 14;

/// Whether a tmpfs has the desired path and options. podman adds options of its own.
fn is_tmpfs(wanted: &str, found: &str) -> bool {
    let [(path, options), (found_path, found_options)] =
        [wanted, found].map(|text| text.split_once(':').unwrap_or((text, "")));
    let has = |option: &str| found_options.split(',').any(|found| found == option);
    path == found_path.trim_end_matches('/') && options.split(',').filter(|option| !option.is_empty()).all(has)
}
