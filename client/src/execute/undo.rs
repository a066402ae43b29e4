//! The end of a run: undoes its changes after a failure, or removes the former containers after
//! success.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};

use super::Pace;
use super::act::Done;
use super::progress::{Event, Progress};
use crate::plan::{Action, Plan};
use crate::podman::{Podman, PodmanError};

/// The pauses before the retries of an undo that podman refuses. podman may be restarting a
/// container that has ended, or waiting for one that a busy machine has not ended yet.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Undoes finished steps.
pub(super) struct Undoing<'a, P> {
    pub(super) podman: &'a P,
    pub(super) plan: &'a Plan,
    pub(super) pace: &'a Pace,
    /// Ends the undo: changes that remain by then stay.
    pub(super) stop: Pin<&'a mut dyn Future<Output = ()>>,
    /// The undo was ended before it began.
    pub(super) given_up: bool,
}

impl<P: Podman> Undoing<'_, P> {
    /// Undoes the steps, the last one first, and returns the changes that remain. Images stay: a
    /// pull is costly, and an image is only a cache.
    pub(super) async fn undo(mut self, done: &[(usize, Done)], progress: &dyn Progress) -> Vec<String> {
        if !self.given_up && !done.iter().all(|(_, done)| *done == Done::Nothing) {
            progress.event(&Event::Undoing);
        }
        let plan = self.plan;
        let steps = done.iter().rev().filter_map(|(index, done)| Some((&plan.steps.get(*index)?.action, done)));
        let mut left = self.each(steps.collect()).await;
        for pause in RETRY_PAUSES {
            if !left.iter().any(|left| left.refused) || !self.waited(pause).await {
                break;
            }
            // The retry keeps the order of the first round, so a change that blocks another is
            // undone before it.
            let (again, stays): (Vec<_>, Vec<_>) = left.into_iter().partition(|left| left.refused);
            left = stays;
            left.extend(self.each(again.into_iter().map(|left| (left.action, left.done)).collect()).await);
        }
        left.into_iter().map(|left| left.what).collect()
    }

    /// Undoes these steps, and returns those that remain.
    async fn each<'d>(&mut self, steps: Vec<(&'d Action, &'d Done)>) -> Vec<Left<'d>> {
        let mut left = Vec::new();
        for (action, done) in steps {
            let (what, refused) = match done {
                Done::Nothing => continue,
                Done::Folders(folders) => (remove_folders(folders), false),
                Done::AsPlanned | Done::Unknown => match self.one(action, *done == Done::Unknown).await {
                    Ok(()) => continue,
                    Err(NotUndone::Refused(what)) => (Some(what), true),
                    Err(NotUndone::Remains(what)) => (what, false),
                },
            };
            left.extend(what.map(|what| Left { action, done, what, refused }));
        }
        left
    }

    /// Undoes one step. `is_unknown` means that podman's answer to the step did not arrive.
    async fn one(&mut self, action: &Action, is_unknown: bool) -> Result<(), NotUndone> {
        let no_own_undo = needs_no_own_undo(self.plan, action);
        if !self.given_up {
            let (podman, pace) = (self.podman, self.pace);
            let undone = async {
                if is_unknown && is_restored(podman, action).await {
                    return Ok(());
                }
                undo_action(podman, action, no_own_undo, pace).await
            };
            match select(pin!(undone), self.stop.as_mut()).await {
                Either::Left((undone, _)) => return undone,
                Either::Right(_) => self.given_up = true,
            }
        }
        Err(NotUndone::Remains(if no_own_undo { None } else { remains(action) }))
    }

    /// Waits for `pause`; false if the undo has to end.
    async fn waited(&mut self, pause: Duration) -> bool {
        if !self.given_up {
            let sleep = pin!(tokio::time::sleep(pause));
            self.given_up = matches!(select(sleep, self.stop.as_mut()).await, Either::Right(_));
        }
        !self.given_up
    }
}

/// A step whose change remains.
struct Left<'a> {
    action: &'a Action,
    done: &'a Done,
    /// The change that remains.
    what: String,
    /// podman refused the undo, so a retry may succeed.
    refused: bool,
}

/// The reason that a change remains.
enum NotUndone {
    /// podman refused the undo; the sentence names the change.
    Refused(String),
    /// The change cannot be undone, or there is nothing to report (`None`).
    Remains(Option<String>),
}

/// Whether something that the step may have removed is still there and, if it ran, runs again.
/// podman's answer to the removal did not arrive.
async fn is_restored(podman: &impl Podman, action: &Action) -> bool {
    let (is_there, ran): (bool, &[String]) = match action {
        Action::RemoveContainer { name, running } => {
            let ran = if *running { std::slice::from_ref(name) } else { &[] };
            (podman.inspect_container(name).await.is_ok(), ran)
        }
        Action::RemovePod { name, running, .. } => {
            let pods = podman.pods().await.unwrap_or_default();
            (pods.iter().any(|pod| pod.name == *name), running)
        }
        Action::RemoveNetwork(name) => {
            let networks = podman.networks().await.unwrap_or_default();
            (networks.iter().any(|network| network.name == *name), &[])
        }
        _ => return false,
    };
    let mut restored = is_there;
    for name in ran.iter().filter(|_| is_there) {
        restored &= podman.start_container(name).await.is_ok();
    }
    restored
}

/// The change that remains of a step, in words.
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

/// Whether the start of a container needs no undo of its own. Either this plan created the
/// container, and the undo removes it. Or the plan stopped it, and it ran before.
fn needs_no_own_undo(plan: &Plan, action: &Action) -> bool {
    let Action::Start { name } = action else { return false };
    plan.steps.iter().any(|step| match &step.action {
        Action::CreateContainer(spec) => spec.name == *name,
        Action::Stop { name: stopped } => stopped == name,
        _ => false,
    })
}

async fn undo_action(podman: &impl Podman, action: &Action, no_own_undo: bool, pace: &Pace) -> Result<(), NotUndone> {
    let Some(remains) = remains(action) else { return Ok(()) };
    let result = match action {
        Action::CreateNetwork(spec) => podman.remove_network(&spec.name).await,
        Action::CreateVolume(name) => podman.remove_volume(name).await,
        Action::CreatePod(spec) => podman.remove_pod(&spec.name).await,
        Action::CreateContainer(spec) => podman.remove_container(&spec.name).await,
        Action::Start { .. } if no_own_undo => return Ok(()),
        Action::Start { name } => podman.stop_container(name, pace.stop_seconds).await,
        Action::Stop { name } => podman.start_container(name).await,
        Action::SetAside { name, former, running } => {
            let renamed = match podman.rename_container(former, name).await {
                // Nothing has the former name: if podman's answer did not arrive, the container was
                // stopped but not renamed.
                Err(error) if error.is_not_found() => Ok(()),
                renamed => renamed,
            };
            let back = match renamed {
                Ok(()) if *running => podman.start_container(name).await,
                renamed => renamed,
            };
            let left = |error: PodmanError| format!("{remains} or does not run again: {}", error.message());
            return back.map_err(|error| NotUndone::Refused(left(error)));
        }
        // A removed container, pod or network cannot be restored.
        _ => return Err(NotUndone::Remains(Some(remains))),
    };
    match result {
        Ok(()) => Ok(()),
        Err(error) if PodmanError::is_not_found(&error) => Ok(()),
        Err(error) => Err(NotUndone::Refused(format!("{remains}: {}", error.message()))),
    }
}

/// Removes empty folders, the innermost first. A folder that a container has written to is left:
/// its data is not ours to delete.
fn remove_folders(folders: &[std::path::PathBuf]) -> Option<String> {
    let left = folders.iter().rev().find(|folder| std::fs::remove_dir(folder).is_err() && folder.exists())?;
    Some(format!("the folder `{}`, which is not empty", left.display()))
}

/// Removes the containers that were set aside. One that stays is only a warning, because the launch
/// has succeeded.
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
