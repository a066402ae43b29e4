//! Who listens on the ports that services want.

use std::fs;

use crate::config::{Config, NetworkMode};
use crate::doctor::{Holder, TakenPort};
use crate::kernel;
use crate::port::{HostPort, Protocol};

/// How far above a port that is taken another is looked for.
const NEAR: u16 = 100;

/// Those of the wanted ports that somebody has, each with its service.
pub(super) fn taken(config: &Config, wanted: &[(String, HostPort)]) -> Vec<TakenPort> {
    let taken = wanted.iter().filter(|(_, port)| kernel::is_taken(*port));
    taken
        .map(|(service, port)| TakenPort {
            service: service.clone(),
            key: key(config, service, *port),
            port: port.port,
            holder: holder(*port),
            free: free(config, *port),
        })
        .collect()
}

/// Those of the ports of enabled services that only root may listen on, each with its service.
pub(super) fn privileged(config: &Config) -> Vec<(String, u16)> {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first: u16 = first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    let services = config.enabled();
    let all = services.flat_map(|(name, service)| service.host_ports().map(move |port| (name.to_string(), port.port)));
    all.filter(|(_, port)| *port < first).collect()
}

/// Where the port stands in the configuration.
fn key(config: &Config, service: &str, port: HostPort) -> String {
    let found = config.services.iter().find(|(name, _)| name.as_str() == service);
    let (index, side) = found.map_or((0, "host"), |(_, found)| {
        let index = found.placed_ports().find(|(_, other)| *other == port).map_or(0, |(index, _)| index);
        (index, if found.network_mode == NetworkMode::Host { "container" } else { "host" })
    });
    format!("services.{service}.ports.{index}.{side}")
}

/// The next port that neither a program nor a service has.
fn free(config: &Config, taken: HostPort) -> u16 {
    let configured =
        |port: HostPort| config.services.values().any(|service| service.host_ports().any(|own| own.overlaps(port)));
    let near = taken.port.saturating_add(1)..=taken.port.saturating_add(NEAR);
    let mut near = near.map(|port| HostPort { port, ..taken });
    near.find(|port| !configured(*port) && !kernel::is_taken(*port)).unwrap_or(taken).port
}

/// The process that listens on the port, if it is this user's to see.
fn holder(port: HostPort) -> Holder {
    let tables = match port.protocol {
        Protocol::Tcp => ["/proc/self/net/tcp", "/proc/self/net/tcp6"],
        Protocol::Udp => ["/proc/self/net/udp", "/proc/self/net/udp6"],
    };
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port.port))
        .collect();
    own_process(&inodes).map_or(Holder::Stranger, |(pid, name)| Holder::Process { pid, name })
}

/// The inodes of the sockets that listen on a port, by `/proc/net/tcp` and `udp` (proc(5): the address is
/// `HEX:PORT`; the state 0A is `LISTEN`, and 07 that of a UDP socket without a peer).
pub(super) fn listeners(table: &str, port: u16) -> Vec<u64> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let listens = ["0A", "07"].contains(fields.get(3)?) && u16::from_str_radix(local, 16) == Ok(port);
        listens.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().filter_map(row).collect()
}

/// The first process that has one of the sockets open. Other users' descriptors cannot be read, and are passed over.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_process_of_ones_own_is_named_and_a_free_port_has_nobody() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let Holder::Process { pid, name } = holder(HostPort::tcp(port)) else { panic!("nobody has port {port}") };
        assert_eq!(pid, std::process::id());
        assert!(!name.is_empty());
        drop(listener);
        assert_eq!(holder(HostPort::tcp(port)), Holder::Stranger);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n   \
                     1: 0100007F:1F90 0100007F:9000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n   \
                     2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0\n";
        assert_eq!(listeners(table, 8080), [4711]);
    }
}
