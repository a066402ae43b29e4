//! Reads the sizes of the images that a plan pulls from their registries.

use std::time::Duration;

use futures_util::future::join_all;

use crate::config::Reference;
use crate::plan::Plan;
use crate::podman::Podman;

/// How long the registries may take to answer, all together. One takes two questions with up to
/// twenty round trips: connections, a token, and the manifest of the list and of its image.
const LIMIT: Duration = Duration::from_secs(5);

/// Adds the sizes of the images to pull. A size that the registry does not report in time stays
/// unknown, as does every one on Docker Hub: it counts each question as a pull of its rate limit.
pub(super) async fn read(podman: &impl Podman, plan: &mut Plan) {
    read_within(LIMIT, podman, plan).await;
}

async fn read_within(limit: Duration, podman: &impl Podman, plan: &mut Plan) {
    let ask = |image: String| async move {
        let blobs = tokio::time::timeout(limit, podman.image_blobs(&image)).await.ok()?.ok()??;
        Some((image, blobs))
    };
    let asked = plan.pulled_images().filter(|image| !Reference::of(image).is_on_docker_hub());
    let answers = join_all(asked.map(str::to_owned).map(ask)).await;
    plan.blobs = answers.into_iter().flatten().collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, PullSize, Step};
    use crate::podman::{ReadCall, Simulated};

    #[tokio::test]
    async fn one_silent_registry_leaves_the_other_sizes_known_and_docker_hub_is_not_asked() {
        let images = ["ghcr.io/lab/a:1", "silent.example/b:1", "gone.example/c:1", "docker.io/lab/d:1"];
        let blobs = |size| Some([("sha256:aa".to_owned(), size)].into());
        let manifests =
            [(images[0].to_owned(), blobs(7)), (images[1].to_owned(), None), (images[3].to_owned(), blobs(9))];
        let mut podman = Simulated::default();
        podman.manifests = manifests.into();
        let pull = |image: &str| Step { action: Action::Pull(image.into()), service: None, after: Vec::new() };
        let mut plan = Plan { steps: images.map(pull).into(), ..Plan::default() };
        read_within(Duration::from_millis(20), &podman, &mut plan).await;
        assert_eq!(plan.pull_size(), PullSize { images: 4, of_known_size: 1, bytes_at_most: 7 });
        assert_eq!(podman.read_calls(), [images[0], images[1], images[2]].map(|image| ReadCall::Blobs(image.into())));
    }
}
