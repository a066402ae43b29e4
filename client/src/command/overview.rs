//! `airpods` without a command: the present state and the next command, in five lines.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;

use super::status::ServiceState;
use super::{Context, open};
use crate::config::{self, Config, PodmanUrl, Service, ServiceName};
use crate::error::{Exit, Failure};
use crate::execute;
use crate::plan::container_made_for;
use crate::podman::{self, Podman};
use crate::terminal::EscapedLine;

/// How long podman may take to list its containers. The overview has to appear quickly.
const PODMAN: Duration = Duration::from_secs(10);

/// The state that the overview shows.
#[derive(Debug)]
struct Overview {
    /// The configuration file; none if the built-in defaults apply.
    file: Option<PathBuf>,
    /// The enabled services, or an error if the configuration is invalid.
    services: Result<Vec<ServiceSummary>, NoConfig>,
    /// The reason that podman cannot be reached.
    no_podman: Option<String>,
}

/// The configuration is invalid; `config validate` prints the errors.
#[derive(Debug)]
struct NoConfig;

impl Default for Overview {
    fn default() -> Self {
        Self { file: None, services: Ok(Vec::new()), no_podman: None }
    }
}

/// One service.
#[derive(Debug)]
struct ServiceSummary {
    name: String,
    state: ServiceState,
    has_page: bool,
}

/// Runs `airpods`. A fact that cannot be determined is shown as unknown, and is no failure.
///
/// # Errors
/// Those of standard output, and Ctrl-C.
pub async fn run(context: &Context) -> Result<Exit, Failure> {
    let mut interrupt = std::pin::pin!(execute::interrupted());
    let overview = execute::interruptible(interrupt.as_mut(), read_overview(context)).await?;
    let mut out = anstream::stdout();
    lines(&overview).iter().try_for_each(|line| writeln!(out, "{}", EscapedLine(line)))?;
    Ok(Exit::Done)
}

async fn read_overview(context: &Context) -> Overview {
    let Ok(loaded) = config::load(&context.environment, context.config.as_deref()) else {
        return Overview { services: Err(NoConfig), ..Overview::default() };
    };
    let config = loaded.config;
    let (services, no_podman) = match tokio::time::timeout(PODMAN, services(&config)).await {
        Ok(Ok(services)) => (services, None),
        Ok(Err(error)) => (Vec::new(), Some(error)),
        Err(_) => (Vec::new(), Some(format!("podman has not answered within {} s", PODMAN.as_secs()))),
    };
    Overview { file: loaded.file, services: Ok(services), no_podman }
}

async fn services(config: &Config) -> Result<Vec<ServiceSummary>, String> {
    let socket = config.runtime.podman_url.as_ref().map(PodmanUrl::socket);
    let connection = podman::connect(socket).await.map_err(|error| error.to_string())?;
    let podman = &connection.podman;
    let containers = podman.containers().await.map_err(|error| error.to_string())?;
    let summary = async |(name, service): (&ServiceName, &Service)| {
        let container = container_made_for(name.as_str(), Some(service.container.as_str()), &containers);
        let state = ServiceState::of(podman, Some(service), container).await;
        ServiceSummary { name: name.to_string(), state, has_page: open::page(config, service).is_some() }
    };
    Ok(join_all(config.enabled().map(summary)).await)
}

/// The lines of the overview.
fn lines(overview: &Overview) -> [String; 5] {
    let (services, next) = judge(overview);
    let configuration = match (&overview.services, &overview.file) {
        (Err(NoConfig), _) => "has errors".to_owned(),
        (_, Some(file)) => file.display().to_string(),
        (_, None) => "built-in defaults; `airpods config init` writes a file to change".to_owned(),
    };
    [
        "airpods runs local AI services in podman containers that work behind a VPN".to_owned(),
        format!("configuration: {configuration}"),
        format!("services:      {services}"),
        format!("next:          {next}"),
        "all commands:  airpods --help".to_owned(),
    ]
}

/// The services' states in words, and the next command.
fn judge(overview: &Overview) -> (String, String) {
    let Ok(services) = &overview.services else {
        return ("not known".to_owned(), "airpods config validate".to_owned());
    };
    if let Some(why) = &overview.no_podman {
        return (format!("not known: {why}"), "airpods doctor".to_owned());
    }
    let names = |which: fn(ServiceState) -> bool| {
        let names: Vec<&str> = services.iter().filter(|one| which(one.state)).map(|one| one.name.as_str()).collect();
        names.join(", ")
    };
    let parts = [
        ("running", names(ServiceState::runs)),
        ("failed", names(ServiceState::has_failed)),
        ("not running", names(|state| !state.is_as_wanted() && !state.has_failed())),
    ];
    let states: Vec<String> =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}: {names}")).collect();
    let states = if states.is_empty() { "none is enabled".to_owned() } else { states.join("; ") };
    let page = services.iter().rev().find(|one| one.state.runs() && one.has_page);
    let next = match page {
        _ if services.is_empty() => "airpods config edit".to_owned(),
        _ if services.iter().any(|one| one.state.has_failed()) => "airpods doctor".to_owned(),
        _ if !services.iter().all(|one| one.state.is_as_wanted()) => "airpods start".to_owned(),
        Some(one) => format!("airpods open {}", one.name),
        None => "airpods status".to_owned(),
    };
    (states, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::podman::{ContainerState, End};

    fn service(name: &str, container: Option<ContainerState>) -> ServiceSummary {
        let end = container.and_then(|container| match container {
            ContainerState::Exited(0 | 137) => Some(End::Stopped),
            ContainerState::Exited(_) => Some(End::Failed),
            _ => None,
        });
        let state = ServiceState { container, end, oneshot: name == "job" };
        ServiceSummary { name: name.to_owned(), state, has_page: name == "web" }
    }

    fn with(services: Vec<ServiceSummary>) -> Overview {
        Overview { services: Ok(services), ..Overview::default() }
    }

    #[test]
    fn the_next_command_fits_what_there_is() {
        use ContainerState::{Exited, Paused, Running};
        let cases = [
            (Overview { services: Err(NoConfig), ..Overview::default() }, "not known", "airpods config validate"),
            (
                Overview { no_podman: Some("podman is not installed".to_owned()), ..with(vec![service("web", None)]) },
                "not known: podman is not installed",
                "airpods doctor",
            ),
            (with(vec![]), "none is enabled", "airpods config edit"),
            (with(vec![service("model", None), service("web", None)]), "not running: model, web", "airpods start"),
            (
                with(vec![service("model", Some(Running)), service("web", Some(Exited(0)))]),
                "running: model; not running: web",
                "airpods start",
            ),
            (
                with(vec![service("model", Some(Running)), service("web", Some(Exited(3)))]),
                "running: model; failed: web",
                "airpods doctor",
            ),
            (with(vec![service("slow", Some(Exited(137)))]), "not running: slow", "airpods start"),
            (with(vec![service("web", Some(Paused))]), "failed: web", "airpods doctor"),
            (
                with(vec![service("web", Some(Running)), service("model", Some(Running))]),
                "running: web, model",
                "airpods open web",
            ),
            (
                with(vec![service("model", Some(Running)), service("job", Some(Exited(0)))]),
                "running: model",
                "airpods status",
            ),
        ];
        for (overview, services, next) in cases {
            assert_eq!(judge(&overview), (services.to_owned(), next.to_owned()), "{overview:?}");
        }
    }

    #[test]
    fn five_lines_name_the_configuration_and_fit_a_terminal() {
        let file = Some(PathBuf::from("/home/a/.config/airpods/config.toml"));
        let shown = lines(&Overview { file, ..with(vec![service("web", None)]) });
        assert_eq!(shown[1], "configuration: /home/a/.config/airpods/config.toml");
        assert!(lines(&with(vec![service("web", None)])).iter().all(|line| line.len() <= 80));
        assert!(lines(&Overview { services: Err(NoConfig), ..Overview::default() })[1].contains("has errors"));
    }
}
