//! Why the execution of a plan ended early, and what is left of it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::error::Report;
use crate::exit::Exit;
use crate::plan::Difference;
use crate::podman::PodmanError;
use crate::port::HostPort;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The user or the system asked to end.
    #[error("interrupted")]
    Interrupted,

    /// Some program listens on a port that a service needs.
    #[error("`services.{service}.ports`: port {port} is in use by another program")]
    PortInUse {
        /// The service.
        service: String,
        /// The host's port.
        port: HostPort,
    },

    /// An image did not come.
    #[error("`services.{service}.image`: the image `{image}` cannot be pulled: {}", source.message())]
    Pull {
        /// The service.
        service: String,
        /// The image.
        image: String,
        /// Podman's answer.
        source: PodmanError,
    },

    /// podman refused to make the network.
    #[error("`runtime.network`: the network `{name}` cannot be created: {}", source.message())]
    Network {
        /// The network.
        name: String,
        /// Podman's answer.
        source: PodmanError,
    },

    /// The subnet has no room for the fixed addresses that this podman needs.
    #[error("`runtime.network.subnet`: the network has too few addresses for the services")]
    SubnetTooSmall,

    /// A folder of ours cannot be made.
    #[error("`{place}`: the folder `{}` cannot be made", path.display())]
    Folder {
        /// The key.
        place: String,
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// podman refused any other step.
    #[error("`{place}`: podman could not {what}: {}", source.message())]
    Refused {
        /// The service's or the runtime's table.
        place: String,
        /// The step, as the plan shows it.
        what: String,
        /// Podman's answer.
        source: PodmanError,
    },

    /// A container ended instead of serving.
    #[error("`services.{service}`: the container `{container}` {} while it was starting", ended(*code))]
    Ended {
        /// The service.
        service: String,
        /// Its container.
        container: String,
        /// Its exit code, unless podman has started it again since.
        code: Option<i32>,
        /// The end of its log.
        log: Vec<String>,
    },

    /// A service that another one waits for did not become healthy.
    #[error(
        "`services.{}`: it did not answer {} within {} s, and another service waits until it is healthy: {}",
        late.service, late.asked, late.waited.as_secs(), late.last
    )]
    NotHealthy {
        /// How it was asked, and what it said.
        late: super::Late,
    },

    /// What runs is not what was asked for.
    #[error("{}", list(service, differences))]
    Differs {
        /// The service.
        service: String,
        /// Each setting.
        differences: Vec<Difference>,
    },
}

fn ended(code: Option<i32>) -> String {
    code.map_or_else(|| "ended and was restarted by podman".to_owned(), |code| format!("ended with exit code {code}"))
}

fn list(service: &str, differences: &[Difference]) -> String {
    let one = |difference: &Difference| format!("`{}`: {difference}", difference.setting.place(service));
    differences.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl StepError {
    /// Whether the step may have been done all the same.
    pub(super) fn leaves_open(&self) -> bool {
        match self {
            Self::Network { source, .. } | Self::Refused { source, .. } => source.leaves_open(),
            _ => false,
        }
    }

    fn hint(&self) -> Option<String> {
        let owned = |hint: Option<Cow<'static, str>>| hint.map(Cow::into_owned);
        match self {
            Self::PortInUse { service, port } => Some(format!(
                "see who has it with `ss -lntup sport = :{}`, or set another `host` in `services.{service}.ports`",
                port.port
            )),
            Self::Pull { image, source, .. } => Some(pull_hint(image, source)),
            Self::Network { source, .. } => network_hint(source).or_else(|| owned(source.hint())),
            Self::NotHealthy { late } => Some(format!(
                "see what it says with `airpods start {0}` and `airpods logs {0}`; `cli.startup_timeout` is how long it has",
                late.service
            )),
            Self::SubnetTooSmall => Some("choose a larger subnet, such as a /24".to_owned()),
            Self::Refused { source, .. } => refusal_hint(source).or_else(|| owned(source.hint())),
            Self::Ended { log, .. } if log.is_empty() => Some("it wrote nothing into its log".to_owned()),
            Self::Ended { log, .. } => Some(format!("its last words were:\n{}", log.join("\n"))),
            Self::Differs { .. } => Some("podman did not apply the setting; the container was removed".to_owned()),
            Self::Interrupted | Self::Folder { .. } => None,
        }
    }
}

/// Registries say of an image that is not there that it may not be seen, lest anybody find out what others have.
fn pull_hint(image: &str, source: &PodmanError) -> String {
    // It is this machine that says the latter, about its own files.
    let said = source.message().to_ascii_lowercase().replace("permission denied", "");
    if !["unauthorized", "authentication required", "denied"].iter().any(|word| said.contains(word)) {
        return "check the name, and that the registry can be reached".to_owned();
    }
    // A name without a registry has been completed by podman, and names it in what it says.
    let registry = image.split_once('/').map(|(first, _)| first).filter(|first| first.contains(['.', ':']));
    let login = registry.map_or_else(|| "podman login".to_owned(), |registry| format!("podman login {registry}"));
    format!("check the name; if the image is not public, log in with `{login}`")
}

fn network_hint(source: &PodmanError) -> Option<String> {
    source.message().contains("already used").then(|| {
        "choose a `runtime.network.subnet` that neither this host nor another network of podman uses".to_owned()
    })
}

fn refusal_hint(source: &PodmanError) -> Option<String> {
    source.message().contains("unresolvable CDI devices").then(|| {
        "describe the device with `nvidia-ctk cdi generate`, or set `runtime.gpu_device_flag = \"none\"`".to_owned()
    })
}

/// A plan whose execution ended early.
#[derive(Debug)]
pub struct Aborted {
    /// Why.
    pub cause: StepError,
    /// The changes that could not be undone, a sentence each; empty if the former state is restored.
    pub left: Vec<String>,
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Aborted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.cause)
    }
}

impl Report for Aborted {
    fn exit(&self) -> Exit {
        if matches!(self.cause, StepError::Interrupted) { Exit::Interrupted } else { Exit::Failed }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let mut lines: Vec<String> = self.left.iter().map(|left| format!("left behind: {left}")).collect();
        lines.extend(self.cause.hint());
        (!lines.is_empty()).then(|| Cow::Owned(lines.join("\nhint: ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_is_told_where_to_log_in_and_whose_files_are_closed_is_not() {
        let hint = |image, said: &str| pull_hint(image, &PodmanError::Refused { status: 500, message: said.into() });
        let denied = "requested access to the resource is denied";
        assert!(hint("ghcr.io/open-webui/open-webui:main", denied).ends_with("`podman login ghcr.io`"));
        assert!(
            hint("localhost:5000/lab:1", "unauthorized: authentication required").contains("login localhost:5000`")
        );
        assert!(hint("ollama/ollama", denied).ends_with("`podman login`"));
        for said in ["mkdir /var/lib/containers: permission denied", "manifest unknown"] {
            assert!(!hint("ghcr.io/lab:1", said).contains("login"), "{said}");
        }
    }
}
