//! Compares what runs with what was asked for, setting by setting.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::label::is_own;
use super::setting::Setting;
use crate::config::Reference;
use crate::kernel::{Bound, View};
use crate::podman::{
    ContainerDetail, ContainerOption, ContainerSpec, Endpoint, HostFacts, Limits, Mount, MountDetail, Networking,
    port_ranges,
};
use crate::port::HostPort;

/// The kernel counts memory in pages, of up to 64 KiB.
const LARGEST_PAGE: u64 = 1 << 16;

/// What a container must have once it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The container.
    pub spec: ContainerSpec,
    /// Its way onto the network, its own or its pod's; none on the host's network.
    pub endpoint: Option<Endpoint>,
    /// The MTU of its links, where it is configured.
    pub mtu: Option<u32>,
    /// It does something once and may have ended.
    pub oneshot: bool,
}

impl Expected {
    /// What a container with these settings must have, by its own endpoint or its pod's, on a network of this MTU.
    #[must_use]
    pub fn of(spec: &ContainerSpec, endpoint: Option<Endpoint>, mtu: Option<u32>) -> Self {
        let endpoint = endpoint.filter(|_| spec.networking != Networking::Host);
        let mtu = mtu.filter(|_| endpoint.is_some());
        Self { spec: spec.clone(), endpoint, mtu, oneshot: false }
    }

    /// The paths of the host that it mounts.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.spec.sources()
    }

    /// The ports of the host on which somebody must listen.
    #[must_use]
    pub fn host_ports(&self) -> Vec<HostPort> {
        self.endpoint.iter().flat_map(|endpoint| &endpoint.ports).map(|port| port.host).collect()
    }
}

/// Who says what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// podman's books.
    Podman,
    /// The kernel, which enforces it.
    Kernel,
    /// systemd, which limits the unit around the container.
    Systemd,
}

/// A setting that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: Setting,
    /// Who says so.
    pub witness: Witness,
    /// What was asked for.
    pub wanted: String,
    /// What there is.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, found, .. } = self;
        let who = match self.witness {
            Witness::Podman => "podman",
            Witness::Kernel => "the kernel",
            Witness::Systemd => "systemd's unit",
        };
        match self.setting {
            // A variable may hold a password: its value is compared and never shown.
            Setting::Env => write!(f, "`{wanted}` was given a value and {who} has {found}"),
            Setting::Listening => write!(f, "port `{wanted}` was asked for and nobody listens on it"),
            _ => write!(f, "`{wanted}` was asked for and {who} has `{found}`"),
        }
    }
}

impl Difference {
    /// Why podman cannot have done better on this host; none when it should have.
    #[must_use]
    pub fn excuse(&self, facts: &HostFacts) -> Option<String> {
        if self.witness == Witness::Systemd {
            return Some("raise `DefaultTasksMax=` of systemd".to_owned());
        }
        let controller = self.setting.controller().filter(|_| facts.rootless)?;
        if !facts.cgroups_v2 {
            return Some("cgroups v1".to_owned());
        }
        let delegated = facts.cgroup_controllers.iter().any(|name| name == controller);
        (!delegated).then(|| format!("the {controller} controller is not delegated to this user"))
    }

    /// What a user should know about a limit that this host's rootless podman cannot keep.
    #[must_use]
    pub fn warning(&self, service: &str, why: &str) -> String {
        let place = self.setting.place(service);
        if self.witness == Witness::Systemd {
            return format!("`{place}` is not reached: {self}; {why}");
        }
        format!("`{place}` is not enforced: {self}; rootless podman cannot limit it here ({why})")
    }
}

/// Compares with podman's books and with what the kernel says, as far as it is known.
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
    found.books(expected, detail);
    found.0
}

/// The differences so far.
#[derive(Default)]
struct Findings(Vec<Difference>);

impl Findings {
    fn note(&mut self, setting: Setting, witness: Witness, wanted: impl fmt::Display, found: impl fmt::Display) {
        self.0.push(Difference { setting, witness, wanted: wanted.to_string(), found: found.to_string() });
    }

    /// Compares values; only a difference is put into words.
    fn compare<'a, T: PartialEq>(
        &mut self,
        setting: Setting,
        wanted: &'a T,
        found: &'a T,
        show: impl Fn(&'a T) -> String,
    ) {
        if wanted != found {
            self.note(setting, Witness::Podman, show(wanted), show(found));
        }
    }

    fn network(&mut self, expected: &Expected, detail: &ContainerDetail) {
        let mode = |host: &bool| if *host { "host" } else { "pod" }.to_owned();
        let host = expected.endpoint.is_none();
        self.compare(Setting::NetworkMode, &host, &detail.host_network, mode);
        let Some(endpoint) = &expected.endpoint else { return };
        // Somebody may have connected it to further networks.
        if !detail.networks.contains_key(&endpoint.network) {
            self.note(Setting::Network, Witness::Podman, &endpoint.network, list(detail.networks.keys()));
        }
        let found = detail.networks.get(&endpoint.network).cloned().unwrap_or_default();
        // podman adds names of its own: ids, and names of pods and containers.
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
                self.note(Setting::Cpus, Witness::Podman, cpus, found);
            }
        }
        let restart = expected.spec.restart.as_str();
        let found = detail.restart.as_str();
        self.compare(Setting::Restart, &restart, &found, ToString::to_string);
    }

    fn process(&mut self, spec: &ContainerSpec, detail: &ContainerDetail) {
        if !Reference::of(&spec.image).is_met_by(&Reference::of(&detail.image)) {
            self.note(Setting::Image, Witness::Podman, &spec.image, &detail.image);
        }
        let arguments = spec.command.as_deref().unwrap_or_default();
        match spec.entrypoint.as_deref().filter(|words| !words.is_empty()) {
            // The image's own arguments are for the image's own program.
            Some(program) => {
                let words: Vec<&String> = program.iter().filter(|word| !word.is_empty()).chain(arguments).collect();
                let found: Vec<&String> = detail.command.iter().collect();
                self.compare(Setting::Entrypoint, &words, &found, list);
            }
            None if detail.command.ends_with(arguments) => {}
            None => self.note(Setting::Command, Witness::Podman, list(arguments), list(&detail.command)),
        }
        for (variable, wanted) in &spec.env {
            match detail.env.get(variable) {
                Some(found) if found == wanted => {}
                Some(_) => self.note(Setting::Env, Witness::Podman, variable, "another"),
                None => self.note(Setting::Env, Witness::Podman, variable, "none"),
            }
        }
    }

    /// What went to podman as it was written. What nobody asked for is the image's or podman's own.
    fn options(&mut self, spec: &ContainerSpec, detail: &ContainerDetail) {
        for (row, wanted) in spec.options.iter() {
            if !has_option(row.option, wanted, spec, detail) {
                let found = match row.option {
                    ContainerOption::CapDrop => detail.options.get(ContainerOption::CapAdd),
                    option => detail.options.get(option),
                };
                self.note(Setting::Option(row.option), Witness::Podman, list(wanted), list(found));
            }
        }
    }

    /// Labels, names in `/etc/hosts`, further networks and the health command: podman adds some of its own, or of the image's.
    fn books(&mut self, expected: &Expected, detail: &ContainerDetail) {
        let spec = &expected.spec;
        for (label, wanted) in spec.labels.iter().filter(|(label, _)| !is_own(label)) {
            let found = detail.labels.get(label);
            if found != Some(wanted) {
                let found = found.map_or("none", String::as_str);
                self.note(Setting::Labels, Witness::Podman, format_args!("{label}={wanted}"), found);
            }
        }
        let of_pod = expected.endpoint.iter().flat_map(|endpoint| &endpoint.hosts);
        for host in spec.hosts.iter().chain(of_pod).filter(|host| !detail.hosts.contains(host)) {
            self.note(Setting::Hosts, Witness::Podman, host, list(&detail.hosts));
        }
        let further = expected.endpoint.iter().flat_map(|endpoint| &endpoint.further);
        for network in further.filter(|network| !detail.networks.contains_key(*network)) {
            self.note(Setting::Networks, Witness::Podman, network, list(detail.networks.keys()));
        }
        if let Some(wanted) = spec.health.as_ref().filter(|wanted| **wanted != detail.health) {
            self.note(Setting::Health, Witness::Podman, wanted.join(" "), detail.health.join(" "));
        }
    }

    fn mounts(&mut self, spec: &ContainerSpec, detail: &ContainerDetail, kernel: &View) {
        for mount in &spec.mounts {
            let found = detail.mounts.iter().find(|found| plain(&found.target) == plain(mount.target()));
            if !found.is_some_and(|found| is_mount(mount, found, kernel)) {
                let found = found.map_or_else(|| "nothing".to_owned(), |found| shown(found.volume.as_ref(), found));
                self.note(Setting::Volumes, Witness::Podman, wanted_mount(mount), found);
            }
        }
    }

    fn devices(&mut self, spec: &ContainerSpec, detail: &ContainerDetail, kernel: &View) {
        // The books of rootless podman hold no devices.
        let (witness, found) = match &kernel.devices {
            Some(found) => (Witness::Kernel, found),
            None if detail.devices.is_empty() => return,
            None => (Witness::Podman, &detail.devices),
        };
        let gpu = spec.gpu.iter().map(|device| (Setting::Gpu, device));
        let further = spec.devices.iter().map(|device| (Setting::Device, device));
        for (setting, device) in gpu.chain(further) {
            // A name of CDI stands for whatever its description holds, and a folder such as `/dev/dri` for what is in it.
            let there = if device.starts_with('/') {
                let [on_host, in_container] = ends(device);
                let place = if witness == Witness::Kernel { in_container } else { on_host };
                found.iter().any(|found| found.starts_with(place))
            } else {
                !found.is_empty()
            };
            if !there {
                self.note(setting, witness, device, list(found.iter().map(|path| path.display())));
            }
        }
    }

    fn kernel(&mut self, expected: &Expected, kernel: &View) {
        let limits = &expected.spec.limits;
        let pids = kernel.pids.filter(|found| *found != Bound::At(u64::from(limits.pids)));
        if let Some(found) = pids {
            self.note(Setting::PidsLimit, Witness::Kernel, limits.pids, found);
        }
        if let Some(allowed) = kernel.unit_pids.filter(|allowed| *allowed < u64::from(limits.pids)) {
            self.note(Setting::PidsLimit, Witness::Systemd, limits.pids, allowed);
        }
        if let (Some(wanted), Some(found)) = (limits.memory, kernel.memory) {
            let same = matches!(found, Bound::At(found) if found <= wanted && wanted - found < LARGEST_PAGE);
            if !same {
                self.note(Setting::Memory, Witness::Kernel, wanted, found);
            }
        }
        if let (Some(wanted), Some(found)) = (limits.cpus, kernel.cpus) {
            let same = matches!(found, Bound::At(found) if quota(found) == quota(wanted));
            if !same {
                self.note(Setting::Cpus, Witness::Kernel, wanted, found);
            }
        }
        if let (Some(wanted), Some(links)) = (expected.mtu, &kernel.links) {
            let there = links.iter().any(|(_, mtu)| *mtu == wanted);
            if !there {
                let found = list(links.iter().map(|(link, mtu)| format!("{mtu} on {link}")));
                self.note(Setting::NetworkMtu, Witness::Kernel, wanted, found);
            }
        }
        for port in &kernel.silent_ports {
            self.note(Setting::Listening, Witness::Kernel, port, "none");
        }
    }
}

/// The paths of a device on the host and in the container, `HOST[:CONTAINER[:rwm]]`.
fn ends(device: &str) -> [&str; 2] {
    let mut paths = device.split(':').filter(|part| part.starts_with('/'));
    let on_host = paths.next().unwrap_or_default();
    [on_host, paths.next().unwrap_or(on_host)]
}

/// Whether a container has what was asked for. Of capabilities podman tells those that there are; of a namespace of the
/// container's own it tells that it is.
fn has_option(option: ContainerOption, wanted: &[String], spec: &ContainerSpec, detail: &ContainerDetail) -> bool {
    let found = detail.options.get(option);
    let capabilities = detail.options.get(ContainerOption::CapAdd);
    let word = |values: &[String]| values.first().cloned().unwrap_or_default();
    match option {
        ContainerOption::User
        | ContainerOption::Hostname
        | ContainerOption::Init
        | ContainerOption::ReadOnly
        | ContainerOption::ShmSize => found == wanted,
        ContainerOption::GroupAdd => wanted.iter().all(|group| found.contains(group)),
        // An inspected container does not tell which paths are hidden.
        ContainerOption::SecurityOpt => wanted
            .iter()
            .filter(|option| !option.starts_with("mask=") && !option.starts_with("unmask="))
            .all(|option| found.contains(option)),
        // podman 4.3 calls every container's `shareable`, that of one on the host's too: the word tells nothing.
        ContainerOption::Ipc => word(found) == "shareable" || word(found) == word(wanted),
        ContainerOption::Userns => (word(wanted) == "host") == matches!(word(found).as_str(), "" | "host"),
        ContainerOption::CapAdd => wanted
            .iter()
            .all(|name| if name == "ALL" { capabilities.len() > USUAL } else { capabilities.contains(name) }),
        ContainerOption::CapDrop => {
            let added = spec.options.get(ContainerOption::CapAdd);
            let dropped = |name: &String| wanted.iter().any(|wanted| wanted == "ALL" || wanted == name);
            !capabilities.iter().any(|name| dropped(name) && !added.contains(name))
        }
    }
}

/// As many capabilities as podman gives where nobody asks for any (containers.conf(5), `default_capabilities`).
const USUAL: usize = 14;

fn is_mount(wanted: &Mount, found: &MountDetail, kernel: &View) -> bool {
    if wanted.is_read_only() != found.read_only {
        return false;
    }
    match wanted {
        Mount::Volume { name, .. } => found.volume.as_ref() == Some(name),
        Mount::Bind { source, .. } => found.volume.is_none() && is_same_path(source, &found.source, kernel),
    }
}

/// Whether two paths of the host lead to the same place: by the links on the way, or by their letters where the kernel
/// does not know them. The kernel comes first: `link/..` is not what its letters say.
fn is_same_path(one: &Path, other: &Path, kernel: &View) -> bool {
    match (kernel.leads_to.get(one), kernel.leads_to.get(other)) {
        (Some(one), Some(other)) => one == other,
        _ => plain(one) == plain(other),
    }
}

/// A path without `.`, doubled slashes and `..`, as Go's `filepath.Clean` writes it, by which podman keeps paths.
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

/// CPUs as podman and the kernel keep them, see [`Limits::cpu_quota`].
fn quota(cpus: f64) -> i64 {
    Limits::cpu_quota(cpus)
}

fn list<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}
