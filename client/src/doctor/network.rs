//! Whether the configured network, names and ports are available, and which program listens on the
//! ports. Also programs of the host that services contact, but that listen on the loopback only.

use std::fs;
use std::path::PathBuf;

use ipnet::IpNet;

use super::{Code, Finding};
use crate::config::{Config, HostGateway, NetworkMode, Service};
use crate::egress::Route;
use crate::kernel;
use crate::plan::{self, Conflict, Kind, another};
use crate::port::{HostPort, Protocol};

/// A file of `secret_env` whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableSecret {
    /// The key that names it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
    /// The file exists, and others may read or change it.
    pub open: bool,
}

/// The desired network, and the obstacles to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The subnets of the services' network, as podman reports them, or as configured.
    pub subnets: Vec<IpNet>,
    /// The bridge of that network, whose own route is no clash.
    pub bridge: Option<String>,
    /// The host's routes except default routes, of every table.
    pub routes: Vec<Route>,
    /// The podman object that prevents a start.
    pub conflict: Option<Conflict>,
    /// Wanted ports that are taken.
    pub taken: Vec<TakenPort>,
    /// Wanted ports that only root may listen on, with their services.
    pub privileged: Vec<(String, u16)>,
    /// Variables that point to programs of the host that no container reaches.
    pub host_only: Vec<HostOnly>,
    /// Pods of airpods in which podman can start nothing, with the reason.
    pub pods: Vec<(String, String)>,
    /// Files of `secret_env` whose value cannot be used.
    pub secrets: Vec<UnusableSecret>,
}

/// A port of the host that a service wants and another program holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenPort {
    /// The service.
    pub service: String,
    /// Its key in the configuration, such as `services.web.ports.0.host`.
    pub key: String,
    /// The port.
    pub port: u16,
    /// The program that holds it.
    pub owner: PortOwner,
    /// A free port near it.
    pub free: u16,
}

/// The program that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOwner {
    /// A process of this user.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A process of another user, which this user cannot see.
    OtherUser,
}

/// Judges the network, the names and the ports.
pub(super) fn judge(network: &Network) -> Vec<Finding> {
    let mut findings: Vec<Finding> = network.conflict.iter().map(conflict).collect();
    findings.extend(clash(network));
    findings.extend(network.taken.iter().map(taken));
    findings.extend(network.host_only.iter().map(judge_host_only));
    findings.extend(network.pods.iter().map(|(pod, why)| {
        let cause = format!("podman starts nothing in the pod `{pod}`: {why}");
        Finding::broken(Code::StateImproper, cause, "airpods start --yes")
    }));
    findings.extend(network.secrets.iter().map(|secret| {
        let UnusableSecret { key, path, why, open } = secret;
        let path = path.display();
        let cause = format!("`{key}`: `{path}` cannot be used: {why}");
        let cure = if *open { format!("chmod 600 {path}") } else { "airpods config edit".to_owned() };
        Finding::broken(Code::SecretMissing, cause, cure)
    }));
    findings.extend(network.privileged.first().map(|(service, port)| {
        let cause = format!("`services.{service}.ports`: only root may listen on port {port}");
        Finding::broken(
            Code::PortPrivileged,
            cause,
            format!("sudo sysctl -w net.ipv4.ip_unprivileged_port_start={port}"),
        )
    }));
    findings
}

fn conflict(conflict: &Conflict) -> Finding {
    let cause = conflict.to_string();
    match conflict {
        // airpods does not remove objects that another program made.
        Conflict::NotOurs { place, name, .. } => {
            let other = another(name);
            Finding::broken(Code::NameTaken, cause, format!("airpods config set {place} {other}"))
        }
        Conflict::Missing { kind: Kind::Image, name, .. } => {
            Finding::broken(Code::NameTaken, cause, format!("podman pull {name}"))
        }
        Conflict::Missing { name, .. } => {
            Finding::broken(Code::NameTaken, cause, format!("podman network create {name}"))
        }
        Conflict::SecretMissing { name, .. } => {
            Finding::broken(Code::SecretMissing, cause, format!("podman secret create {name} FILE"))
        }
        Conflict::NetworkDiffers { .. } => Finding::note(Code::NetworkDiffers, cause, "airpods start --reset-network"),
        Conflict::NetworkHeld { name, .. } => {
            let other = another(name);
            let cure = format!("airpods config set runtime.network_name {other}");
            Finding::note(Code::NetworkDiffers, cause, cure)
        }
        Conflict::PathMissing { .. }
        | Conflict::NoFolder { .. }
        | Conflict::DeviceMissing { .. }
        | Conflict::GpuMissing { .. } => Finding::broken(Code::PathMissing, cause, "airpods config edit"),
        Conflict::PortHeld { .. } => Finding::broken(Code::PortInUse, cause, "airpods config edit"),
    }
}

fn clash(network: &Network) -> Option<Finding> {
    let (subnet, route) = network.subnets.iter().find_map(|subnet| {
        let foreign = |route: &&Route| Some(&route.link) != network.bridge.as_ref();
        let other = network.routes.iter().filter(foreign).find(|route| overlap(*subnet, route.to))?;
        Some((subnet, other))
    })?;
    let cause = format!(
        "the services' network {subnet} and the route to {} through `{}` overlap: one hides the other",
        route.to, route.link
    );
    let cure = free_subnet(network).map_or_else(
        || "airpods config edit".to_owned(),
        |subnet| format!("airpods config set runtime.network.subnet {subnet} && airpods start --reset-network"),
    );
    Some(Finding::broken(Code::SubnetClash, cause, cure))
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// A private subnet (RFC 1918) that no route leads to: from podman's own range (10.90.0.0/16), or
/// from 172.29.0.0/16.
fn free_subnet(network: &Network) -> Option<IpNet> {
    let candidates = (0..=255u8).map(|third| [10, 90, third, 0]).chain((0..=255).map(|third| [172, 29, third, 0]));
    let nets = candidates.filter_map(|address| IpNet::new(address.into(), 24).ok());
    let used = |net: &IpNet| {
        network.routes.iter().map(|route| route.to).chain(network.subnets.iter().copied()).any(|to| overlap(*net, to))
    };
    nets.into_iter().find(|net| !used(net))
}

fn taken(port: &TakenPort) -> Finding {
    let TakenPort { service, key, port, owner, free } = port;
    let who = match owner {
        PortOwner::Process { pid, name } => format!("your program `{name}` (process {pid})"),
        PortOwner::OtherUser => "a program of another user".to_owned(),
    };
    let cause = format!("`services.{service}.ports`: port {port} is in use by {who}");
    Finding::broken(Code::PortInUse, cause, format!("airpods config set {key} {free}"))
}

/// How far above a taken port a free one is looked for.
const SEARCH_RANGE: u16 = 100;

/// The wanted ports that are taken, each with its service.
pub(super) fn taken_ports(config: &Config, wanted: &[(String, HostPort)]) -> Vec<TakenPort> {
    let taken = wanted.iter().filter(|(_, port)| kernel::is_taken(*port));
    taken
        .map(|(service, port)| TakenPort {
            service: service.clone(),
            key: key(config, service, *port),
            port: port.port,
            owner: port_owner(*port),
            free: free(config, *port),
        })
        .collect()
}

/// The ports of enabled services that only root may listen on, each with its service.
pub(super) fn privileged_ports(config: &Config) -> Vec<(String, u16)> {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    let services = config.enabled();
    let all = services.flat_map(|(name, service)| service.host_ports().map(move |port| (name.to_string(), port.port)));
    all.filter(|(_, port)| *port < first).collect()
}

/// The key of the port in the configuration.
fn key(config: &Config, service: &str, port: HostPort) -> String {
    let found = config.services.iter().find(|(name, _)| name.as_str() == service);
    let (index, side) = found.map_or((0, "host"), |(_, found)| {
        let index = found.placed_ports().find(|(_, other)| *other == port).map_or(0, |(index, _)| index);
        (index, if found.network_mode == NetworkMode::Host { "container" } else { "host" })
    });
    format!("services.{service}.ports.{index}.{side}")
}

/// The next port that neither a program nor a configured service holds.
fn free(config: &Config, taken: HostPort) -> u16 {
    let configured =
        |port: HostPort| config.services.values().any(|service| service.host_ports().any(|own| own.overlaps(port)));
    let near = taken.port.saturating_add(1)..=taken.port.saturating_add(SEARCH_RANGE);
    let mut near = near.map(|port| HostPort { port, ..taken });
    near.find(|port| !configured(*port) && !kernel::is_taken(*port)).unwrap_or(taken).port
}

/// The process that listens on the port, if this user can see it.
fn port_owner(port: HostPort) -> PortOwner {
    let tables = match port.protocol {
        Protocol::Tcp => ["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Protocol::Udp => ["/proc/self/net/udp", "/proc/self/net/udp6"],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port.port))
        .collect();
    own_process(&inodes).map_or(PortOwner::OtherUser, |(pid, name)| PortOwner::Process { pid, name })
}

/// The inodes of the sockets that listen on a port, by `/proc/net/tcp` and `udp` (proc(5): the
/// address is `HEX:PORT`; the state 0A is `LISTEN`, and 07 that of a UDP socket without a peer).
pub(super) fn listeners(table: &str, port: u16) -> Vec<u64> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let listens = ["0A", "07"].contains(fields.get(3)?) && u16::from_str_radix(local, 16) == Ok(port);
        listens.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().filter_map(row).collect()
}

/// The first process that has one of the sockets open. Descriptors of other users' processes cannot
/// be read, so those are skipped.
fn own_process(inodes: &[u64]) -> Option<(u32, String)> {
    let sockets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    };
    let pid = pids.into_iter().find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

/// The port of Ollama, which listens on 127.0.0.1 by default. Its listening address is set in its
/// systemd unit.
const OLLAMA: u16 = 11434;

/// A variable that points to a port of the host on which programs listen on the loopback only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOnly {
    /// The key of the variable, such as `services.open-webui.env.OLLAMA_BASE_URL`.
    pub key: String,
    /// The port.
    pub port: u16,
}

/// Judges one variable that points to a program of the host.
fn judge_host_only(found: &HostOnly) -> Finding {
    let HostOnly { key, port } = found;
    let cause = format!(
        "`{key}` leads to port {port} of this host, where a program listens on 127.0.0.1 only: no container reaches it"
    );
    let cure =
        if *port == OLLAMA { "sudo systemctl edit ollama".to_owned() } else { format!("sudo ss -ltnp sport = {port}") };
    Finding::broken(Code::HostLoopback, cause, cure)
}

/// Names by which podman and Docker let a container reach its host.
const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

pub(super) fn read_host_only(config: &Config) -> Vec<HostOnly> {
    let tables =
        ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    asked_of_host(config).into_iter().filter(|one| is_for_the_host_alone(&tables, one.port)).collect()
}

/// The variables with the URL of a program on the host.
fn asked_of_host(config: &Config) -> Vec<HostOnly> {
    let gateway = match &config.runtime.host_gateway {
        HostGateway::Auto => None,
        HostGateway::Name(name) => Some(name.to_string()),
        HostGateway::Address(address) => Some(address.to_string()),
    };
    let is_host = |service: &Service, host: &str| {
        let added = service.extra_hosts.iter().filter_map(|host| host.strip_suffix(":host-gateway"));
        HOST_NAMES.contains(&host) || gateway.as_deref() == Some(host) || added.into_iter().any(|name| name == host)
    };
    let mut found = Vec::new();
    for (name, service) in config.enabled().filter(|(_, service)| service.network_mode == NetworkMode::Pod) {
        for (variable, value) in &service.env {
            let port = plan::urls(value).filter_map(endpoint).find(|(host, _)| is_host(service, host));
            found.extend(port.map(|(_, port)| HostOnly { key: format!("services.{name}.env.{variable}"), port }));
        }
    }
    found
}

/// The host and the port of a URL.
fn endpoint<'a>((scheme, authority): (&str, &'a str)) -> Option<(&'a str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, if scheme == "https" { 443 } else { 80 })),
    }
}

/// Whether programs listen on a port, and all of them on the loopback, by `/proc/net/tcp`
/// (proc(5)).
fn is_for_the_host_alone(tables: &[String], port: u16) -> bool {
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (address, local) = fields.get(1)?.rsplit_once(':')?;
        let here = *fields.get(3)? == "0A" && u16::from_str_radix(local, 16) == Ok(port);
        here.then(|| is_loopback(address))
    };
    let mut sockets = tables.iter().flat_map(|table| table.lines()).filter_map(listens).peekable();
    sockets.peek().is_some() && sockets.all(|loopback| loopback)
}

/// Whether an address of `/proc/net/tcp` is a loopback address. Each group of four bytes is in the
/// machine's byte order.
fn is_loopback(address: &str) -> bool {
    let is_mapped = address.len() == 32 && address.starts_with("0000000000000000FFFF0000");
    match address.len() {
        8 => address.ends_with("7F"),
        _ => address == "00000000000000000000000001000000" || (is_mapped && address.ends_with("7F")),
    }
}

#[cfg(test)]
mod tests;
