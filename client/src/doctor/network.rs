//! Whether the network, the names and the ports that are wanted can be had.

use std::path::PathBuf;

use ipnet::IpNet;

use super::{Code, Finding, HostOnly, loopback};
use crate::egress::Route;
use crate::plan::{Conflict, Kind, another};

/// A file of `secret_env` whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableSecret {
    /// The key that names it.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: String,
    /// It is there, and others may read or change it.
    pub open: bool,
}

/// What is wanted, and what is in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The services' network, as podman has it, else as it is configured.
    pub subnets: Vec<IpNet>,
    /// The bridge of that network; its own route is no clash.
    pub bridge: Option<String>,
    /// The host's routes but the default ones, of every table.
    pub routes: Vec<Route>,
    /// What podman holds that forbids a start.
    pub conflict: Option<Conflict>,
    /// Ports that are wanted and taken.
    pub taken: Vec<TakenPort>,
    /// Ports that are wanted and that only root may listen on, with their services.
    pub privileged: Vec<(String, u16)>,
    /// Variables that lead to programs of the host which no container reaches.
    pub host_only: Vec<HostOnly>,
    /// Pods of ours in which podman can start nothing, with the reason.
    pub pods: Vec<(String, String)>,
    /// Files of `secret_env` whose value cannot be used.
    pub secrets: Vec<UnusableSecret>,
}

/// A port of the host that a service wants and somebody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenPort {
    /// The service.
    pub service: String,
    /// Its key in the configuration, such as `services.web.ports.0.host`.
    pub key: String,
    /// The port.
    pub port: u16,
    /// Its holder.
    pub holder: Holder,
    /// A port near it that nobody has.
    pub free: u16,
}

/// The holder of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process of this user's.
    Process {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// Somebody whom this user cannot see.
    Stranger,
}

/// Judges them.
pub(super) fn judge(network: &Network) -> Vec<Finding> {
    let mut findings: Vec<Finding> = network.conflict.iter().map(conflict).collect();
    findings.extend(clash(network));
    findings.extend(network.taken.iter().map(taken));
    findings.extend(network.host_only.iter().map(loopback::judge));
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
        // What others made is theirs to remove.
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
        Conflict::PathMissing { .. } | Conflict::NoFolder { .. } | Conflict::DeviceMissing { .. } => {
            Finding::broken(Code::PathMissing, cause, "airpods config edit")
        }
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

/// A private subnet that no route leads to (RFC 1918): podman's own range, then the one above it.
fn free_subnet(network: &Network) -> Option<IpNet> {
    let candidates = (0..=255u8).map(|third| [10, 90, third, 0]).chain((0..=255).map(|third| [172, 29, third, 0]));
    let nets = candidates.filter_map(|address| IpNet::new(address.into(), 24).ok());
    let used = |net: &IpNet| {
        network.routes.iter().map(|route| route.to).chain(network.subnets.iter().copied()).any(|to| overlap(*net, to))
    };
    nets.into_iter().find(|net| !used(net))
}

fn taken(port: &TakenPort) -> Finding {
    let TakenPort { service, key, port, holder, free } = port;
    let who = match holder {
        Holder::Process { pid, name } => format!("your program `{name}` (process {pid})"),
        Holder::Stranger => "a program of another user".to_owned(),
    };
    let cause = format!("`services.{service}.ports`: port {port} is in use by {who}");
    Finding::broken(Code::PortInUse, cause, format!("airpods config set {key} {free}"))
}
