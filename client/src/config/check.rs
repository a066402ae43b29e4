//! Checks values that are right on their own but contradict each other.

use std::collections::HashMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::health::{Health, HealthTest};
use super::model::Config;
use super::name::ServiceName;
use super::option::{SysctlNamespace, sysctl_namespace};
use super::problem::{Problem, Problems};
use super::runtime::RestartPolicy;
use super::service::{Condition, NetworkMode, Service};
use super::tree::Table;
use crate::podman::ContainerOption;
use crate::port::HostPort;

/// Checks values against each other; problems point into `tree`.
pub(super) fn check(config: &Config, tree: &Table, problems: &Problems) {
    let check = Check { config, tree, problems };
    check.network();
    check.containers();
    check.host_ports();
    check.pod_ports();
    check.published_ports();
    for (name, service) in &config.services {
        check.volumes(name, service);
        check.health(name, service);
        check.host_mode(name, service);
        check.port_addresses(name, service);
        check.pod(name, service);
        check.dependencies(name, service);
        check.options(name, service);
        check.secrets(name, service);
    }
}

struct Check<'a> {
    config: &'a Config,
    tree: &'a Table,
    problems: &'a Problems,
}

impl Check<'_> {
    fn error(&self, place: &str, message: impl std::fmt::Display, hint: Option<String>) {
        let problem = Problem::error(format!("`{place}`: {message}")).at(self.tree.locate(place).cloned());
        self.problems.push(Problem { hint, ..problem });
    }

    fn warning(&self, place: &str, message: impl Into<String>, hint: Option<String>) {
        let problem = Problem::warning(message).at(self.tree.locate(place).cloned());
        self.problems.push(Problem { hint, ..problem });
    }

    fn network(&self) {
        let network = &self.config.runtime.network;
        let subnet = network.subnet;
        if let Some(gateway) = network.gateway {
            let place = "runtime.network.gateway";
            match subnet {
                None => self.error(place, "a gateway needs a subnet", Some("set `runtime.network.subnet` too".into())),
                Some(subnet) if !subnet.contains(&gateway) => {
                    self.error(place, format_args!("`{gateway}` does not lie in the subnet `{subnet}`"), None);
                }
                Some(subnet) if !is_host(subnet, gateway) => {
                    let message = format_args!("`{gateway}` is no host's address in the subnet `{subnet}`");
                    self.error(place, message, None);
                }
                Some(_) => {}
            }
        }
        if network.external && network.internal {
            let hint = "leave it out, and make that network with `podman network create --internal`".to_owned();
            self.error("runtime.network.internal", "an external network keeps its way out", Some(hint));
        }
        if matches!(subnet, Some(IpNet::V6(_))) && !network.ipv6 {
            let hint = "set `runtime.network.ipv6 = true`".to_owned();
            self.error("runtime.network.subnet", "an IPv6 subnet on a network without IPv6", Some(hint));
        }
        if let Some(mtu) = network.mtu.filter(|mtu| network.ipv6 && mtu.get() < 1280) {
            let message = format_args!("{mtu} is too small for IPv6, which needs 1280");
            self.error("runtime.network.mtu", message, None);
        }
    }

    fn containers(&self) {
        let mut seen = HashMap::new();
        for (name, service) in &self.config.services {
            if let Some(other) = seen.insert(service.container.as_str(), name) {
                let place = format!("services.{name}.container");
                let message = format_args!("`{}` is the container of service `{other}` already", service.container);
                self.error(&place, message, Some("every service needs a container name of its own".to_owned()));
            }
        }
    }

    fn host_ports(&self) {
        let mut seen = Vec::new();
        for (name, service) in self.config.enabled() {
            for (index, port) in service.placed_ports() {
                let place = match service.network_mode {
                    NetworkMode::Pod => format!("services.{name}.ports.{index}.host"),
                    NetworkMode::Host => format!("services.{name}.ports.{index}.container"),
                };
                if let Some((_, other)) = seen.iter().find(|(other, _): &&(HostPort, String)| other.overlaps(port)) {
                    let message = format_args!("port {port} of the host is taken by `{other}` already");
                    self.error(&place, message, Some("choose another port, or disable one of the two".to_owned()));
                } else {
                    seen.push((port, place));
                }
            }
        }
    }

    /// Only one service of a pod can listen on a port. podman accepts two, and one of them then
    /// ends for a reason that only its log tells.
    fn pod_ports(&self) {
        let mut seen = HashMap::new();
        for (name, service) in self.config.enabled().filter(|(_, service)| service.network_mode == NetworkMode::Pod) {
            let Some(pod) = &service.pod else { continue };
            let ports = service.ports.iter().enumerate();
            for (index, port) in ports.flat_map(|(index, port)| port.own().map(move |port| (index, port))) {
                let place = format!("services.{name}.ports.{index}.container");
                let (owner, other) = seen.entry((pod, port)).or_insert_with(|| (name, place.clone()));
                // Two ports of the host may lead to the same port of one container.
                if *owner != name {
                    let message = format_args!("port {port} of the pod `{pod}` is taken by `{other}` already");
                    let hint = "the services of a pod share one network namespace: choose another port, or another pod";
                    self.error(&place, message, Some(hint.to_owned()));
                }
            }
        }
    }

    /// On a macvlan or ipvlan network nothing is forwarded to a container, and podman does not
    /// report it.
    fn published_ports(&self) {
        let driver = self.config.runtime.network.driver;
        let with_ports = |service: &Service| !self.config.is_published(service) && !service.ports.is_empty();
        let services = self.config.services.iter().filter(|(_, service)| with_ports(service));
        let places: Vec<_> = services.map(|(name, _)| format!("`services.{name}.ports`")).collect();
        if places.is_empty() {
            return;
        }
        let message = format!("{}: podman publishes no ports on a `{}` network", places.join(", "), driver.as_str());
        let hint = "a service is reached by its own address on that network, and is not asked for its health";
        // One setting is the reason for all of them, and the ports may come from the built-in
        // defaults.
        self.warning("runtime.network.driver", message, Some(hint.to_owned()));
    }

    fn volumes(&self, name: &ServiceName, service: &Service) {
        let mut seen = HashMap::new();
        for (volume_name, volume) in &service.volumes {
            if let Some(other) = seen.insert(&volume.target, volume_name) {
                let place = format!("services.{name}.volumes.{volume_name}.target");
                let message = format_args!("`{}` is the target of volume `{other}` already", volume.target.display());
                self.error(&place, message, None);
            }
        }
        let tmpfs = service.options.get(ContainerOption::Tmpfs).iter();
        for (index, path) in tmpfs.map(|one| one.split(':').next().unwrap_or_default()).enumerate() {
            if let Some(other) = seen.get(&PathBuf::from(path)) {
                let message = format_args!("`{path}` is the target of volume `{other}` already");
                self.error(&format!("services.{name}.tmpfs.{index}"), message, None);
            }
        }
    }

    /// The containers of a pod share some namespaces. podman refuses an option of one container
    /// that concerns those.
    fn pod(&self, name: &ServiceName, service: &Service) {
        if service.pod.is_none() || service.network_mode == NetworkMode::Host {
            return;
        }
        for (row, _) in service.options.iter().filter(|(row, _)| row.of_pod) {
            let message = "the services of a pod have this in common, so that one alone cannot have it";
            let hint = "leave it out, or take the service out of its pod".to_owned();
            self.error(&format!("services.{name}.{}", row.key), message, Some(hint));
        }
    }

    fn dependencies(&self, name: &ServiceName, service: &Service) {
        for (other, condition) in &service.depends_on {
            let place = format!("services.{name}.depends_on.{other}");
            let found = self.config.services.get(other.as_str());
            let problem = match (found, condition) {
                _ if other == name => Some(("a service cannot depend on itself", "leave it out")),
                (None, _) => Some(("there is no such service", "it needs a table of its own under `services`")),
                (Some(found), _) if !found.enabled && service.enabled => {
                    Some(("that service is switched off", "leave it out, or enable the service"))
                }
                (Some(found), Condition::Healthy) if found.health.is_none() => {
                    Some(("that service has no `health` to be asked", "give it `health.path` or `health.command`"))
                }
                (Some(found), Condition::Completed) if !found.oneshot => {
                    Some(("that service never ends by itself", "give it `oneshot = true` if it does"))
                }
                _ => None,
            };
            if let Some((message, hint)) = problem {
                self.error(&place, format_args!("`{other}`: {message}"), Some(hint.to_owned()));
            }
        }
        if service.oneshot
            && matches!(service.restart_policy, Some(RestartPolicy::Always | RestartPolicy::UnlessStopped))
        {
            let message = "a one-shot service would be started again for ever";
            self.error(
                &format!("services.{name}.restart_policy"),
                message,
                Some("`no` or `on-failure` is right for it".into()),
            );
        }
    }

    fn options(&self, name: &ServiceName, service: &Service) {
        let groups = service.options.get(ContainerOption::GroupAdd);
        if groups.len() > 1 && groups.iter().any(|group| group == "keep-groups") {
            let message = "`keep-groups` keeps all groups of yours, and podman takes no other beside it";
            self.error(&format!("services.{name}.group_add"), message, None);
        }
        let is_given = |option| !service.options.get(option).is_empty();
        if is_given(ContainerOption::Privileged) && is_given(ContainerOption::CapDrop) {
            let message = "a privileged service has every capability, and podman drops none";
            let hint = "leave out `privileged`, and give it what it needs by `devices` and `cap_add`".to_owned();
            self.error(&format!("services.{name}.cap_drop"), message, Some(hint));
        }
        let on_host = service.network_mode == NetworkMode::Host;
        let shares_ipc = service.options.get(ContainerOption::Ipc).iter().any(|mode| mode == "host");
        for (parameter, _) in service.options.sysctls() {
            let (message, hint) = match sysctl_namespace(parameter) {
                Some(SysctlNamespace::Network) if on_host => {
                    ("belongs to the host's network, which this service is on", "leave out `network_mode = \"host\"`")
                }
                Some(SysctlNamespace::Ipc) if shares_ipc => {
                    ("belongs to the host's IPC namespace, which this service is in", "leave out `ipc = \"host\"`")
                }
                _ => continue,
            };
            let hint = format!("{hint}, or set it on the host with `sysctl -w`");
            self.error(&format!("services.{name}.sysctls"), format_args!("`{parameter}` {message}"), Some(hint));
        }
        let is_restriction = |option: &&String| option.starts_with("label=") && *option != "label=disable";
        if let Some(label) = service.options.get(ContainerOption::SecurityOpt).iter().find(is_restriction) {
            let setting = if is_given(ContainerOption::Privileged) { "privileged = true" } else { "ipc = \"host\"" };
            if is_given(ContainerOption::Privileged) || shares_ipc {
                let message = format_args!("`{label}` has no effect with `{setting}`, which turns SELinux labels off");
                self.error(&format!("services.{name}.security_opt"), message, Some("leave out one of the two".into()));
            }
        }
        if on_host && !service.networks.is_empty() {
            let message = "a service on the host's network is on no other";
            self.error(&format!("services.{name}.networks"), message, None);
        }
    }

    fn secrets(&self, name: &ServiceName, service: &Service) {
        for variable in service.secret_env.keys().filter(|variable| service.env.contains_key(*variable)) {
            let message = format_args!("`{variable}` is set in `env` as well");
            let place = format!("services.{name}.secret_env.{variable}");
            self.error(&place, message, Some(format!("leave out `services.{name}.env.{variable}`")));
        }
    }

    fn health(&self, name: &ServiceName, service: &Service) {
        let by_port = matches!(service.health, Some(Health { test: HealthTest::Http { .. }, .. }));
        if by_port && !service.ports.iter().any(|port| port.protocol.is_tcp()) {
            let message = format!("`services.{name}.health`: a service without ports cannot be asked");
            // The ports are missing or were removed by `unset`, so the message points there if the
            // key exists.
            let at = self.tree.locate(&format!("services.{name}.ports")).cloned();
            self.problems.push(Problem::error(message).at(at).hint("health is asked for on the first of `ports`"));
        }
    }

    fn host_mode(&self, name: &ServiceName, service: &Service) {
        if service.network_mode != NetworkMode::Host {
            return;
        }
        if service.pod.is_some() {
            let place = format!("services.{name}.pod");
            let message = format!("`{place}` has no effect with network_mode `host`");
            self.warning(&place, message, Some("a service of a pod needs network_mode `pod`".to_owned()));
        }
        for (index, mapping) in service.ports.iter().enumerate().filter(|(_, port)| port.host != port.container) {
            let place = format!("services.{name}.ports.{index}.host");
            let message = format!(
                "`{place}` has no effect with network_mode `host`: the service is on port {}",
                mapping.container
            );
            self.warning(&place, message, None);
        }
    }

    /// The address of a port restricts a service to that address. It is an error where podman
    /// publishes nothing, because the service would be more open than its user believes.
    fn port_addresses(&self, name: &ServiceName, service: &Service) {
        let (why, other) = if service.network_mode == NetworkMode::Host {
            let why = "a service on the host's network listens where its program does";
            (why.to_owned(), "leave out `network_mode = \"host\"`")
        } else if self.config.is_published(service) {
            return;
        } else {
            let driver = self.config.runtime.network.driver.as_str();
            (format!("podman publishes no ports on a `{driver}` network"), "set `runtime.network.driver` to `bridge`")
        };
        let restricts = |address: std::net::IpAddr| !address.is_unspecified();
        let mappings = service.ports.iter().enumerate();
        for (index, _) in mappings.filter(|(_, port)| port.host_ip.is_some_and(restricts)) {
            let place = format!("services.{name}.ports.{index}.host_ip");
            let hint = format!("set the address in the program's own settings and leave it out here, or {other}");
            self.error(&place, format_args!("{why}, so this address restricts nothing"), Some(hint));
        }
    }
}

/// Whether an address in a subnet can be a host's: neither the network's own, nor IPv4's broadcast.
fn is_host(subnet: IpNet, address: std::net::IpAddr) -> bool {
    address != subnet.network() && (matches!(subnet, IpNet::V6(_)) || address != subnet.broadcast())
}
