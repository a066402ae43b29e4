//! Compares the settings that went to podman as they were written.

use crate::podman::{ContainerDetail, ContainerOption, ContainerSpec};

/// Whether a container has what was asked for. Of capabilities podman tells those that there are; of a namespace of the
/// container's own it tells that it is.
pub(super) fn has_option(
    option: ContainerOption,
    wanted: &[String],
    spec: &ContainerSpec,
    detail: &ContainerDetail,
) -> bool {
    let found = detail.options.get(option);
    let capabilities = detail.options.get(ContainerOption::CapAdd);
    let word = |values: &[String]| values.first().cloned().unwrap_or_default();
    match option {
        ContainerOption::User
        | ContainerOption::Hostname
        | ContainerOption::Init
        | ContainerOption::ReadOnly
        | ContainerOption::Privileged
        | ContainerOption::WorkingDir
        | ContainerOption::ShmSize => found == wanted,
        ContainerOption::GroupAdd | ContainerOption::Ulimits => wanted.iter().all(|one| found.contains(one)),
        // podman tells nothing of them: the kernel does.
        ContainerOption::Sysctls => true,
        ContainerOption::Tmpfs => wanted.iter().all(|wanted| found.iter().any(|found| is_tmpfs(wanted, found))),
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

/// Whether a tmpfs is where it was asked for and has the options that were asked for: podman adds some of its own.
fn is_tmpfs(wanted: &str, found: &str) -> bool {
    let [(path, options), (found_path, found_options)] =
        [wanted, found].map(|text| text.split_once(':').unwrap_or((text, "")));
    let has = |option: &str| found_options.split(',').any(|found| found == option);
    path == found_path.trim_end_matches('/') && options.split(',').filter(|option| !option.is_empty()).all(has)
}
