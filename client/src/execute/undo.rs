//! How a run ends: what it did is undone, or what it set aside is removed.

use std::future::Future;
use std::pin::{Pin, pin};

use futures_util::future::{Either, join_all, select};

use super::Pace;
use super::act::Done;
use super::progress::{Event, Progress};
use crate::plan::{Action, Plan};
use crate::podman::{Podman, PodmanError};

/// Undoes finished steps.
pub(super) struct Undoing<'a, P> {
    pub(super) podman: &'a P,
    pub(super) plan: &'a Plan,
    pub(super) pace: &'a Pace,
    /// Ends it: what is not undone by then stays.
    pub(super) stop: Pin<&'a mut dyn Future<Output = ()>>,
    /// It ended before it began.
    pub(super) given_up: bool,
}

impl<P: Podman> Undoing<'_, P> {
    /// The last step first. Names what could not be undone. Images stay: they cost time to get, and are no more than a cache.
    pub(super) async fn undo(mut self, done: &[(usize, Done)], progress: &dyn Progress) -> Vec<String> {
        let mut left = Vec::new();
        if !self.given_up && !done.iter().all(|(_, done)| *done == Done::Nothing) {
            progress.event(&Event::Undoing);
        }
        for (index, done) in done.iter().rev() {
            let Some(step) = self.plan.steps.get(*index) else { continue };
            match done {
                Done::Nothing => {}
                Done::Folders(folders) => left.extend(remove_folders(folders)),
                Done::AsPlanned => left.extend(self.one(&step.action).await),
            }
        }
        left
    }

    /// Undoes one step, or says what is left of it.
    async fn one(&mut self, action: &Action) -> Option<String> {
        let elsewhere = settled_elsewhere(self.plan, action);
        if !self.given_up {
            let undone = undo_action(self.podman, action, elsewhere, self.pace);
            match select(pin!(undone), self.stop.as_mut()).await {
                Either::Left((undone, _)) => return undone.err(),
                Either::Right(_) => self.given_up = true,
            }
        }
        if elsewhere { None } else { remains(action) }
    }
}

/// The changes of a step that are not undone.
fn remains(action: &Action) -> Option<String> {
    Some(match action {
        Action::CreateNetwork(spec) => format!("the network `{}`", spec.name),
        Action::CreateVolume(name) => format!("the volume `{name}`"),
        Action::CreatePod(spec) => format!("the pod `{}`", spec.name),
        Action::CreateContainer(spec) => format!("the container `{}`", spec.name),
        Action::Start { name } => format!("the running container `{name}`"),
        Action::Stop { name } => format!("the container `{name}` was stopped and does not start again"),
        Action::SetAside { name, former, .. } => format!("the container `{name}`, which is called `{former}`"),
        Action::RemoveContainer { name, .. } => {
            format!("the container `{name}` with its former settings was removed and is not back")
        }
        Action::RemovePod { name, containers, .. } => {
            let containers = containers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            format!(
                "the pod `{name}` with its former settings was removed and is not back, nor are its containers {containers}"
            )
        }
        Action::RemoveNetwork(name) => {
            format!("the network `{name}` with its former settings was removed and is not back")
        }
        Action::CreateFolder(_)
        | Action::Pull(_)
        | Action::CheckRuns { .. }
        | Action::ReadBack(_)
        | Action::AwaitHealth { .. }
        | Action::AwaitEnd { .. }
        | Action::Discard { .. } => return None,
    })
}

/// Whether the start of a container need not be undone by itself: this very plan made it, and it is removed anyway; or stopped
/// it, and it ran before.
fn settled_elsewhere(plan: &Plan, action: &Action) -> bool {
    let Action::Start { name } = action else { return false };
    plan.steps.iter().any(|step| match &step.action {
        Action::CreateContainer(spec) => spec.name == *name,
        Action::Stop { name: stopped } => stopped == name,
        _ => false,
    })
}

async fn undo_action(
    podman: &impl Podman,
    action: &Action,
    settled_elsewhere: bool,
    pace: &Pace,
) -> Result<(), String> {
    let Some(remains) = remains(action) else { return Ok(()) };
    let result = match action {
        Action::CreateNetwork(spec) => podman.remove_network(&spec.name).await,
        Action::CreateVolume(name) => podman.remove_volume(name).await,
        Action::CreatePod(spec) => podman.remove_pod(&spec.name).await,
        Action::CreateContainer(spec) => podman.remove_container(&spec.name).await,
        Action::Start { .. } if settled_elsewhere => return Ok(()),
        Action::Start { name } => podman.stop_container(name, pace.stop_seconds).await,
        Action::Stop { name } => podman.start_container(name).await,
        Action::SetAside { name, former, running } => {
            let renamed = match podman.rename_container(former, name).await {
                // It was stopped and not renamed, if podman's answer did not come.
                Err(error) if error.is_not_found() => Ok(()),
                renamed => renamed,
            };
            let back = match renamed {
                Ok(()) if *running => podman.start_container(name).await,
                renamed => renamed,
            };
            return back.map_err(|error| format!("{remains} or does not run again: {}", error.message()));
        }
        // What was removed cannot be restored.
        _ => return Err(remains),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if PodmanError::is_not_found(&error) => Ok(()),
        Err(error) => Err(format!("{remains}: {}", error.message())),
    }
}

/// Removes folders, the innermost first, while they are empty: what a container has written is not ours to delete.
fn remove_folders(folders: &[std::path::PathBuf]) -> Option<String> {
    let left = folders.iter().rev().find(|folder| std::fs::remove_dir(folder).is_err() && folder.exists())?;
    Some(format!("the folder `{}`, which is not empty", left.display()))
}

/// Removes the containers that were set aside. Each that stays is a sentence: the launch itself is done.
pub(super) async fn discard(podman: &impl Podman, plan: &Plan) -> Vec<String> {
    let names = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Discard { name } => Some(name),
        _ => None,
    });
    let removals = join_all(names.map(|name| async move { (name, podman.remove_container(name).await) })).await;
    let stays = |(name, outcome): (&String, Result<(), PodmanError>)| match outcome {
        Ok(()) => None,
        Err(error) if error.is_not_found() => None,
        Err(error) => Some(format!("the former container `{name}` was not removed: {}", error.message())),
    };
    removals.into_iter().filter_map(stays).collect()
}
