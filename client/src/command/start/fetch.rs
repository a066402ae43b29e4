//! `airpods start --pre-fetch`: pulls the images and starts nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, Write};
use std::pin::Pin;

use serde_json::json;

use super::{Args, Context, print, size};
use crate::config::{Config, PodmanUrl};
use crate::error::{Exit, Failure};
use crate::execute::{self, Open, Pace};
use crate::plan::{self, Action, Observed, Plan, Step};
use crate::podman;
use crate::terminal::print_json;

/// Pulls the missing images of the services.
pub(super) async fn run(
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
    execute::interruptible(interrupt.as_mut(), size::read(&connection.podman, &mut plan)).await?;
    if args.dry_run {
        print::plan(&plan, args.json)?;
        return Ok(Exit::Done);
    }
    let pace = Pace { sequential: args.sequential, ..Pace::from_config(&config.cli) };
    print::size(&plan)?;
    execute::execute_with_progress(&connection.podman, &plan, &pace, context.is_verbose(&config.cli), &Open, interrupt)
        .await?;
    done(&images, &plan, args.json)?;
    Ok(Exit::Done)
}

/// A pull for each missing image, for the first service that uses it.
fn pulls(wanted: impl Iterator<Item = (String, String)>, there: &BTreeSet<String>) -> Plan {
    let mut pulled = BTreeSet::new();
    let missing = wanted.filter(|(_, image)| !there.contains(image) && pulled.insert(image.clone()));
    let pull = |(service, image)| Step { action: Action::Pull(image), service: Some(service), after: Vec::new() };
    Plan { steps: missing.map(pull).collect(), ..Plan::default() }
}

fn done(images: &BTreeSet<String>, plan: &Plan, json: bool) -> io::Result<()> {
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

    #[test]
    fn an_image_that_two_services_share_is_pulled_once_and_one_that_is_there_not_at_all() {
        let wanted = [("a", "lab/x:1"), ("b", "lab/x:1"), ("c", "lab/y:1")];
        let wanted = wanted.map(|(service, image)| (service.to_owned(), image.to_owned()));
        let plan = pulls(wanted.into_iter(), &["lab/y:1".to_owned()].into());
        assert_eq!(plan.to_string(), "  1. pull the image `lab/x:1`\n");
    }
}
