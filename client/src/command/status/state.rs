//! The state of a service: a word for it, and whether a start would change it.

use crate::config::{Config, Service};
use crate::plan::was_stopped;
use crate::podman::{Container, ContainerState};

/// The state of a service's container, and whether the configuration lets it end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::command) struct ServiceState {
    /// None if there is no container: the service was never started, or was removed.
    pub(in crate::command) container: Option<ContainerState>,
    /// The user stopped it, whatever its exit code is.
    pub(in crate::command) stopped: bool,
    /// It runs once and ends.
    pub(in crate::command) oneshot: bool,
}

impl ServiceState {
    /// The state of a service. One that is not in the configuration has only its container.
    pub(in crate::command) fn of(config: &Config, service: Option<&Service>, container: Option<&Container>) -> Self {
        let container = container.map(|container| container.state);
        let stopped = service.zip(container).is_some_and(|(service, state)| was_stopped(config, service, state));
        Self { container, stopped, oneshot: service.is_some_and(|service| service.oneshot) }
    }

    pub(in crate::command) fn word(self) -> &'static str {
        match self.container {
            None => "never started",
            Some(ContainerState::Created) => "created",
            Some(ContainerState::Running) => "running",
            Some(ContainerState::Exited(0)) if self.oneshot => "done",
            Some(ContainerState::Exited(code)) if code == 0 || self.stopped => "stopped",
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
            Some(ContainerState::Exited(code)) => code != 0 && !self.stopped,
            // These states pass by themselves.
            None | Some(ContainerState::Stopping | ContainerState::Removing) => false,
            Some(state) => state.improper().is_some(),
        }
    }

    pub(in crate::command) fn exit_code(self) -> Option<i32> {
        match self.container {
            Some(ContainerState::Exited(code)) => Some(code),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_one_word_and_is_wanted_failed_or_waiting_for_a_start() {
        use ContainerState::{Created, Exited, Paused, Running, Stopping};
        let (wanted, failed, waiting) = ((true, false), (false, true), (false, false));
        let cases = [
            (None, false, false, "never started", waiting),
            (Some(Created), false, false, "created", waiting),
            (Some(Running), false, false, "running", wanted),
            (Some(Exited(0)), false, false, "stopped", waiting),
            (Some(Exited(0)), false, true, "done", wanted),
            (Some(Exited(3)), false, false, "exited", failed),
            (Some(Exited(3)), false, true, "exited", failed),
            (Some(Exited(137)), false, false, "exited", failed),
            (Some(Exited(137)), true, false, "stopped", waiting),
            (Some(Paused), false, false, "paused", failed),
            (Some(Stopping), false, false, "stopping", waiting),
        ];
        for (container, stopped, oneshot, word, judged) in cases {
            let state = ServiceState { container, stopped, oneshot };
            assert_eq!((state.word(), (state.is_as_wanted(), state.has_failed())), (word, judged), "{state:?}");
        }
    }
}
