//! The status of a service: the state of its container, a word for it, and whether a start would
//! change it; its health and its path. Also the next command.

use std::time::SystemTime;

use airpods_dbus::Status;
use serde_json::{Value, json};

use crate::config::Service;
use crate::cure::{ClampCoverage, clamp_command, clamp_coverage, is_fixed, is_named};
use crate::egress::{Egress, EgressPath};
use crate::health::{Answer, HealthCheck};
use crate::measure::memory::{Memory, Network, StaleClamp};
use crate::podman::{Container, ContainerState, End, Podman, end_of};
use crate::terminal::Uptime;

/// The state of a service's container, and whether the configuration lets it end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::command) struct ServiceState {
    /// None if there is no container: the service was never started, or was removed.
    pub(in crate::command) container: Option<ContainerState>,
    /// How the container ended; none if it has not ended.
    pub(in crate::command) end: Option<End>,
    /// It runs once and ends.
    pub(in crate::command) oneshot: bool,
}

impl ServiceState {
    /// The state of a service. One that is not in the configuration has only its container.
    pub(in crate::command) async fn of(
        podman: &impl Podman,
        service: Option<&Service>,
        container: Option<&Container>,
    ) -> Self {
        let end = match container {
            Some(container) => end_of(podman, container).await,
            None => None,
        };
        let oneshot = service.is_some_and(|service| service.oneshot);
        Self { container: container.map(|container| container.state), end, oneshot }
    }

    pub(in crate::command) fn word(self) -> &'static str {
        match self.container {
            None => "never started",
            Some(ContainerState::Created) => "created",
            Some(ContainerState::Running) => "running",
            Some(ContainerState::Exited(0)) if self.oneshot => "done",
            Some(ContainerState::Exited(_)) if self.was_stopped() => "stopped",
            Some(ContainerState::Exited(_)) => "exited",
            Some(state) => state.improper().unwrap_or("unknown"),
        }
    }

    pub(in crate::command) fn runs(self) -> bool {
        self.container == Some(ContainerState::Running)
    }

    /// Whether a start would leave it as it is.
    pub(in crate::command) fn is_as_wanted(self) -> bool {
        self.runs() || (self.oneshot && self.exit_code() == Some(0))
    }

    /// Whether it ended by itself with a failure, or podman cannot use its container.
    pub(in crate::command) fn has_failed(self) -> bool {
        match self.container {
            Some(ContainerState::Exited(_)) => !self.was_stopped(),
            // These states pass by themselves.
            None | Some(ContainerState::Stopping | ContainerState::Removing) => false,
            Some(state) => state.improper().is_some(),
        }
    }

    /// Whether it ended without a failure of its own.
    pub(in crate::command) fn was_stopped(self) -> bool {
        self.end == Some(End::Stopped)
    }

    pub(in crate::command) fn exit_code(self) -> Option<i32> {
        match self.container {
            Some(ContainerState::Exited(code)) => Some(code),
            _ => None,
        }
    }
}

/// The observed state of a service.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) service: String,
    /// Whether the configuration has the service.
    pub(super) configured: bool,
    /// The name of its container or, without one, the configured name.
    pub(super) container: String,
    pub(super) state: ServiceState,
    pub(super) started_at: Option<i64>,
    pub(super) health: Option<(HealthCheck, Result<Answer, String>)>,
    /// The network path of its packets; none while it does not run.
    pub(super) path: Option<EgressPath>,
    /// The clamp of the path; none if a clamp would not help.
    pub(super) clamp: Option<PathClamp>,
    /// The path is clamped to a value that was measured on another network.
    pub(super) stale_clamp: Option<StaleClamp>,
}

/// The clamp of a path.
#[derive(Debug)]
pub(super) struct PathClamp {
    coverage: ClampCoverage,
    /// The command that clamps it to what the link takes.
    command: String,
}

impl PathClamp {
    fn is_enough(&self) -> bool {
        self.coverage == ClampCoverage::Clamped
    }

    fn words(&self) -> &'static str {
        match self.coverage {
            ClampCoverage::Clamped => "clamped",
            ClampCoverage::TooHigh(_) => "clamp too high",
            ClampCoverage::Open => "not clamped",
        }
    }
}

impl Row {
    /// Whether it runs and fails its health check.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.health.as_ref().is_some_and(|(_, outcome)| !outcome.as_ref().is_ok_and(|answer| answer.healthy))
    }

    /// Whether large transfers may hang: the path is not clamped to what the link takes, or the
    /// clamp's value is from another network.
    pub(super) fn may_hang(&self) -> bool {
        self.lacking().is_some() || self.stale_clamp.is_some()
    }

    /// The clamp of the path, if it is not enough.
    fn lacking(&self) -> Option<&PathClamp> {
        self.clamp.as_ref().filter(|clamp| !clamp.is_enough())
    }

    pub(super) fn uptime(&self) -> Option<Uptime> {
        self.started_at.filter(|_| self.state.runs()).map(Uptime::since)
    }

    /// Whether its packets leave through a tunnel.
    pub(super) fn leaves_by_tunnel(&self) -> bool {
        self.path.as_ref().is_some_and(EgressPath::through_tunnel)
    }

    /// The link by which its packets leave.
    pub(super) fn egress(&self) -> Option<&Egress> {
        self.path.as_ref()?.egress.as_ref()
    }

    /// Finds out whether the path is clamped to a value that was measured on another network.
    pub(super) fn judge_value(&mut self, helper: &Status, memory: &Memory) {
        self.stale_clamp = self.egress().and_then(|egress| {
            is_fixed(helper, &egress.link)?;
            memory.stale_clamp(helper, egress, &Network::of(&egress.link), SystemTime::now())
        });
    }

    /// Finds out from the helper's status whether the path is clamped to what the link takes.
    pub(super) fn judge_clamp(&mut self, helper: &Status) {
        let path = self.path.as_ref().filter(|path| path.exceeds_tunnel());
        let egress = path.and_then(|path| path.egress.as_ref());
        self.clamp = egress.map(|egress| PathClamp {
            coverage: clamp_coverage(helper, egress),
            command: clamp_command(egress, is_named(helper, &egress.link)),
        });
    }

    pub(super) fn path(&self) -> String {
        let clamp = self.clamp.as_ref().map(|clamp| format!(", {}", clamp.words())).unwrap_or_default();
        self.path.as_ref().map_or_else(|| "-".to_owned(), |path| format!("{path}{clamp}"))
    }

    pub(super) fn info(&self) -> String {
        let left = (!self.configured).then(|| "not in the configuration".to_owned());
        let parts = [self.health_or_exit(), left.unwrap_or_default()];
        parts.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// Its health, or its exit code, in words.
    fn health_or_exit(&self) -> String {
        match (&self.health, self.state.exit_code()) {
            (Some((check, Ok(answer))), _) => {
                let verdict = if answer.healthy || answer.code.is_none() { "" } else { ", which is not healthy" };
                format!("{} in {} ms {}{verdict}", answer.describe(), answer.latency.as_millis(), check.place())
            }
            (Some((check, Err(reason))), _) => format!("no answer {}: {reason}", check.place()),
            (None, Some(code)) => match self.state.end {
                Some(End::OutOfMemory) => "killed, memory ran out".to_owned(),
                Some(End::Stopped) if code != 0 => String::new(),
                _ => format!("exit code {code}"),
            },
            (None, None) => String::new(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let health = self.health.as_ref().map(|(check, outcome)| match outcome {
            Ok(answer) => json!({
                "url": url(check),
                "command": command(check),
                "code": answer.code,
                "latency_ms": answer.latency.as_secs_f64() * 1000.0,
                "healthy": answer.healthy,
            }),
            Err(reason) => {
                json!({ "url": url(check), "command": command(check), "healthy": false, "error": reason })
            }
        });
        let path = self.path.as_ref().map(|path| {
            let mut path = path.to_json();
            path["clamped"] = json!(self.clamp.as_ref().map(PathClamp::is_enough));
            path["measured_elsewhere"] = json!(self.stale_clamp.is_some());
            path
        });
        json!({
            "path": path,
            "service": self.service,
            "configured": self.configured,
            "container": self.container,
            "status": self.state.word(),
            "uptime_seconds": self.uptime().map(|uptime| uptime.seconds),
            "exit_code": self.state.exit_code(),
            "health": health,
        })
    }
}

/// The URL of an HTTP health check.
fn url(check: &HealthCheck) -> Option<String> {
    matches!(check, HealthCheck::Http(_)).then(|| check.question())
}

/// The command of a health check.
fn command(check: &HealthCheck) -> Option<String> {
    matches!(check, HealthCheck::Command(_)).then(|| check.question())
}

/// The next command, if something is wrong or nothing runs. `named` are the services that the user
/// named.
pub(super) fn next(rows: &[Row], named: &[String]) -> Option<String> {
    if rows.is_empty() {
        return Some("airpods config edit".to_owned());
    }
    if rows.iter().any(|row| row.state.has_failed()) {
        return Some("airpods doctor".to_owned());
    }
    if let Some(row) = rows.iter().find(|row| row.is_unhealthy()) {
        return Some(format!("airpods logs {}", row.service));
    }
    if let Some(stale_clamp) = rows.iter().find_map(|row| row.stale_clamp.as_ref()) {
        return Some(stale_clamp.cure.clone());
    }
    if let Some(clamp) = rows.iter().find_map(Row::lacking) {
        return Some(clamp.command.clone());
    }
    if rows.iter().any(|row| row.state.runs()) {
        return None;
    }
    // A service that is not in the configuration cannot be started.
    let rests = |row: &Row| row.configured && !row.state.is_as_wanted();
    let start = ["airpods start"].into_iter().chain(named.iter().map(String::as_str));
    rows.iter().any(rests).then(|| start.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
pub(super) mod tests;
