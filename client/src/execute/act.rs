//! Carries out one step.

use std::cell::RefCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::sync::OnceCell;

use super::progress::{Event, Progress};
use super::run::Gate;
use super::{Cancel, NotHealthyInTime, Outcome, Pace, StepError};
use crate::file;
use crate::health::{HealthCheck, ask_health};
use crate::kernel;
use crate::plan::{Action, Expected, Inspection, Source, Step, read_back};
use crate::podman::{
    ContainerDetail, ContainerState, Endpoint, HealthTiming, LogOptions, Network, Networking, Podman, PodmanError,
};
use crate::port::{HostPort, Protocol};

/// How many lines of an ended container's log the error shows.
const LOG_TAIL: u32 = 10;

/// How long podman may take to send those lines.
const LOG_TAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// The change that a step made, for the undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Done {
    /// The step changed nothing that needs an undo.
    Nothing,
    /// The step did what the plan says.
    AsPlanned,
    /// The step did all, part or none of what the plan says: podman's answer did not arrive.
    Unknown,
    /// The step created these folders, the outermost first.
    Folders(Vec<PathBuf>),
}

/// Carries out steps, and keeps what later steps need.
pub(super) struct Actor<'a, P, G> {
    pub(super) podman: &'a P,
    pub(super) pace: &'a Pace,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: Rc<Cancel>,
    pub(super) gate: &'a G,
    /// Set once the gate has let containers start.
    pub(super) passed: OnceCell<()>,
    pub(super) network: RefCell<Option<Network>>,
    pub(super) outcome: RefCell<Outcome>,
    /// The changes that failed steps could not undo.
    pub(super) left: RefCell<Vec<String>>,
}

impl<P: Podman, G: Gate> Actor<'_, P, G> {
    pub(super) async fn act(&self, index: usize, step: &Step) -> Result<Done, StepError> {
        let podman = self.podman;
        let service = step.service.as_deref().unwrap_or_default();
        let refused = |source| refused(step, source);
        match &step.action {
            Action::CreateNetwork(spec) => {
                let created = podman.create_network(spec).await;
                let network = created.map_err(|source| StepError::Network { name: spec.name.clone(), source })?;
                self.network.replace(Some(network));
            }
            Action::RemoveNetwork(name) => podman.remove_network(name).await.map_err(refused)?,
            Action::CreateVolume(name) => podman.create_volume(name).await.map_err(refused)?,
            Action::CreateFolder(path) => return make_folders(path, service),
            Action::Pull(image) => {
                self.pull(index, service, image).await?;
                return Ok(Done::Nothing);
            }
            Action::RemoveContainer { name, running } => {
                if *running {
                    podman.stop_container(name, self.pace.stop_seconds).await.map_err(refused)?;
                }
                let removed = podman.remove_container(name).await;
                self.restart_stopped_on_error(removed, running.then_some(name)).await.map_err(refused)?;
            }
            Action::RemovePod { name, running, .. } => {
                let removed = self.remove_pod(name, running).await;
                self.restart_stopped_on_error(removed, running).await.map_err(refused)?;
            }
            Action::SetAside { name, former, running } => {
                let set_aside = self.set_aside(name, former, *running).await;
                self.restart_stopped_on_error(set_aside, running.then_some(name)).await.map_err(refused)?;
            }
            // An undo still needs the container: `undo::discard` removes it after all steps.
            Action::Discard { .. } => return Ok(Done::Nothing),
            Action::CreatePod(spec) => {
                let mut spec = spec.clone();
                self.assign_addresses(&mut spec.endpoint)?;
                podman.create_pod(&spec).await.map_err(refused)?;
            }
            Action::CreateContainer(spec) => {
                let mut spec = spec.clone();
                if let Networking::Own(endpoint) = &mut spec.networking {
                    self.assign_addresses(endpoint)?;
                }
                podman.create_container(&spec).await.map_err(refused)?;
            }
            Action::Start { name } => {
                self.pass_gate().await?;
                podman.start_container(name).await.map_err(refused)?;
            }
            Action::Stop { name } => podman.stop_container(name, self.pace.stop_seconds).await.map_err(refused)?,
            Action::CheckRuns { name } => {
                let detail = podman.inspect_container(name).await.map_err(refused)?;
                self.ensure_running(service, name, &detail, 0).await.map_err(|error| error.into_step(step))?;
                return Ok(Done::Nothing);
            }
            Action::ReadBack(expected) => {
                self.read_back(service, expected).await.map_err(|error| error.into_step(step))?;
                return Ok(Done::Nothing);
            }
            Action::AwaitHealth { container, check, times, kept, required } => {
                let healthy = self.await_health(service, container, (check, times), *kept).await;
                let late = healthy.map_err(|error| error.into_step(step))?;
                if let Some(late) = late {
                    if *required {
                        return Err(StepError::NotHealthy { late });
                    }
                    self.outcome.borrow_mut().late.push(late);
                }
                return Ok(Done::Nothing);
            }
            Action::AwaitEnd { container, required } => {
                self.await_end(service, container, *required).await.map_err(|error| error.into_step(step))?;
                return Ok(Done::Nothing);
            }
        }
        Ok(Done::AsPlanned)
    }

    async fn remove_pod(&self, name: &str, running: &[String]) -> Result<(), PodmanError> {
        // podman refuses to stop a pod without its infra container, in which nothing can run.
        if !running.is_empty() {
            self.podman.stop_pod(name, self.pace.stop_seconds).await?;
        }
        self.podman.remove_pod(name).await
    }

    async fn set_aside(&self, name: &str, former: &str, running: bool) -> Result<(), PodmanError> {
        if running {
            self.podman.stop_container(name, self.pace.stop_seconds).await?;
        }
        self.podman.rename_container(name, former).await
    }

    /// After a failure, restarts the containers that the step stopped. An unknown outcome is left
    /// to the undo.
    async fn restart_stopped_on_error(
        &self,
        result: Result<(), PodmanError>,
        stopped: impl IntoIterator<Item = &String>,
    ) -> Result<(), PodmanError> {
        let failed = result.as_ref().is_err_and(|error| !error.outcome_unknown());
        for name in stopped.into_iter().filter(|_| failed) {
            if let Err(error) = self.podman.start_container(name).await {
                let left = format!("the container `{name}`, which ran and is stopped: {}", error.message());
                self.left.borrow_mut().push(left);
            }
        }
        result
    }

    /// Computes the addresses of an endpoint's fixed places.
    fn assign_addresses(&self, endpoint: &mut Endpoint) -> Result<(), StepError> {
        let network = self.network.borrow();
        let assigned = network.as_ref().is_none_or(|network| endpoint.assign_addresses(network));
        if assigned { Ok(()) } else { Err(StepError::SubnetTooSmall) }
    }

    /// The result of `work`, unless cancellation comes first.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, StepError> {
        match select(pin!(work), pin!(self.cancel.cancelled())).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(StepError::Interrupted),
        }
    }

    async fn pull(&self, index: usize, service: &str, image: &str) -> Result<(), StepError> {
        let mut report = |report| self.progress.event(&Event::Pulling { index, service, report: &report });
        let pulled = self.unless_cancelled(self.podman.pull(image, &mut report)).await?;
        pulled.map_err(|source| StepError::Pull { service: service.to_owned(), image: image.to_owned(), source })
    }

    async fn read_back(&self, service: &str, expected: &Expected) -> Result<(), ActError> {
        let inspection = Inspection::at(self.podman, expected).await?;
        // A one-shot service may have ended by now.
        let may_end = |state: ContainerState| expected.oneshot && state == ContainerState::Exited(0);
        if !may_end(inspection.detail.state) {
            self.ensure_running(service, &expected.spec.name, &inspection.detail, 0).await?;
        }
        let mut differences = read_back(expected, &inspection.detail, &inspection.kernel);
        if differences.iter().any(|one| one.setting.controller().is_some()) {
            // Rootless podman can enforce only what the system delegates to the user, so this is a
            // warning and not an error.
            let facts = self.podman.host_facts().await?;
            let mut outcome = self.outcome.borrow_mut();
            differences.retain(|one| match one.excuse(&facts) {
                Some(why) => {
                    outcome.warnings.push(one.warning(service, &why));
                    false
                }
                None => true,
            });
        }
        if differences.is_empty() {
            return Ok(());
        }
        // If the container has ended meanwhile, that is the cause of what is missing.
        let now = self.podman.inspect_container(&expected.spec.name).await?;
        if may_end(now.state) {
            // An ended container has no process and no ports to compare, only podman's report.
            differences.retain(|one| one.source == Source::Podman);
            if differences.is_empty() {
                return Ok(());
            }
        } else {
            self.ensure_running(service, &expected.spec.name, &now, 0).await?;
        }
        Err(ActError::Step(StepError::Differs { service: service.to_owned(), differences }))
    }

    /// Fails if a container has ended, or if podman has restarted it more often than `restarts`.
    async fn ensure_running(
        &self,
        service: &str,
        container: &str,
        detail: &ContainerDetail,
        restarts: u32,
    ) -> Result<(), ActError> {
        let code = match detail.state {
            ContainerState::Exited(code) => Some(code),
            // podman forgets the exit code when it restarts the container.
            _ if detail.restarts > restarts => None,
            _ => return Ok(()),
        };
        let mut log = Vec::new();
        let mut keep = |line: crate::podman::LogLine| {
            log.push(String::from_utf8_lossy(&line.text).into_owned());
            log.len() < LOG_TAIL as usize
        };
        let options = LogOptions { tail: Some(LOG_TAIL), ..LogOptions::default() };
        // The log is optional: the error is reported without it.
        let _ = tokio::time::timeout(LOG_TAIL_TIMEOUT, self.podman.logs(container, &options, &mut keep)).await;
        let (service, container) = (service.to_owned(), container.to_owned());
        Err(ActError::Step(StepError::Ended { service, container, code, log }))
    }

    async fn await_health(
        &self,
        service: &str,
        container: &str,
        (check, times): (&HealthCheck, &HealthTiming),
        kept: bool,
    ) -> Result<Option<NotHealthyInTime>, ActError> {
        if self.pace.startup.is_zero() {
            return Ok(None);
        }
        let (timeout, interval) = (times.timeout_or(self.pace.ping), times.interval_or(self.pace.interval));
        let limit = times.startup_limit(self.pace.startup, self.pace.interval);
        let start = Instant::now();
        let mut process = None;
        // Restarts from before this plan are not failures of this start.
        let mut restarts = (!kept).then_some(0);
        loop {
            let asked = ask_health(self.podman, container, check, timeout);
            let last = match self.unless_cancelled(asked).await? {
                Ok(answer) if answer.healthy => {
                    self.outcome.borrow_mut().healthy.insert(service.to_owned());
                    let (asked, took) = (check.place(), start.elapsed());
                    // A service that ran before and is healthy at the first check is not reported.
                    if restarts.is_some() {
                        self.progress.event(&Event::Healthy { service, asked: &asked, took });
                    }
                    return Ok(None);
                }
                Ok(answer) => answer.describe(),
                Err(reason) => reason,
            };
            // While the first process lives the container has not ended, so podman is not called.
            if !process.is_some_and(kernel::lives) {
                let detail = self.podman.inspect_container(container).await?;
                self.ensure_running(service, container, &detail, *restarts.get_or_insert(detail.restarts)).await?;
                process = detail.pid;
            }
            if start.elapsed() >= limit {
                let (service, asked, waited) = (service.to_owned(), check.place(), start.elapsed());
                return Ok(Some(NotHealthyInTime { service, asked, last, waited }));
            }
            // Most services answer within the first second, so the first checks are frequent.
            let pause = interval.min(start.elapsed().max(std::time::Duration::from_millis(20)));
            self.unless_cancelled(tokio::time::sleep(pause)).await?;
        }
    }
}

impl<P: Podman, G: Gate> Actor<'_, P, G> {
    /// Waits until a container has ended with success: without a limit if `required`, otherwise as
    /// long as for a service to become healthy.
    async fn await_end(&self, service: &str, container: &str, required: bool) -> Result<(), ActError> {
        if self.pace.startup.is_zero() {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            let detail = self.podman.inspect_container(container).await?;
            match detail.state {
                ContainerState::Exited(0) => return Ok(()),
                ContainerState::Exited(_) => return self.ensure_running(service, container, &detail, u32::MAX).await,
                _ => {}
            }
            if !required && start.elapsed() >= self.pace.startup {
                let seconds = start.elapsed().as_secs();
                let at_work =
                    format!("`{service}` is still running after {seconds} s; `airpods status` shows when it is done");
                self.outcome.borrow_mut().warnings.push(at_work);
                return Ok(());
            }
            let pause = self.pace.interval.min(start.elapsed().max(std::time::Duration::from_millis(20)));
            self.unless_cancelled(tokio::time::sleep(pause)).await?;
        }
    }
}

/// A step's own error, or podman's, which still lacks the step.
enum ActError {
    Step(StepError),
    Podman(PodmanError),
}

impl ActError {
    fn into_step(self, step: &Step) -> StepError {
        match self {
            Self::Step(error) => error,
            Self::Podman(source) => refused(step, source),
        }
    }
}

impl From<StepError> for ActError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<PodmanError> for ActError {
    fn from(error: PodmanError) -> Self {
        Self::Podman(error)
    }
}

/// The error of a step that podman refused. A port in use has an error of its own.
fn refused(step: &Step, source: PodmanError) -> StepError {
    let place = match &step.service {
        Some(service) => format!("services.{service}"),
        None => "runtime.network".to_owned(),
    };
    if let (Some(service), Some(port)) = (&step.service, port_in_use(&source.message())) {
        return StepError::PortInUse { service: service.clone(), port };
    }
    let what = match &step.action {
        Action::CreatePod(spec) => format!("create the pod `{}`", spec.name),
        Action::CreateContainer(spec) => format!("create the container `{}`", spec.name),
        Action::ReadBack(expected) => format!("inspect the container `{}`", expected.spec.name),
        Action::AwaitHealth { container, .. } | Action::AwaitEnd { container, .. } => {
            format!("inspect the container `{container}`")
        }
        other => other.to_string(),
    };
    StepError::Refused { place, what, source }
}

/// The port in `… listen tcp4 :11434: bind: address already in use`, as Go's net package writes it.
fn port_in_use(message: &str) -> Option<HostPort> {
    let before = message.split("address already in use").next().filter(|before| before.len() < message.len())?;
    let protocol = if message.contains("listen udp") { Protocol::Udp } else { Protocol::Tcp };
    let port = before.split([':', ' ', ',']).rev().find_map(|word| word.parse().ok())?;
    Some(HostPort { protocol, ..HostPort::tcp(port) })
}

/// Creates a folder and its missing parents, and returns those it created.
pub(super) fn make_folders(path: &Path, service: &str) -> Result<Done, StepError> {
    let mut made: Vec<PathBuf> =
        path.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
    made.reverse();
    let place = format!("services.{service}.volumes");
    file::refuse_other_users(path).and_then(|()| std::fs::create_dir_all(path)).map_err(|source| {
        // Parents of the failed folder may have been created; they are new and so empty.
        made.iter().rev().for_each(|folder| drop(std::fs::remove_dir(folder)));
        StepError::Folder { place, path: path.to_owned(), source }
    })?;
    Ok(if made.is_empty() { Done::Nothing } else { Done::Folders(made) })
}
