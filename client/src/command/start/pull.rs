//! The pulls of a start: their sizes, read from the registries, and `airpods start --pre-fetch`,
//! which only pulls.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{Args, Context, print};
use crate::config::{Config, PodmanUrl, Reference};
use crate::error::{Exit, Failure};
use crate::execute::{self, Open, Pace};
use crate::plan::{self, Action, Observed, Plan, Step};
use crate::podman::{self, Podman};
use crate::terminal::{print_json, spinner};

/// How long the registries may take to answer, all together. One takes two questions with up to
/// twenty round trips: connections, a token, and the manifest of the list and of its image.
const LIMIT: Duration = Duration::from_secs(5);

/// Adds the sizes of the images to pull. A size that the registry does not report in time stays
/// unknown, as does every one on Docker Hub: it counts each question as a pull of its rate limit.
pub(super) async fn read_sizes(podman: &impl Podman, plan: &mut Plan) {
    read_sizes_within(LIMIT, podman, plan).await;
}

async fn read_sizes_within(limit: Duration, podman: &impl Podman, plan: &mut Plan) {
    let asked = plan.pulled_images().filter(|image| !Reference::of(image).is_on_docker_hub());
    let asked: Vec<String> = asked.map(str::to_owned).collect();
    if asked.is_empty() {
        return;
    }
    // Dropped on Ctrl-C, too.
    let _waiting = spinner("asking the registries how large the images are");
    let ask = |image: String| async move {
        let blobs = tokio::time::timeout(limit, podman.image_blobs(&image)).await.ok()?.ok()??;
        Some((image, blobs))
    };
    let answers = join_all(asked.into_iter().map(ask)).await;
    plan.blobs = answers.into_iter().flatten().collect();
}

/// Runs `airpods start --pre-fetch`: pulls the missing images of the services, and starts nothing.
pub(super) async fn pre_fetch(
    args: &Args,
    context: &Context,
    config: &Config,
    mut interrupt: Pin<&mut impl Future<Output = ()>>,
) -> Result<Exit, Failure> {
    let services = plan::chosen(config, &args.services, false)?;
    let images: BTreeSet<String> = services.iter().map(|(_, service)| service.image.to_string()).collect();
    let reading = async {
        let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
        let observed = Observed::of(&connection.podman, images.clone()).await?;
        Ok::<_, Failure>((connection, observed))
    };
    let (connection, observed) = execute::interruptible(interrupt.as_mut(), reading).await??;
    let wanted = services.iter().map(|(name, service)| (name.to_string(), service.image.to_string()));
    let mut plan = pulls(wanted, &observed.images);
    execute::interruptible(interrupt.as_mut(), read_sizes(&connection.podman, &mut plan)).await?;
    if args.dry_run {
        print::plan(&plan, args.json)?;
        return Ok(Exit::Done);
    }
    let pace = Pace { sequential: args.sequential, ..Pace::from_config(&config.cli) };
    print::size(&plan)?;
    execute::execute_with_progress(&connection.podman, &plan, &pace, context.is_verbose(&config.cli), &Open, interrupt)
        .await?;
    print_pulled(&images, &plan, args.json)?;
    Ok(Exit::Done)
}

/// A pull for each missing image, for the first service that uses it.
fn pulls(wanted: impl Iterator<Item = (String, String)>, there: &BTreeSet<String>) -> Plan {
    let mut pulled = BTreeSet::new();
    let missing = wanted.filter(|(_, image)| !there.contains(image) && pulled.insert(image.clone()));
    let pull = |(service, image)| Step { action: Action::Pull(image), service: Some(service), after: Vec::new() };
    Plan { steps: missing.map(pull).collect(), ..Plan::default() }
}

fn print_pulled(images: &BTreeSet<String>, plan: &Plan, json: bool) -> io::Result<()> {
    if json {
        return print_json(&json!({ "images": images, "pulled": plan.steps.len() }));
    }
    if plan.is_empty() {
        writeln!(anstream::stderr(), "every image is here already")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PullSize;
    use crate::podman::{ReadCall, Simulated};

    #[test]
    fn an_image_that_two_services_share_is_pulled_once_and_one_that_is_there_not_at_all() {
        let wanted = [("a", "lab/x:1"), ("b", "lab/x:1"), ("c", "lab/y:1")];
        let wanted = wanted.map(|(service, image)| (service.to_owned(), image.to_owned()));
        let plan = pulls(wanted.into_iter(), &["lab/y:1".to_owned()].into());
        assert_eq!(plan.to_string(), "  1. pull the image `lab/x:1`\n");
    }

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
        read_sizes_within(Duration::from_millis(20), &podman, &mut plan).await;
        assert_eq!(plan.pull_size(), PullSize { images: 4, of_known_size: 1, bytes_at_most: 7 });
        assert_eq!(podman.read_calls(), [images[0], images[1], images[2]].map(|image| ReadCall::Blobs(image.into())));
    }
}
