//! `airpods open`: opens a service's page in the browser.

use std::borrow::Cow;
use std::env;
use std::io::Write;

use serde_json::json;

use super::{Context, completions};
use crate::config::{Config, PodmanUrl, Service};
use crate::error::{Exit, Failure, Report};
use crate::execute;
use crate::plan::{self, container_made_for};
use crate::podman::{self, ContainerState, Podman};
use crate::port::HostPort;
use crate::terminal::{EscapedLine, print_json};

/// The arguments of `airpods open`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  airpods open open-webui\n  airpods open comfyui --print")]
pub struct Args {
    /// The service
    #[arg(value_name = "SERVICE", add = completions::services())]
    service: String,
    /// Print the address and open nothing
    #[arg(long)]
    print: bool,
    /// Print the address as JSON and open nothing
    #[arg(long)]
    json: bool,
}

/// The reason that nothing can be opened.
#[derive(Debug, thiserror::Error)]
enum NoPage {
    #[error("the service `{0}` publishes no TCP port on this host, so it has no page to open")]
    Unpublished(String),
    #[error("the service `{0}` does not run")]
    Stopped(String),
    #[error("no browser could be started for {url}")]
    NoBrowser {
        url: String,
        #[source]
        cause: std::io::Error,
    },
}

impl Report for NoPage {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Unpublished(name) => {
                format!("`services.{name}.ports` publishes some, such as `[\"8080:80\"]`").into()
            }
            Self::Stopped(name) => format!("start it: `airpods start {name}`").into(),
            Self::NoBrowser { url, .. } => format!("open {url} in a browser yourself").into(),
        })
    }
}

/// Runs `airpods open`.
///
/// # Errors
/// Those of the configuration, of reaching podman and of starting a browser. Also a service that
/// has no page or does not run.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let config = context.load_config()?.config;
    let chosen = plan::chosen(&config, std::slice::from_ref(&args.service), true)?;
    let (name, service) = chosen[0];
    let url = page(&config, service).ok_or_else(|| NoPage::Unpublished(args.service.clone()))?;
    let mut interrupt = std::pin::pin!(execute::interrupted());
    let running = execute::interruptible(interrupt.as_mut(), runs(&config, name.as_str(), service)).await??;
    if args.json {
        print_json(&json!({ "service": args.service, "url": url, "running": running }))?;
        return Ok(Exit::Done);
    }
    writeln!(anstream::stdout(), "{}", EscapedLine(&url))?;
    if args.print {
        return Ok(Exit::Done);
    }
    if !running {
        return Err(NoPage::Stopped(args.service).into());
    }
    if has_display(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        open::that_detached(&url).map_err(|cause| NoPage::NoBrowser { url, cause })?;
    }
    Ok(Exit::Done)
}

async fn runs(config: &Config, name: &str, service: &Service) -> Result<bool, Failure> {
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let containers = connection.podman.containers().await?;
    let container = container_made_for(name, Some(service.container.as_str()), &containers);
    Ok(container.is_some_and(|container| container.state == ContainerState::Running))
}

/// The address of a service's page on this host: that of its first TCP port, if it publishes one.
#[must_use]
pub(super) fn page(config: &Config, service: &Service) -> Option<String> {
    config.reached_by(service).map(HostPort::url)
}

/// Whether the session has a graphical display. Over ssh there is usually none.
fn has_display(is_set: impl Fn(&str) -> bool) -> bool {
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::config;

    #[test]
    fn a_page_is_at_the_first_tcp_port_that_the_host_has() {
        let cases = [
            ("ports = [\"4000:8080\"]", Some("http://localhost:4000/")),
            ("ports = [\"53:53/udp\", \"4001:80\"]", Some("http://localhost:4001/")),
            ("ports = [\"127.0.0.1:4002:80\"]", Some("http://localhost:4002/")),
            ("ports = [\"192.0.2.7:4003:80\"]", Some("http://192.0.2.7:4003/")),
            ("ports = [\"53:53/udp\"]", None),
            ("ports = []", None),
        ];
        for (ports, url) in cases {
            let config = config(&format!("[services.web]\nimage = \"localhost/web:latest\"\n{ports}\n"));
            let (_, service) = config.services.iter().find(|(name, _)| name.as_str() == "web").unwrap();
            assert_eq!(page(&config, service).as_deref(), url, "{ports}");
        }
    }

    #[test]
    fn a_browser_is_started_only_where_there_is_a_screen() {
        assert!(has_display(|name| name == "WAYLAND_DISPLAY"));
        assert!(has_display(|name| name == "DISPLAY"));
        assert!(!has_display(|name| name == "SSH_TTY"));
    }
}
