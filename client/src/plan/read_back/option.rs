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
        | ContainerOption::ShmSize => found == wanted,
        ContainerOption::GroupAdd => wanted.iter().all(|group| found.contains(group)),
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
