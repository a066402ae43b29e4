//! The commands that are timed: different launches of three services on a network.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::IMAGE;
use crate::bench::{BenchError, Result};

/// A command that is timed.
#[derive(Debug)]
pub(super) struct TimedCommand {
    /// Its name in the table.
    pub(super) name: &'static str,
    /// The command.
    pub(super) line: &'static str,
    /// The program that it needs, if that may be missing.
    program: Option<&'static str>,
}

impl TimedCommand {
    const fn new(name: &'static str, line: &'static str) -> Self {
        Self { name, line, program: None }
    }

    /// Whether its program is installed.
    pub(super) fn is_there(&self) -> bool {
        self.program.is_none_or(|program| Path::new(program).exists())
    }
}

/// Launches with only the image present. The first is the reference that the others are divided by.
pub(super) const COLD: [TimedCommand; 6] = [
    TimedCommand::new("airpods start", "airpods start --no-wait"),
    TimedCommand::new("the REST minimum", "/usr/local/libexec/airpods-lab rest-minimum"),
    TimedCommand::new("podman network create, podman run: side by side", "sh /tmp/parallel"),
    TimedCommand::new("the same, one after the other", "sh /tmp/sequential"),
    TimedCommand::new("podman network create, podman kube play", "sh /tmp/kube"),
    TimedCommand {
        name: "podman-compose up -d",
        line: "podman-compose -f /tmp/compose.yaml up -d",
        program: Some("/usr/bin/podman-compose"),
    },
];

/// airpods' own launches with only the image present, with and without a podman socket, and with
/// different numbers of services. The first is the reference that the others are divided by.
/// Everything is removed after each.
pub(super) const OWN: [TimedCommand; 5] = [
    TimedCommand::new("airpods start, three services", "airpods start --no-wait"),
    TimedCommand::new("the same by podman's socket", "airpods --config /tmp/socket.toml start --no-wait"),
    TimedCommand::new("in one pod", "airpods --config /tmp/pod.toml start --no-wait"),
    TimedCommand::new("ten services", "airpods --config /tmp/ten.toml start --no-wait"),
    TimedCommand::new("ten services, by podman's socket", "airpods --config /tmp/ten-socket.toml start --no-wait"),
];

/// Launches after `airpods stop`, which keeps containers, network and volumes.
pub(super) const STOPPED: [TimedCommand; 2] = [
    TimedCommand::new("airpods start, after a stop", "airpods start --no-wait"),
    TimedCommand::new("the same by podman's socket", "airpods --config /tmp/socket.toml start --no-wait"),
];

/// Commands while the services run and podman answers on [`SOCKET`], as on a user's systemd socket.
pub(super) const RUNNING: [TimedCommand; 8] = [
    TimedCommand::new("true: any process at all", "true"),
    TimedCommand::new("airpods --version", "airpods --version"),
    TimedCommand::new(
        "airpods start, nothing to do, by podman's socket",
        "airpods --config /tmp/socket.toml start --no-wait",
    ),
    TimedCommand::new("airpods status, by podman's socket", "airpods --config /tmp/socket.toml status"),
    TimedCommand::new("airpods start, nothing to do", "airpods start --no-wait"),
    TimedCommand::new("airpods status", "airpods status"),
    TimedCommand::new("podman ps", "podman ps"),
    TimedCommand::new("podman --version", "podman --version"),
];

/// The configuration of `airpods`.
pub(super) const CONFIG: &str = "/tmp/airpods.toml";

/// The socket of the running podman service.
pub(super) const SOCKET: &str = "/tmp/podman.sock";

/// Each service's name and port.
pub(super) const SERVICES: [(&str, u16); 3] = [("one", 7001), ("two", 7002), ("three", 7003)];

/// Writes the files that the commands read.
pub(super) fn write_files() -> Result<()> {
    let files = [
        (CONFIG, airpods("")),
        ("/tmp/socket.toml", format!("runtime.podman_url = \"unix://{SOCKET}\"\n{}", airpods(""))),
        ("/tmp/pod.toml", airpods("pod = \"bench\"\n")),
        ("/tmp/ten.toml", ten()),
        ("/tmp/ten-socket.toml", format!("runtime.podman_url = \"unix://{SOCKET}\"\n{}", ten())),
        ("/tmp/sequential", script("")),
        ("/tmp/parallel", script(" &")),
        ("/tmp/kube", KUBE.to_owned()),
        ("/tmp/kube.yaml", kube()),
        ("/tmp/compose.yaml", compose()),
    ];
    files.into_iter().try_for_each(|(path, text)| {
        fs::write(path, text).map_err(|source| BenchError::Io { doing: "write the contenders' files", source })
    })
}

fn ten() -> String {
    let names: Vec<String> = (1..=10).map(|number| format!("s{number}")).collect();
    services(names.iter().map(String::as_str).zip(7001..), "")
}

fn airpods(more: &str) -> String {
    services(SERVICES.into_iter(), more)
}

fn services<'a>(all: impl Iterator<Item = (&'a str, u16)>, more: &str) -> String {
    let built_in = ["ollama", "open-webui", "comfyui"].map(|name| format!("services.{name}.enabled = false\n"));
    all.fold(built_in.concat(), |mut text, (name, port)| {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[services.{name}]\nimage = \"{IMAGE}\"\nnetwork_aliases = [\"{name}\"]\n{more}\
             ports = [{{ host = {port}, container = {port} }}]\ncommand_args = [\"serve-http\", \"{port}\"]\n"
        );
        text
    })
}

fn script(end: &str) -> String {
    let runs = SERVICES.iter().fold(String::new(), |mut text, (name, port)| {
        let _ = writeln!(
            text,
            "podman run -d --name {name} --network bench --network-alias {name} -p {port}:{port} --pids-limit 2048 \
             --restart unless-stopped {IMAGE} serve-http {port}{end}"
        );
        text
    });
    format!("set -e\npodman network create bench\n{runs}wait\n")
}

/// `podman kube play --network` does not make the network.
const KUBE: &str = "set -e\npodman network create bench\npodman kube play --network bench /tmp/kube.yaml\n";

fn kube() -> String {
    SERVICES.iter().fold(String::new(), |mut text, (name, port)| {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  containers:\n  - name: {name}\n    \
             image: {IMAGE}\n    args: [serve-http, \"{port}\"]\n    ports: [{{ containerPort: {port}, hostPort: {port} }}]\n"
        );
        text
    })
}

fn compose() -> String {
    SERVICES.iter().fold("services:\n".to_owned(), |mut text, (name, port)| {
        let _ = write!(
            text,
            "  {name}:\n    image: {IMAGE}\n    command: [serve-http, \"{port}\"]\n    ports: [\"{port}:{port}\"]\n    \
             restart: unless-stopped\n    pids_limit: 2048\n"
        );
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_launches_the_same_three_services() {
        for text in [airpods(""), script(""), kube(), compose()] {
            for (name, port) in SERVICES {
                assert!(text.contains(name) && text.contains(&format!("{port}")), "{text}");
            }
            assert_eq!(text.matches(IMAGE).count(), 3, "{text}");
        }
        assert_eq!(script(" &").matches(" &\n").count(), 3);
    }
}
