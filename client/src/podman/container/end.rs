//! The end of a container: stopped, or failed by itself.

use super::{Container, ContainerDetail, ContainerState};
use crate::podman::{Podman, Version};

/// The end of a container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The user or the host stopped it, or it ended with success.
    Stopped,
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// It ended by itself with a failure.
    Failed,
}

impl End {
    /// Whether the service needs a look.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self != Self::Stopped
    }

    /// Judges an exit code. Without a detail, because the container is gone by now, the code
    /// decides alone.
    ///
    /// A code above 128 is 128 plus the number of a signal in signal(7).
    fn of(code: i32, detail: Option<&ContainerDetail>, podman: Version) -> Self {
        const INTERRUPTED: i32 = 128 + 2;
        const KILLED: i32 = 128 + 9;
        const TERMINATED: i32 = 128 + 15;
        let is = |fact: fn(&ContainerDetail) -> bool| detail.is_some_and(fact);
        let stopped_by_user = if podman.reports_stops() {
            is(|detail| detail.stopped_by_user)
        } else {
            // podman restarts such a container unless the user stopped it.
            is(|detail| ["always", "unless-stopped"].contains(&detail.restart.as_str()))
        };
        match code {
            0 => Self::Stopped,
            _ if stopped_by_user => Self::Stopped,
            // podman never resets `OOMKilled`, so it explains only the kernel's own signal.
            KILLED if is(|detail| detail.oom_killed) => Self::OutOfMemory,
            // `podman stop` sends these signals, and so does a machine that shuts down.
            INTERRUPTED | KILLED | TERMINATED => Self::Stopped,
            _ => Self::Failed,
        }
    }
}

/// The end of a container; `None` if it has not ended. Only a code other than 0 takes a call.
pub async fn end_of(podman: &impl Podman, container: &Container) -> Option<End> {
    let ContainerState::Exited(code) = container.state else { return None };
    let detail = if code == 0 { None } else { podman.inspect_container(&container.name).await.ok() };
    // A container that runs again by now says nothing about its former end.
    let detail = detail.filter(|detail| detail.state == container.state);
    Some(End::of(code, detail.as_ref(), podman.version()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::tests::{NEW, OLD, THREE, podman, start};

    /// The end with this exit code, if podman reports this about the container.
    async fn end(version: Version, policy: &str, code: i32, report: fn(&mut ContainerDetail)) -> End {
        let mut podman = podman(version);
        start(&podman, &format!("runtime.restart_policy = \"{policy}\"\n{THREE}"), &["web"]).await;
        podman.end("web-0", code);
        podman.distort = Some(report);
        end_of(&podman, &podman.containers().await.unwrap()[0]).await.unwrap()
    }

    const NOTHING: fn(&mut ContainerDetail) = |_| {};
    const STOPPED: fn(&mut ContainerDetail) = |detail| detail.stopped_by_user = true;
    const OOM: fn(&mut ContainerDetail) = |detail| detail.oom_killed = true;

    #[tokio::test]
    async fn a_stop_that_ends_in_a_signal_is_a_stop_with_any_policy() {
        for version in [OLD, NEW] {
            for policy in ["no", "on-failure", "always", "unless-stopped"] {
                for code in [0, 130, 137, 143] {
                    assert_eq!(end(version, policy, code, NOTHING).await, End::Stopped, "{version} {policy} {code}");
                }
            }
        }
    }

    #[tokio::test]
    async fn memory_ran_out_only_if_podman_reports_it_for_a_killed_container() {
        assert_eq!(end(OLD, "no", 137, OOM).await, End::OutOfMemory);
        assert_eq!(end(NEW, "always", 137, OOM).await, End::OutOfMemory);
        assert_eq!(end(NEW, "no", 143, OOM).await, End::Stopped);
        assert_eq!(end(NEW, "no", 1, OOM).await, End::Failed);
        let both: fn(&mut ContainerDetail) = |detail| (detail.oom_killed, detail.stopped_by_user) = (true, true);
        assert_eq!(end(NEW, "no", 137, both).await, End::Stopped);
    }

    #[tokio::test]
    async fn a_program_that_answers_a_stop_with_a_failure_was_stopped_if_podman_knows_it() {
        for code in [1, 255] {
            assert_eq!(end(NEW, "no", code, STOPPED).await, End::Stopped);
            assert_eq!(end(NEW, "always", code, NOTHING).await, End::Failed, "podman could not restart it");
            // podman 4.3 does not say who ended it, and restarts it by its policy.
            assert_eq!(end(OLD, "unless-stopped", code, NOTHING).await, End::Stopped);
            assert_eq!(end(OLD, "no", code, NOTHING).await, End::Failed);
        }
    }

    #[tokio::test]
    async fn a_container_that_is_gone_or_runs_again_is_judged_by_its_code() {
        let podman = podman(NEW);
        start(&podman, THREE, &["web"]).await;
        let mut listed = podman.containers().await.unwrap().remove(0);
        assert_eq!(end_of(&podman, &listed).await, None);
        for (code, expected) in [(0, End::Stopped), (137, End::Stopped), (3, End::Failed)] {
            listed.state = ContainerState::Exited(code);
            assert_eq!(end_of(&podman, &listed).await, Some(expected));
            let gone = Container { name: "gone".to_owned(), ..listed.clone() };
            assert_eq!(end_of(&podman, &gone).await, Some(expected));
        }
    }
}
