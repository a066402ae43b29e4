//! Programs of the host that services contact, but that listen on the loopback only: Ollama listens
//! on 127.0.0.1 by default.

use std::fs;

use super::{Code, Finding};
use crate::config::{Config, HostGateway, NetworkMode, Service};
use crate::plan;

/// Ollama's port. Its listening address is set in its systemd unit.
const OLLAMA: u16 = 11434;

/// A variable that points to a port of the host on which programs listen on the loopback only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOnly {
    /// The key of the variable, such as `services.open-webui.env.OLLAMA_BASE_URL`.
    pub key: String,
    /// The port.
    pub port: u16,
}

/// Judges one variable.
pub(super) fn judge(found: &HostOnly) -> Finding {
    let HostOnly { key, port } = found;
    let cause = format!(
        "`{key}` leads to port {port} of this host, where a program listens on 127.0.0.1 only: no container reaches it"
    );
    let cure =
        if *port == OLLAMA { "sudo systemctl edit ollama".to_owned() } else { format!("sudo ss -ltnp sport = {port}") };
    Finding::broken(Code::HostLoopback, cause, cure)
}

/// Names by which podman and Docker let a container reach its host.
const NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

pub(super) fn read(config: &Config) -> Vec<HostOnly> {
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
        NAMES.contains(&host) || gateway.as_deref() == Some(host) || added.into_iter().any(|name| name == host)
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
mod tests {
    use super::*;
    use crate::plan::tests::config;

    fn table(address: &str, port: u16) -> Vec<String> {
        vec![format!("  sl  local_address\n   0: {address}:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 1 1 0\n")]
    }

    #[test]
    fn a_port_is_the_hosts_alone_where_only_loopback_is_listened_to() {
        for (address, alone) in [
            ("0100007F", true),
            ("3500007F", true),
            ("00000000", false),
            ("0A02000A", false),
            ("00000000000000000000000001000000", true),
            ("00000000000000000000000000000000", false),
            ("0000000000000000FFFF00000100007F", true),
        ] {
            assert_eq!(is_for_the_host_alone(&table(address, 11434), 11434), alone, "{address}");
        }
        assert!(!is_for_the_host_alone(&table("0100007F", 80), 11434), "nobody listens there");
        let both = [table("0100007F", 11434), table("0A02000A", 11434)].concat();
        assert!(!is_for_the_host_alone(&both, 11434));
    }

    #[test]
    fn a_variable_that_leads_to_the_host_is_known_by_its_name_or_address() {
        let services = |web: &str| {
            let web = format!("[services.web]\nimage = 'docker.io/lab/web:1'\n{web}\n");
            asked_of_host(&config(&format!("services.open-webui.enabled = false\n{web}")))
        };
        for env in [
            "env.A = 'http://host.containers.internal:11434/v1'",
            "env.A = 'http://u:p@host.docker.internal:11434'",
            "env.A = 'http://other:1;http://host.docker.internal:11434'",
            "env.A = 'http://box:11434'\nextra_hosts = ['box:host-gateway']",
            "env.A = 'http://{{runtime.host_gateway}}:11434'",
        ] {
            let found = services(env);
            assert_eq!(found, [HostOnly { key: "services.web.env.A".to_owned(), port: 11434 }], "{env}");
        }
        for env in [
            "env.A = 'http://ollama:11434'",
            "env.A = 'host.docker.internal'",
            "network_mode = 'host'\nenv.A = 'http://host.docker.internal:1'",
        ] {
            assert_eq!(services(env), [], "{env}");
        }
    }
}
