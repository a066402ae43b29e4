//! Reads the settings that podman takes as they are ([`crate::podman::ContainerOption`]), each in
//! its normal form.

use super::name::NetworkAlias;
use super::quantity::Memory;
use super::section::{Mismatch, Read, Section, boolean, entries, list, text};
use super::sysctl::{sysctl, sysctls};
use super::tree::{Node, Value};
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_value_comes_to_one_form() {
        use ContainerOption as O;
        for (option, spellings, form) in [
            (O::CapAdd, &["sys_ptrace", "SYS_PTRACE", "CAP_SYS_PTRACE", "cap_sys_ptrace"][..], "CAP_SYS_PTRACE"),
            (O::CapDrop, &["all", "ALL"], "ALL"),
            (
                O::SecurityOpt,
                &["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"],
                "no-new-privileges",
            ),
            (O::SecurityOpt, &["label:disable", "label=disable"], "label=disable"),
            (O::SecurityOpt, &["label=type:container_runtime_t"], "label=type:container_runtime_t"),
            (O::ShmSize, &["1g", "1024M", "1073741824", "1GB"], "1g"),
            (O::Userns, &["keep-id:uid=1000,gid=1000"], "keep-id:uid=1000,gid=1000"),
            (O::GroupAdd, &["keep-groups"], "keep-groups"),
            (O::User, &["1000:1000"], "1000:1000"),
            (O::WorkingDir, &["/app", "/app/"], "/app"),
            (O::Tmpfs, &["/cache", "/cache/", "/cache:"], "/cache"),
            (O::Tmpfs, &["/cache:size=64m,mode=1777,noexec"], "/cache:size=64m,mode=1777,noexec"),
            (O::Ulimits, &["nofile=65536", "nofile=65536:65536"], "nofile=65536:65536"),
            (O::Ulimits, &["memlock=-1", "memlock=unlimited", "memlock=-1:-1"], "memlock=-1:-1"),
            (O::Sysctls, &["net.core.somaxconn=1024", " net.core.somaxconn = 1024 "], "net.core.somaxconn=1024"),
        ] {
            for spelling in spellings {
                assert_eq!(normal(option, spelling).ok().as_deref(), Some(form), "{spelling}");
            }
        }
    }

    #[test]
    fn an_invalid_value_is_refused() {
        use ContainerOption as O;
        for (option, text) in [
            (O::User, ""),
            (O::User, "a b"),
            (O::User, "1000:"),
            (O::Userns, "keep-id:size=1"),
            (O::Userns, "private"),
            (O::Ipc, "container:x"),
            (O::ShmSize, "much"),
            (O::CapAdd, "SYS-PTRACE"),
            (O::SecurityOpt, "seccomp="),
            (O::SecurityOpt, "no-new-privileges:false"),
            (O::SecurityOpt, "writable-cgroups=true"),
            (O::Hostname, "two words"),
            (O::GroupAdd, "-x"),
            (O::WorkingDir, "app"),
            (O::WorkingDir, "/app/../x"),
            (O::Tmpfs, "cache"),
            (O::Tmpfs, "/"),
            (O::Tmpfs, "/cache:size=much"),
            (O::Tmpfs, "/cache:uid=1000"),
            (O::Ulimits, "nofile"),
            (O::Ulimits, "nofile=2:1"),
            (O::Ulimits, "nofile=-1:1"),
            (O::Ulimits, "files=1"),
            (O::Sysctls, "net.core.somaxconn"),
            (O::Sysctls, "vm.overcommit_memory=1"),
        ] {
            assert!(normal(option, text).is_err(), "{option:?}: {text}");
        }
    }
}
