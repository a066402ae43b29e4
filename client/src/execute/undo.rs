//! Takes back what a run did.

use super::Pace;
use super::act::Done;
use super::progress::{Event, Progress};
use crate::plan::{Action, Plan};
use crate::podman::{Podman, PodmanError};

/// Undoes finished steps, the last first, and names what could not be undone. Images stay: they cost time to get,
/// and are no more than a cache.
pub(super) async fn undo(
    podman: &impl Podman,
    plan: &Plan,
    done: &[(usize, Done)],
    pace: &Pace,
    progress: &dyn Progress,
) -> Vec<String> {
    let mut left = Vec::new();
    if !done.iter().all(|(_, done)| *done == Done::Nothing) {
        progress.event(&Event::Undoing);
    }
    for (index, done) in done.iter().rev() {
        let Some(step) = plan.steps.get(*index) else { continue };
        match done {
            Done::Nothing => {}
            Done::Folders(folders) => left.extend(remove_folders(folders)),
            Done::AsPlanned => {
                if let Err(trouble) =
                    undo_action(podman, &step.action, settled_elsewhere(plan, &step.action), pace).await
                {
                    left.push(trouble);
                }
            }
        }
    }
    left
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
    let (result, what) = match action {
        Action::CreateNetwork(spec) => {
            (podman.remove_network(&spec.name).await, format!("the network `{}`", spec.name))
        }
        Action::CreateVolume(name) => (podman.remove_volume(name).await, format!("the volume `{name}`")),
        Action::CreatePod(spec) => (podman.remove_pod(&spec.name).await, format!("the pod `{}`", spec.name)),
        Action::CreateContainer(spec) => {
            (podman.remove_container(&spec.name).await, format!("the container `{}`", spec.name))
        }
        Action::Start { .. } if settled_elsewhere => return Ok(()),
        Action::Start { name } => {
            (podman.stop_container(name, pace.stop_seconds).await, format!("the running container `{name}`"))
        }
        Action::Stop { name } => {
            (podman.start_container(name).await, format!("the container `{name}` was stopped and does not start again"))
        }
        Action::SetAside { name, former, running } => {
            let what = format!("the container `{name}`, which is called `{former}`");
            let back = match podman.rename_container(former, name).await {
                Ok(()) if *running => podman.start_container(name).await,
                renamed => renamed,
            };
            return back.map_err(|error| format!("{what} or does not run again: {}", error.message()));
        }
        Action::RemoveContainer { name, .. } => {
            return Err(format!("the container `{name}` with its former settings was removed and is not back"));
        }
        Action::RemovePod { name, containers, .. } => {
            let containers = containers.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "the pod `{name}` with its former settings was removed and is not back, nor are its containers {containers}"
            ));
        }
        Action::RemoveNetwork(name) => {
            return Err(format!("the network `{name}` with its former settings was removed and is not back"));
        }
        Action::CreateFolder(_)
        | Action::Pull(_)
        | Action::CheckRuns { .. }
        | Action::ReadBack(_)
        | Action::AwaitHealth { .. }
        | Action::Discard { .. } => return Ok(()),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if PodmanError::is_not_found(&error) => Ok(()),
        Err(error) => Err(format!("{what}: {}", error.message())),
    }
}

/// Removes folders, the innermost first, while they are empty: what a container has written is not ours to delete.
fn remove_folders(folders: &[std::path::PathBuf]) -> Option<String> {
    let left = folders.iter().rev().find(|folder| std::fs::remove_dir(folder).is_err() && folder.exists())?;
    Some(format!("the folder `{}`, which is not empty", left.display()))
}
