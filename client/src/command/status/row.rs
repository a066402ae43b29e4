//! The status of a service, and the next command.

use std::time::SystemTime;

use airpods_dbus::Status;
use serde_json::{Value, json};

use super::state::ServiceState;
use crate::cure::{ClampCoverage, clamp_command, clamp_coverage, is_fixed, is_named};
use crate::egress::{Egress, EgressPath};
use crate::health::{Answer, HealthCheck};
use crate::measure::memory::{Memory, Network, StaleClamp};
use crate::podman::End;
use crate::terminal::Uptime;

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
pub(super) mod tests {
    use airpods_dbus::Origin;

    use super::*;
    use crate::config::StatusRange;
    use crate::cure::clamp::tests::clamped;
    use crate::egress::{NetworkPath, Verdict};
    use crate::health::HttpCheck;
    use crate::podman::ContainerState;

    pub(in super::super) const RUNNING: ServiceState =
        ServiceState { container: Some(ContainerState::Running), end: None, oneshot: false };

    pub(in super::super) fn ended(code: i32, end: End) -> ServiceState {
        ServiceState { container: Some(ContainerState::Exited(code)), end: Some(end), oneshot: false }
    }

    /// A service that a program's failure ended, or its success.
    pub(in super::super) fn ended_with(code: i32) -> ServiceState {
        ended(code, if code == 0 { End::Stopped } else { End::Failed })
    }

    /// A service without a container.
    pub(in super::super) fn row(service: &str) -> Row {
        let (service, container) = (service.to_owned(), format!("{service}-0"));
        let (started_at, health, path, clamp, stale_clamp) = (None, None, None, None, None);
        let state = ServiceState::default();
        Row { service, configured: true, container, state, started_at, health, path, clamp, stale_clamp }
    }

    /// A running service whose packets leave through a VPN.
    pub(in super::super) fn running(service: &str, network_path: NetworkPath, verdict: Verdict) -> Row {
        let kind = airpods_dbus::LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        let egress = Some(Egress { link: "wg0".to_owned(), index: 9, kind, mtu: 1380 });
        let path = Some(EgressPath { network_path, egress, network_mtu: None, verdict });
        Row { state: RUNNING, path, ..row(service) }
    }

    /// A running service that does not answer at an IPv6 address.
    pub(in super::super) fn silent(service: &str, network_path: NetworkPath) -> Row {
        let path = "/api/".to_owned() + &"v".repeat(90);
        let at =
            (std::net::Ipv6Addr::new(0xfd00, 0x1234, 0x5678, 0x9abc, 0xdef0, 0x1234, 0x5678, 0x9abc), 65_535).into();
        let check = HealthCheck::Http(HttpCheck { at, path, expected: StatusRange::SUCCESS });
        let health = Some((check, Err("connection refused (os error 111)".to_owned())));
        let started_at = Some(0);
        Row { started_at, health, ..running(service, network_path, Verdict::ClampHelps) }
    }

    #[test]
    fn the_next_command_fits_the_worst_there_is() {
        let failed = || Row { state: ended_with(1), ..row("model") };
        let done = || Row { state: ServiceState { oneshot: true, ..ended_with(0) }, ..row("job") };
        let left = || Row { state: ended_with(0), configured: false, ..row("old") };
        let well = || running("web", NetworkPath::Host, Verdict::HostSockets);
        let judged = |helper: &Status| {
            let mut row = running("web", NetworkPath::Bridge, Verdict::ClampHelps);
            row.judge_clamp(helper);
            row
        };
        let open = || judged(&Status::default());
        let too_high = |origin| judged(&clamped(origin, Some(1400)));
        let cases = [
            (vec![], Some("airpods config edit")),
            (vec![failed(), silent("web", NetworkPath::Bridge), open()], Some("airpods doctor")),
            (vec![open(), silent("model", NetworkPath::Bridge)], Some("airpods logs model")),
            (vec![open(), row("paint")], Some("airpods net clamp on")),
            (vec![too_high(Origin::Named), open()], Some("airpods net clamp on wg0")),
            (vec![too_high(Origin::Auto)], Some("airpods net clamp on")),
            (vec![judged(&clamped(Origin::Named, Some(1300)))], None),
            (vec![well(), row("paint")], None),
            (vec![well()], None),
            (vec![row("paint"), done()], Some("airpods start")),
            (vec![done()], None),
            (vec![left()], None),
        ];
        for (rows, expected) in cases {
            assert_eq!(next(&rows, &[]).as_deref(), expected, "{rows:?}");
        }
        assert_eq!(next(&[row("paint")], &["paint".to_owned()]).as_deref(), Some("airpods start paint"));
    }
}
