//! Reads the settings that podman takes as they are ([`crate::podman::ContainerOption`]), each in
//! its normal form.

use super::name::NetworkAlias;
use super::quantity::Memory;
use super::section::{Mismatch, Read, Section, boolean, entries, list, text};
use super::tree::{Node, Table, Value};
use crate::podman::{ContainerOption, OPTION_ROWS, OptionShape, Options};

/// Reads all such settings of a service.
pub(super) fn options(section: &Section<'_>) -> Options {
    let mut options = Options::default();
    for row in &OPTION_ROWS {
        let one = |node: &Node| normal(row.option, text(node)?);
        let values = match row.shape {
            OptionShape::Switch => {
                let on = section.or(row.key, false, boolean);
                on.then(|| "true".to_owned()).into_iter().collect()
            }
            OptionShape::Text => section.optional(row.key, one).into_iter().collect(),
            OptionShape::List if row.option == ContainerOption::Ulimits => {
                section.may_be_list(row.key);
                section.or(row.key, Vec::new(), ulimits)
            }
            OptionShape::List if row.option == ContainerOption::Sysctls => {
                section.may_be_list(row.key);
                section.or(row.key, Vec::new(), sysctls)
            }
            OptionShape::List => section.list_or(row.key, Vec::new(), list(one)),
        };
        options.set(row.option, values);
    }
    options
}

/// The normal form of a value, so that two spellings compare as equal.
fn normal(option: ContainerOption, text: &str) -> Read<String> {
    match option {
        ContainerOption::User => user(text),
        ContainerOption::Userns => user_namespace(text),
        ContainerOption::GroupAdd => {
            is_account(text).then(|| text.to_owned()).ok_or_else(|| wrong(text, "a group, such as `video` or `44`"))
        }
        ContainerOption::Hostname => text.parse::<NetworkAlias>().map(|name| name.to_string()).map_err(Mismatch::new),
        ContainerOption::Ipc => match text {
            "host" | "private" | "shareable" | "none" => Ok(text.to_owned()),
            _ => Err(wrong(text, "one of `host`, `private`, `shareable` and `none`")),
        },
        ContainerOption::ShmSize => text.parse::<Memory>().map(|size| size.to_string()).map_err(Mismatch::new),
        ContainerOption::CapAdd | ContainerOption::CapDrop => capability(text),
        ContainerOption::SecurityOpt => security_option(text),
        ContainerOption::WorkingDir => working_dir(text),
        ContainerOption::Tmpfs => tmpfs(text),
        ContainerOption::Ulimits => ulimit(text),
        ContainerOption::Sysctls => sysctl(text),
        // Switches are on or absent.
        ContainerOption::Init | ContainerOption::ReadOnly | ContainerOption::Privileged => Ok(text.to_owned()),
    }
}

fn wrong(text: &str, what: &str) -> Mismatch {
    Mismatch::new(format_args!("`{text}` is not {what}"))
}

/// A name or number of a user or group, as passwd(5) and podman allow it.
fn is_account(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(fits)
}

fn user(text: &str) -> Read<String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if is_account(user) && group.is_none_or(is_account) {
        Ok(text.to_owned())
    } else {
        Err(wrong(text, "a user, such as `1000`, `1000:1000` or `node`"))
    }
}

fn user_namespace(text: &str) -> Read<String> {
    let (mode, options) = text.split_once(':').map_or((text, None), |(mode, options)| (mode, Some(options)));
    let is_option = |option: &str| {
        let number = option.strip_prefix("uid=").or_else(|| option.strip_prefix("gid="));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let fits = match (mode, options) {
        ("host" | "auto" | "nomap" | "keep-id", None) => true,
        ("keep-id", Some(options)) => options.split(',').all(is_option),
        _ => false,
    };
    if fits {
        Ok(text.to_owned())
    } else {
        Err(wrong(text, "one of `host`, `auto`, `nomap` and `keep-id`").hint("such as `keep-id:uid=1000,gid=1000`"))
    }
}

/// A capability (capabilities(7)), with the prefix and in upper case, as podman reports it.
fn capability(text: &str) -> Read<String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    match name {
        "ALL" => Ok(name.to_owned()),
        name if fits => Ok(format!("CAP_{name}")),
        _ => Err(wrong(text, "a capability, such as `SYS_PTRACE`")),
    }
}

/// podman-run(1), `--security-opt`. Accepts `:` in place of `=`, as Docker does.
fn security_option(text: &str) -> Read<String> {
    let (key, value) = match text.find(['=', ':']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None | Some("true")) => Ok(key.to_owned()),
        ("seccomp" | "apparmor" | "label" | "mask" | "unmask", Some(value)) if !value.is_empty() => {
            Ok(format!("{key}={value}"))
        }
        _ => Err(wrong(text, "a security option")
            .hint("there are `no-new-privileges`, `seccomp=`, `apparmor=`, `label=`, `mask=` and `unmask=`")),
    }
}

/// An absolute path in a container, without a trailing slash.
fn container_path(text: &str) -> Option<&str> {
    let path = text.trim_end_matches('/');
    let goes_up = path.split('/').any(|part| part == "..");
    (path.starts_with('/') && !goes_up && !path.contains(['\0', ':', ','])).then_some(path)
}

fn working_dir(text: &str) -> Read<String> {
    let path = if text == "/" { Some(text) } else { container_path(text) };
    path.map(ToOwned::to_owned).ok_or_else(|| wrong(text, "an absolute path in a container"))
}

/// `PATH[:OPTION,…]` (podman-run(1), `--tmpfs`).
fn tmpfs(text: &str) -> Read<String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let Some(path) = container_path(path) else {
        return Err(
            wrong(text, "an absolute path in a container, with options or without").hint("such as `/cache:size=1g`")
        );
    };
    let fits = |option: &str| match option.split_once('=') {
        Some(("size", size)) => size.parse::<Memory>().is_ok(),
        Some(("mode", mode)) => u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777),
        Some(_) => false,
        None => matches!(option, "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "notmpcopyup"),
    };
    let options: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
    match options.iter().find(|option| !fits(option)) {
        Some(option) => {
            Err(wrong(option, "an option of a tmpfs").hint("such as `size=1g`, `mode=1777`, `noexec` or `ro`"))
        }
        None if options.is_empty() => Ok(path.to_owned()),
        None => Ok(format!("{path}:{}", options.join(","))),
    }
}

/// The limits that podman has names for (podman-run(1), `--ulimit`; getrlimit(2)).
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `NAME=SOFT[:HARD]`; -1 or `unlimited` is no limit.
fn ulimit(text: &str) -> Read<String> {
    let wrong = || wrong(text, "a limit").hint("such as `nofile=65536`, `nofile=1024:65536` or `memlock=-1`");
    let number = |text: &str| match text {
        "-1" | "unlimited" => Some(u64::MAX),
        _ => text.parse::<u64>().ok(),
    };
    let (name, bounds) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = bounds.split_once(':').unwrap_or((bounds, bounds));
    let (soft, hard) = number(soft).zip(number(hard)).filter(|(soft, hard)| soft <= hard).ok_or_else(wrong)?;
    if !LIMITS.contains(&name) {
        return Err(Mismatch::new(format_args!("`{name}` is no name of a limit"))
            .hint(format!("there are `{}`", LIMITS.join("`, `"))));
    }
    let shown = |bound: u64| if bound == u64::MAX { "-1".to_owned() } else { bound.to_string() };
    Ok(format!("{name}={}:{}", shown(soft), shown(hard)))
}

/// Texts such as `nofile=1024:65536`, or a table in compose's form:
/// `{ nofile = 65536, memlock = { soft = -1, hard = -1 } }`.
fn ulimits(node: &Node) -> Read<Vec<String>> {
    if matches!(node.value, Value::Array(_)) {
        return list(|node| ulimit(text(node)?))(node);
    }
    let bound = |node: &Node| match &node.value {
        Value::Integer(number) => Ok(number.to_string()),
        _ => Ok(text(node)?.to_owned()),
    };
    let limits = entries(node, |name, node| {
        let Value::Table(table) = &node.value else { return ulimit(&format!("{name}={}", bound(node)?)) };
        if let Some((key, entry)) = table.iter().find(|(key, _)| !matches!(*key, "soft" | "hard")) {
            return Err(Mismatch::new("`soft` and `hard` are all that can be said here").within(key, &entry.key_at));
        }
        match (table.get("soft"), table.get("hard")) {
            (Some(soft), Some(hard)) => ulimit(&format!("{name}={}:{}", bound(soft)?, bound(hard)?)),
            _ => Err(Mismatch::new("both `soft` and `hard` are needed here").hint("one number stands for both")),
        }
    })?;
    Ok(limits.into_iter().map(|(_, limit)| limit).collect())
}

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
pub(super) enum SysctlNamespace {
    Network,
    Ipc,
}

/// The namespace of a parameter; `None` for one that the whole host shares.
pub(super) fn sysctl_namespace(name: &str) -> Option<SysctlNamespace> {
    if name.starts_with(NETWORK_PREFIX) {
        Some(SysctlNamespace::Network)
    } else if name.starts_with(QUEUE_PREFIX) || IPC_PARAMETERS.contains(&name) {
        Some(SysctlNamespace::Ipc)
    } else {
        None
    }
}

/// A kernel parameter, `NAME=VALUE`, with single spaces in the value: the kernel separates several
/// numbers by tabs.
fn sysctl(text: &str) -> Read<String> {
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
    if sysctl_namespace(name).is_none() {
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
fn sysctls(node: &Node) -> Read<Vec<String>> {
    let found = match &node.value {
        Value::Table(table) => sysctls_within(table, "")?,
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
fn sysctls_within(table: &Table, above: &str) -> Read<Vec<String>> {
    let mut found = Vec::new();
    for (key, entry) in table.iter() {
        let name = if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") };
        let one = match &entry.node.value {
            Value::Table(below) => sysctls_within(below, &name),
            Value::Integer(number) => sysctl(&format!("{name}={number}")).map(|one| vec![one]),
            _ => text(&entry.node).and_then(|value| sysctl(&format!("{name}={value}"))).map(|one| vec![one]),
        };
        found.extend(one.map_err(|mismatch| mismatch.within(key, &entry.node.at))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
