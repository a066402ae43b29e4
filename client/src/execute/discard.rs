//! The end of a launch that worked: what was set aside is removed. Nothing is undone from here on.

use futures_util::future::join_all;

use crate::plan::{Action, Plan};
use crate::podman::{Podman, PodmanError};

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
