//! The errors that end the execution of a plan, and the changes that remain.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::error::{Exit, Report, render};
use crate::home::HomeFault;
use crate::plan::Difference;
use crate::podman::PodmanError;
use crate::port::HostPort;
use crate::terminal::{Escaped, EscapedLine};

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The user or the system ended the command.
    #[error("interrupted")]
    Interrupted,

    /// Another program listens on a port that a service needs.
    #[error("`services.{service}.ports`: port {port} is in use by another program")]
    PortInUse {
        /// The service.
        service: String,
        /// The host's port.
        port: HostPort,
    },

    /// An image could not be pulled.
    #[error("`services.{service}.image`: the image `{image}` cannot be pulled{}", because(source, CAUSES_OF_PULLS))]
    Pull {
        /// The service.
        service: String,
        /// The image.
        image: String,
        /// podman's answer.
        source: PodmanError,
    },

    /// podman refused to create the network.
    #[error("`runtime.network`: the network `{name}` cannot be created{}", because(source, CAUSES))]
    Network {
        /// The network.
        name: String,
        /// podman's answer.
        source: PodmanError,
    },

    /// The subnet has no room for the fixed addresses that this podman needs.
    #[error("`runtime.network.subnet`: the network has too few addresses for the services")]
    SubnetTooSmall,

    /// A folder of ours cannot be created.
    #[error("`{place}`: the folder `{}` cannot be made", path.display())]
    Folder {
        /// The key of the setting.
        place: String,
        /// The folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },

    /// podman refused any other step.
    #[error("`{place}`: podman could not {what}{}", because(source, CAUSES))]
    Refused {
        /// The service's or the runtime's table.
        place: String,
        /// The step, as the plan shows it.
        what: String,
        /// podman's answer.
        source: PodmanError,
    },

    /// A container ended, or podman had to restart it.
    #[error("`services.{service}`: the container `{container}` {} while it was starting", ended(*code))]
    Ended {
        /// The service.
        service: String,
        /// Its container.
        container: String,
        /// Its exit code; none if podman has restarted it since.
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
        /// The health check, and its last answer.
        late: super::NotHealthyInTime,
    },

    /// The running container does not have the desired settings.
    #[error("{}", list(service, differences))]
    Differs {
        /// The service.
        service: String,
        /// The settings that differ.
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
    /// Whether the step may have been done although it failed.
    pub(super) fn outcome_unknown(&self) -> bool {
        match self {
            Self::Network { source, .. } | Self::Refused { source, .. } => source.outcome_unknown(),
            _ => false,
        }
    }

    /// podman's message, if podman gave the reason.
    fn podman_message(&self) -> Option<String> {
        match self {
            Self::Pull { source, .. } | Self::Network { source, .. } | Self::Refused { source, .. } => {
                Some(source.message())
            }
            _ => None,
        }
    }

    /// The end of the log of a container that ended.
    fn log_tail(&self) -> &[String] {
        match self {
            Self::Ended { log, .. } => log,
            _ => &[],
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
            Self::Ended { service, .. } => {
                Some(format!("see how it is run with `airpods config get services.{service}`"))
            }
            Self::Differs { .. } => Some("podman did not apply the setting; the container was removed".to_owned()),
            Self::Interrupted | Self::Folder { .. } => None,
        }
    }
}

/// A hint about a failed pull. Registries answer "denied" for an image that does not exist, so as
/// not to reveal private ones.
fn pull_hint(image: &str, source: &PodmanError) -> String {
    // podman says "permission denied" about files of this host, not about the registry.
    let message = source.message().to_ascii_lowercase().replace("permission denied", "");
    if !["unauthorized", "authentication required", "denied"].iter().any(|word| message.contains(word)) {
        return "check the name, and that the registry can be reached".to_owned();
    }
    // podman completes a name without a registry, and its message names the registry.
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

/// Texts in podman's messages, and the cause to print in the first line. A message begins with the
/// failed action and may end with podman's own reading of the cause.
type Causes = [(&'static [&'static str], &'static str)];

const CAUSES: &Causes = &[
    (&["no space left on device"], "no space is left on the disk"),
    (&["executable file"], "the image does not have the program"),
    (&["unresolvable cdi devices"], "a device is not described"),
];

const CAUSES_OF_PULLS: &Causes = &[
    (&["no space left on device"], "no space is left on the disk"),
    (&["x509:"], "the registry's certificate is not trusted"),
    (&["no such host", "server misbehaving"], "the registry's name does not resolve"),
    (&["connection refused"], "the registry refuses the connection"),
    (&["i/o timeout", "network is unreachable", "no route to host"], "the registry cannot be reached"),
    (&["manifest unknown", "name unknown"], "the registry does not have it"),
    (
        &["unauthorized", "authentication required", "requested access to the resource is denied"],
        "the registry denies access",
    ),
];

/// The cause for the first line, if the message has a known one.
fn because(source: &PodmanError, causes: &Causes) -> String {
    let message = source.message().to_ascii_lowercase();
    let known = causes.iter().find(|(words, _)| words.iter().any(|word| message.contains(word)));
    known.map_or_else(String::new, |(_, cause)| format!(": {cause}"))
}

/// The longest message of podman's that is printed, in characters. A longer one loses its middle,
/// because its ends hold the action and the cause.
const LONGEST: usize = 240;

fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= LONGEST {
        return text.to_owned();
    }
    let (start, end) = (LONGEST / 3, LONGEST - LONGEST / 3);
    let beginning: String = text.chars().take(start).collect();
    let rest: String = text.chars().skip(count - end).collect();
    format!("{beginning} … {rest}")
}

/// The error of a plan that was not completed.
#[derive(Debug)]
pub struct Aborted {
    /// The reason.
    pub cause: StepError,
    /// The changes that could not be undone, a sentence each; empty if the former state is
    /// restored.
    pub left: Vec<String>,
    /// The images that were pulled. They stay, because a pull is costly.
    pub pulled: Vec<String>,
    /// Print podman's message in full.
    detail: bool,
}

impl Aborted {
    pub(super) fn new(cause: StepError, left: Vec<String>, pulled: Vec<String>) -> Self {
        Self { cause, left, pulled, detail: false }
    }

    /// The same, with podman's message in full if `detail`.
    #[must_use]
    pub(super) fn in_detail(self, detail: bool) -> Self {
        Self { detail, ..self }
    }
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

    fn home_fault(&self) -> Option<HomeFault> {
        match &self.cause {
            StepError::Folder { path, .. } => HomeFault::of(path),
            _ => None,
        }
    }

    /// Prints the cause, podman's message or the end of the container's log, what is left, and the
    /// next command.
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        let message = self.cause.podman_message();
        let fault = self.home_fault();
        match (&message, &fault) {
            (None, Some(fault)) => writeln!(to, "error: {}", Escaped(&format!("{self}: {fault}")))?,
            (None, None) => render(self, None, to)?,
            // podman's message gets a line of its own below.
            (Some(_), _) => writeln!(to, "error: {}", Escaped(&self.to_string()))?,
        }
        if let Some(message) = message {
            let shown = if self.detail { message.clone() } else { shortened(&message) };
            writeln!(to, "podman: {}", EscapedLine(&shown))?;
            if shown != message {
                writeln!(to, "note: `--verbose` shows podman's answer in full")?;
            }
        }
        for line in self.cause.log_tail() {
            writeln!(to, "log: {}", EscapedLine(line))?;
        }
        if matches!(&self.cause, StepError::Ended { log, .. } if log.is_empty()) {
            writeln!(to, "log: nothing was written")?;
        }
        for left in &self.left {
            writeln!(to, "left: {}", EscapedLine(left))?;
        }
        for image in &self.pulled {
            writeln!(to, "left: the pulled image `{}`, which the next start uses", EscapedLine(image))?;
        }
        if self.left.is_empty() {
            let more = if self.pulled.is_empty() { "" } else { " else" };
            writeln!(to, "left: nothing{more}; services are as before")?;
        }
        match fault.map(|fault| fault.hint()).or_else(|| self.cause.hint().map(Cow::Owned)) {
            Some(hint) => writeln!(to, "hint: {}", Escaped(&hint)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_refused_pull_has_a_login_hint_and_a_file_error_has_none() {
        let hint =
            |image, message: &str| pull_hint(image, &PodmanError::Refused { status: 500, message: message.into() });
        let denied = "requested access to the resource is denied";
        assert!(hint("ghcr.io/open-webui/open-webui:main", denied).ends_with("`podman login ghcr.io`"));
        assert!(
            hint("localhost:5000/lab:1", "unauthorized: authentication required").contains("login localhost:5000`")
        );
        assert!(hint("ollama/ollama", denied).ends_with("`podman login`"));
        for message in ["mkdir /var/lib/containers: permission denied", "manifest unknown"] {
            assert!(!hint("ghcr.io/lab:1", message).contains("login"), "{message}");
        }
    }

    fn shown(message: &str, left: &[&str], detail: bool) -> Vec<String> {
        lines(message, left, &[], detail)
    }

    fn lines(message: &str, left: &[&str], pulled: &[&str], detail: bool) -> Vec<String> {
        let source = PodmanError::Refused { status: 500, message: message.to_owned() };
        let cause = StepError::Pull { service: "web".into(), image: "ghcr.io/lab/web:1".into(), source };
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let mut text = Vec::new();
        Aborted::new(cause, owned(left), owned(pulled)).in_detail(detail).render(&mut text).unwrap();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_failed_start_prints_cause_podmans_message_remains_and_hint_in_order() {
        let message = "pinging container registry ghcr.io: Get \"https://ghcr.io/v2/\": dial tcp: connection refused";
        let lines = shown(message, &["the volume `weights`: it is in use"], false);
        let cause = "error: `services.web.image`: the image `ghcr.io/lab/web:1` cannot be pulled: the registry refuses the connection";
        assert_eq!(lines[..3], [cause, &format!("podman: {message}"), "left: the volume `weights`: it is in use"]);
        assert!(lines[3].starts_with("hint: ") && lines.len() == 4, "{lines:?}");
        assert_eq!(shown(message, &[], false)[2], "left: nothing; services are as before");
    }

    #[test]
    fn an_image_that_was_pulled_is_left_and_named() {
        let lines = |left| lines("manifest unknown", left, &["docker.io/lab/model:1"], false);
        let pulled = "left: the pulled image `docker.io/lab/model:1`, which the next start uses";
        assert_eq!(lines(&[])[2..4], [pulled, "left: nothing else; services are as before"]);
        assert_eq!(lines(&["the pod `p`"])[2..4], ["left: the pod `p`", pulled]);
    }

    #[test]
    fn podmans_words_are_shortened_and_whole_in_detail() {
        let message = format!("copying system image: {}\nmanifest unknown", "layer ".repeat(100));
        let short = &shown(&message, &[], false)[1];
        assert!(short.starts_with("podman: copying system image: ") && short.ends_with("manifest unknown"), "{short}");
        assert!(short.chars().count() < LONGEST + 20, "{short}");
        let whole = &shown(&message, &[], true)[1];
        assert_eq!(*whole, format!("podman: {}", message.replace('\n', "\\n")));
    }
}
