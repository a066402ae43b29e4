//! Reads a service's kernel parameters (sysctls): those that the kernel keeps for each network or
//! IPC namespace.

use super::section::{Mismatch, Read, list, text};
use super::tree::{Node, Table, Value};

/// The parameters of `kernel.` that belong to an IPC namespace, which podman takes (podman-run(1),
/// `--sysctl`).
const IPC_PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The network namespace has all parameters with this prefix.
const NETWORK_PREFIX: &str = "net.";

/// The IPC namespace has all parameters with this prefix: POSIX message queues.
const QUEUE_PREFIX: &str = "fs.mqueue.";

/// The namespace that a parameter belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Namespace {
    Network,
    Ipc,
}

/// The namespace of a parameter; `None` for one that the whole host shares.
pub(super) fn namespace(name: &str) -> Option<Namespace> {
    if name.starts_with(NETWORK_PREFIX) {
        Some(Namespace::Network)
    } else if name.starts_with(QUEUE_PREFIX) || IPC_PARAMETERS.contains(&name) {
        Some(Namespace::Ipc)
    } else {
        None
    }
}

/// `NAME=VALUE`, with single spaces in the value: the kernel separates several numbers by tabs.
pub(super) fn sysctl(text: &str) -> Read<String> {
    let wrong = || {
        Mismatch::new(format_args!("`{text}` is not a kernel parameter with its value"))
            .hint("such as `net.core.somaxconn=1024`")
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let name = name.trim();
    let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !name.split('.').all(fits) || value.is_empty() || value.chars().any(char::is_control) {
        return Err(wrong());
    }
    if namespace(name).is_none() {
        let message = format!("the whole host has `{name}` in common: a container cannot have it for itself");
        return Err(Mismatch::new(message).hint(format!(
            "there are `{NETWORK_PREFIX}*`, `{QUEUE_PREFIX}*`, `{}`; `sysctl -w` sets others on the host",
            IPC_PARAMETERS.join("`, `")
        )));
    }
    Ok(format!("{name}={value}"))
}

/// Texts such as `net.core.somaxconn=1024`, or a table. A part of a name may be a table of its own:
/// `net.core.somaxconn = 1024`.
pub(super) fn sysctls(node: &Node) -> Read<Vec<String>> {
    let found = match &node.value {
        Value::Table(table) => within(table, "")?,
        _ => list(|node| sysctl(text(node)?))(node)?,
    };
    let name = |one: &String| one.split('=').next().unwrap_or_default().to_owned();
    let names: Vec<String> = found.iter().map(name).collect();
    match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        Some((_, twice)) => Err(Mismatch::new(format!("`{twice}` is set twice"))),
        None => Ok(found),
    }
}

/// The parameters below a part of their names.
fn within(table: &Table, above: &str) -> Read<Vec<String>> {
    let mut found = Vec::new();
    for (key, entry) in table.iter() {
        let name = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        let one = match &entry.node.value {
            Value::Table(below) => within(below, &name),
            Value::Integer(number) => sysctl(&format!("{name}={number}")).map(|one| vec![one]),
            _ => text(&entry.node).and_then(|value| sysctl(&format!("{name}={value}"))).map(|one| vec![one]),
        };
        found.extend(one.map_err(|mismatch| mismatch.within(key, &entry.node.at))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_container_can_have_for_itself_is_taken() {
        for (given, taken) in [
            ("net.ipv4.ip_local_port_range=1024\t 65000", Some("net.ipv4.ip_local_port_range=1024 65000")),
            ("net.ipv4.conf.all.src_valid_mark=1", Some("net.ipv4.conf.all.src_valid_mark=1")),
            ("fs.mqueue.msg_max=64", Some("fs.mqueue.msg_max=64")),
            ("kernel.sem=250 32000 32 128", Some("kernel.sem=250 32000 32 128")),
            ("kernel.shmmax=68719476736", Some("kernel.shmmax=68719476736")),
            ("kernel.hostname=x", None),
            ("kernel.shm_next_id=1", None),
            ("vm.max_map_count=262144", None),
            ("fs.file-max=1", None),
            ("net.=1", None),
            ("net..core=1", None),
            ("net.core.../../vm=1", None),
            ("net.core.somaxconn=", None),
            ("net.core.somaxconn=1\u{1b}2", None),
        ] {
            assert_eq!(sysctl(given).ok().as_deref(), taken, "{given}");
        }
    }
}
