//! `airpods version`: the versions of all programs involved, for a bug report.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::config::{self, PodmanUrl};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::helper_link::{HelperState, helper_state};
use crate::podman::{self, Podman};
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods version --json")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The installed programs and their versions.
#[derive(Debug)]
struct Versions {
    helper: HelperState,
    /// Its version and whether it is rootless, or the reason that it cannot be reached.
    podman: Result<(String, bool), String>,
    kernel: Option<String>,
}

/// Runs `airpods version`. A version that cannot be determined is reported as such, and is no
/// failure.
///
/// # Errors
/// Those of standard output.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let mut interrupt = std::pin::pin!(execute::interrupted());
    let versions = execute::interruptible(interrupt.as_mut(), read_versions(context)).await?;
    if args.json {
        print_json(&versions.to_json())?;
    } else {
        versions.lines().iter().try_for_each(|line| writeln!(anstream::stdout(), "{}", EscapedLine(line)))?;
    }
    Ok(Exit::Done)
}

async fn read_versions(context: &Context) -> Versions {
    // An invalid configuration is not reported here: every other command does that.
    let socket = config::load(&context.environment, context.config.as_deref())
        .ok()
        .and_then(|loaded| loaded.config.runtime.podman_url.as_ref().map(PodmanUrl::socket).map(ToOwned::to_owned));
    let podman = async {
        match podman::connect(socket.as_deref()).await {
            Ok(connection) => Ok((connection.podman.version_text().to_owned(), connection.podman.is_rootless())),
            Err(error) => Err(error.to_string()),
        }
    };
    let (helper, podman) = futures_util::future::join(helper_state(), podman).await;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    Versions { helper, podman, kernel: kernel.ok().map(|release| release.trim().to_owned()) }
}

impl Versions {
    fn lines(&self) -> Vec<String> {
        let helper = match &self.helper {
            HelperState::Running(version) => format!("airpods-helper {version}"),
            HelperState::Idle => "airpods-helper does not run; it is started when it is needed".to_owned(),
            HelperState::NotInstalled => "airpods-helper is not installed".to_owned(),
            HelperState::Unknown => "airpods-helper: the system bus does not answer".to_owned(),
        };
        let podman = match &self.podman {
            Ok((version, rootless)) => format!("podman {version}, {}", if *rootless { "rootless" } else { "rootful" }),
            Err(why) => format!("podman: {why}"),
        };
        let kernel = self.kernel.as_deref().unwrap_or("of unknown version");
        vec![format!("airpods {}", env!("CARGO_PKG_VERSION")), helper, podman, format!("Linux {kernel}")]
    }

    fn to_json(&self) -> Value {
        let (state, version) = match &self.helper {
            HelperState::Running(version) => ("running", Some(version)),
            HelperState::Idle => ("idle", None),
            HelperState::NotInstalled => ("not installed", None),
            HelperState::Unknown => ("unknown", None),
        };
        let podman = match &self.podman {
            Ok((version, rootless)) => json!({ "version": version, "rootless": rootless }),
            Err(why) => json!({ "version": null, "error": why }),
        };
        json!({
            "airpods": env!("CARGO_PKG_VERSION"),
            "helper": { "state": state, "version": version },
            "podman": podman,
            "kernel": self.kernel,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_reported_and_is_null_in_json() {
        let nothing =
            Versions { helper: HelperState::Idle, podman: Err("podman is not installed".into()), kernel: None };
        assert_eq!(nothing.lines()[1], "airpods-helper does not run; it is started when it is needed");
        assert_eq!(nothing.lines()[2], "podman: podman is not installed");
        let json = nothing.to_json();
        assert_eq!((&json["helper"]["version"], &json["podman"]["version"]), (&Value::Null, &Value::Null));
        let podman = Ok(("4.3.1".to_owned(), true));
        let all = Versions { helper: HelperState::Running("0.1.0".into()), podman, kernel: Some("6.18.1".into()) };
        assert_eq!(all.lines()[1..], ["airpods-helper 0.1.0", "podman 4.3.1, rootless", "Linux 6.18.1"]);
    }
}
