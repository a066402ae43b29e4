//! Plain transfers from every place, and nothing else: whether what hung before a change completes after it.

use std::time::Instant;

use super::inside::measure_inside;
use super::path::Job;
use super::report::PlaceReport;
use super::{Plan, Tell, jobs, link_to, resolve, run_jobs};

/// Makes plain transfers from the host, and from each network that this user may enter.
///
/// # Errors
/// A sentence, where no server has an address.
pub async fn transfers(plan: &Plan, tell: Tell) -> Result<Vec<PlaceReport>, String> {
    if let Some(why) = &plan.unmeasurable {
        return Err(why.clone());
    }
    let servers = resolve(&plan.targets).await.map_err(|(target, _, why)| match target {
        Some(target) => format!("`{}` cannot be asked: {why}", target.host),
        None => why,
    })?;
    let only_transfers = |job: Job| Job { transfers_only: true, ..job };
    let jobs: Vec<Job> = jobs(plan, &servers, Instant::now()).into_iter().map(only_transfers).collect();
    let host = PlaceReport { place: "host".to_owned(), link: link_to(&servers), ..PlaceReport::default() };
    let mut places = vec![PlaceReport { paths: run_jobs(jobs.clone(), &tell).await, ..host }];
    for place in &plan.places.networks {
        // A network that may not be entered was judged from the host before, too.
        let Ok(paths) = measure_inside(place.pid, &jobs).await else { continue };
        let link = place.way.egress.as_ref().map(super::link);
        places.push(PlaceReport { place: place.name.clone(), link, paths, ..PlaceReport::default() });
    }
    Ok(places)
}
