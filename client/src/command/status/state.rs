//! The state of a service: a word for it, and whether a start would change it.

use crate::config::Service;
use crate::podman::{Container, ContainerState, End, Podman, end_of};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, THREE, config, podman, start};
    use crate::podman::Podman;

    #[test]
    fn a_state_has_one_word_and_is_wanted_failed_or_waiting_for_a_start() {
        use ContainerState::{Created, Exited, Lost, Paused, Removing, Running, Stopping, Unknown};
        use End::{Failed, OutOfMemory, Stopped};
        let (wanted, failed, waiting) = ((true, false), (false, true), (false, false));
        let cases = [
            (None, None, false, "never started", waiting),
            (Some(Created), None, false, "created", waiting),
            (Some(Running), None, false, "running", wanted),
            (Some(Exited(0)), Some(Stopped), false, "stopped", waiting),
            (Some(Exited(0)), Some(Stopped), true, "done", wanted),
            (Some(Exited(3)), Some(Failed), false, "exited", failed),
            (Some(Exited(3)), Some(Failed), true, "exited", failed),
            (Some(Exited(3)), Some(Stopped), false, "stopped", waiting),
            (Some(Exited(137)), Some(OutOfMemory), false, "exited", failed),
            (Some(Exited(137)), Some(Stopped), false, "stopped", waiting),
            (Some(Exited(143)), Some(Stopped), true, "stopped", waiting),
            (Some(Paused), None, false, "paused", failed),
            (Some(Stopping), None, false, "stopping", waiting),
            (Some(Removing), None, false, "removing", waiting),
            (Some(Lost), None, false, "lost", failed),
            (Some(Unknown), None, false, "unknown", failed),
        ];
        for (container, end, oneshot, word, judged) in cases {
            let state = ServiceState { container, end, oneshot };
            assert_eq!((state.word(), (state.is_as_wanted(), state.has_failed())), (word, judged), "{state:?}");
        }
    }

    #[test]
    fn only_a_container_that_ended_has_an_exit_code() {
        use ContainerState::{Created, Exited, Lost, Paused, Removing, Running, Stopping, Unknown};
        let code = |container| ServiceState { container, ..ServiceState::default() }.exit_code();
        assert_eq!([0, 3, 137].map(|ended| code(Some(Exited(ended)))), [0, 3, 137].map(Some));
        for state in [Created, Running, Paused, Stopping, Removing, Lost, Unknown] {
            assert_eq!(code(Some(state)), None, "{state:?}");
        }
        assert_eq!(code(None), None);
    }

    #[tokio::test]
    async fn a_service_that_is_not_configured_has_the_state_and_the_end_of_its_container() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let once = config(&THREE.replace("[services.web]", "[services.web]\noneshot = true"));
        let (_, service) = once.services.iter().find(|(name, _)| name.as_str() == "web").unwrap();
        for (code, end) in [(0, End::Stopped), (3, End::Failed), (137, End::Stopped)] {
            podman.end("web-0", code);
            let containers = podman.containers().await.unwrap();
            let web = containers.iter().find(|container| container.name == "web-0");
            let expected =
                ServiceState { container: Some(ContainerState::Exited(code)), end: Some(end), oneshot: false };
            assert_eq!(ServiceState::of(&podman, None, web).await, expected);
            let configured = ServiceState { oneshot: true, ..expected };
            assert_eq!(ServiceState::of(&podman, Some(service), web).await, configured);
        }
        assert_eq!(ServiceState::of(&podman, None, None).await, ServiceState::default());
    }
}
