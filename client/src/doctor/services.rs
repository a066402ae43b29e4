//! How the services that were started are.

use super::{Code, Finding};
use crate::podman::ContainerState;

/// A limit so low that a service cannot work: what some composed setups hand on is 1.
const TOO_LOW: u64 = 8;

/// So many restarts of a service that runs are no accident.
const RESTARTS: u32 = 3;

/// A service with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The state of its container.
    pub state: ContainerState,
    /// The user stopped it, whatever its exit code.
    pub stopped: bool,
    /// How often podman has started it again.
    pub restarts: u32,
    /// Why it does not answer where it should, though it had the time to get ready.
    pub silent: Option<String>,
    /// The limit that is configured.
    pub pids_limit: u64,
    /// The kernel's numbers of its processes, if they can be read.
    pub pids: Option<Pids>,
}

/// The processes of a container, by its control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// The container's limit; `None` is no limit.
    pub limit: Option<u64>,
    /// The limit of the unit around it, if that is lower.
    pub unit: Option<u64>,
    /// How many there are.
    pub current: u64,
    /// How often a new one was refused.
    pub refused: u64,
}

/// Judges one service.
pub(super) fn judge(service: &Service) -> Vec<Finding> {
    let name = &service.name;
    let logs = format!("airpods logs {name}");
    let mut findings = Vec::new();
    match service.state {
        ContainerState::Exited(code) if code != 0 && !service.stopped => {
            let how = match code {
                137 => "was killed (SIGKILL), by a program or because memory ran out".to_owned(),
                _ => format!("has ended: exit code {code}"),
            };
            findings.push(Finding::broken(Code::ServiceDead, format!("`{name}` {how}"), logs));
        }
        ContainerState::Running if service.restarts >= RESTARTS => {
            let cause = format!("`{name}` does not stay up: it was started again {} times", service.restarts);
            findings.push(Finding::broken(Code::ServiceRestarting, cause, logs));
        }
        ContainerState::Running => {
            let silent = service.silent.iter();
            findings.extend(silent.map(|why| {
                Finding::broken(Code::ServiceSilent, format!("`{name}` runs and does not answer: {why}"), &*logs)
            }));
        }
        state => findings.extend(state.improper().map(|word| {
            let cause =
                format!("the container of `{name}` is in the state `{word}`, in which podman does not start it");
            Finding::broken(Code::StateImproper, cause, format!("airpods start {name} --yes"))
        })),
    }
    findings.extend(service.pids.and_then(|pids| processes(service, pids)));
    findings
}

fn processes(service: &Service, pids: Pids) -> Option<Finding> {
    let Service { name, pids_limit, .. } = service;
    let limit = pids.limit?;
    if limit < *pids_limit {
        let cause = format!("the kernel lets `{name}` have {limit} processes, and {pids_limit} are configured");
        return Some(Finding::broken(Code::PidsLow, cause, format!("airpods start {name} --yes")));
    }
    let raise = |to: u64| format!("airpods config set services.{name}.pids_limit {to} && airpods start {name} --yes");
    if limit <= TOO_LOW {
        let cause = format!("`services.{name}.pids_limit` is {limit}, with which hardly a program can fork");
        return Some(Finding::broken(Code::PidsLow, cause, raise(2048)));
    }
    if let Some(unit) = pids.unit {
        let cause =
            format!("systemd lets `{name}` have {unit} processes (`DefaultTasksMax`), and {limit} are configured");
        let cure = format!("airpods config set services.{name}.pids_limit {unit}");
        return Some(Finding::note(Code::PidsLow, cause, cure));
    }
    // Nine tenths: the next burst meets it.
    let near = pids.current >= limit - limit / 10;
    if pids.refused == 0 && !near {
        return None;
    }
    let times = match pids.refused {
        0 => format!("has {} of the {limit} processes that `pids_limit` allows", pids.current),
        1 => format!("could not fork once: `pids_limit` is {limit}"),
        many => format!("could not fork {many} times: `pids_limit` is {limit}"),
    };
    let level = if pids.refused > 0 { Finding::broken } else { Finding::note };
    Some(level(Code::PidsReached, format!("`{name}` {times}"), raise((limit * 2).min(1_000_000))))
}
