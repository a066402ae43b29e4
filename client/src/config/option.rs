//! Reading the settings that go to podman as they are ([`crate::podman::ContainerOption`]), each into its one written form.

use super::name::NetworkAlias;
use super::quantity::Memory;
use super::section::{Mismatch, Read, Section, boolean, list, text};
use super::tree::Node;
use crate::podman::{ContainerOption, OPTION_ROWS, OptionShape, Options};

/// Reads all of a service.
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
            OptionShape::List => section.list_or(row.key, Vec::new(), list(one)),
        };
        options.set(row.option, values);
    }
    options
}

/// The one written form of a value.
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
        // They are on or not there.
        ContainerOption::Init | ContainerOption::ReadOnly => Ok(text.to_owned()),
    }
}

fn wrong(text: &str, what: &str) -> Mismatch {
    Mismatch::new(format_args!("`{text}` is not {what}"))
}

/// A name or number of a user or group, as passwd(5) and podman have them.
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

/// capabilities(7), with the prefix and in upper case, as podman reports them.
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

/// podman-run(1), `--security-opt`, with `=` where Docker has `:` as well.
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
        ] {
            for spelling in spellings {
                assert_eq!(normal(option, spelling).ok().as_deref(), Some(form), "{spelling}");
            }
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
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
        ] {
            assert!(normal(option, text).is_err(), "{option:?}: {text}");
        }
    }
}
