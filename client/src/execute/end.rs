//! Carries out a teardown, stage by stage. It cannot be undone, so a failure does not stop the
//! rest. Ctrl-C stops what has not begun. Every outcome is reported.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::config::FOLDER;
use crate::plan::{Kind, Teardown};
use crate::podman::{Podman, PodmanError};

/// The outcome of a teardown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// The steps done.
    pub done: Vec<Teardown>,
    /// The failed steps, and the reasons.
    pub refused: Vec<(Teardown, String)>,
    /// The steps still under way when the second Ctrl-C came: they may still be done.
    pub under_way: Vec<Teardown>,
    /// The steps not begun because of Ctrl-C.
    pub left: Vec<Teardown>,
}

impl Ended {
    /// Whether Ctrl-C prevented a step, or its outcome is unknown because of it.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        !(self.under_way.is_empty() && self.left.is_empty())
    }
}

/// A progress report during a teardown.
#[derive(Debug)]
pub enum Notice<'a> {
    /// This step is done.
    Done(&'a Teardown),
    /// These steps have taken this long, and longer than one second.
    Slow(&'a [&'a Teardown], Duration),
    /// Ctrl-C came, and this number of steps is waited for.
    Waiting(usize),
}

/// A stop that takes longer than this is reported while it lasts.
const SLOW: Duration = Duration::from_secs(1);

/// Carries out everything in `stages`. After `interrupt` no new stage begins. Steps under way are
/// waited for, because podman may still carry out a call that is cut off. `again` ends that wait.
pub async fn end(
    podman: &impl Podman,
    stages: &[Vec<Teardown>],
    timeout_seconds: u32,
    mut notify: impl FnMut(Notice<'_>),
    interrupt: impl Future<Output = ()>,
    again: impl Future<Output = ()>,
) -> Ended {
    let mut ended = Ended::default();
    let (mut interrupt, mut again) = (pin!(interrupt), pin!(again));
    let mut interrupted = false;
    for stage in stages {
        if interrupted {
            ended.left.extend(stage.iter().cloned());
            continue;
        }
        let mut running: FuturesUnordered<_> = stage.iter().map(|one| act(podman, one, timeout_seconds)).collect();
        let mut open: Vec<&Teardown> = stage.iter().collect();
        let (begin, mut slow, mut is_slow) = (Instant::now(), pin!(tokio::time::sleep(SLOW)), false);
        loop {
            tokio::select! {
                // An interrupt counts before a step that ends at the same poll.
                biased;
                () = &mut interrupt, if !interrupted => {
                    interrupted = true;
                    notify(Notice::Waiting(open.len()));
                }
                () = &mut again, if interrupted => {
                    ended.under_way.extend(open.into_iter().cloned());
                    break;
                }
                () = &mut slow, if !is_slow => {
                    is_slow = true;
                    notify(Notice::Slow(&open, begin.elapsed()));
                }
                next = running.next() => {
                    let Some((one, outcome)) = next else { break };
                    open.retain(|other| *other != one);
                    match outcome {
                        Ok(true) => {
                            notify(Notice::Done(one));
                            ended.done.push(one.clone());
                        }
                        // The object was gone already.
                        Ok(false) => {}
                        Err(why) => ended.refused.push((one.clone(), why)),
                    }
                }
            }
        }
    }
    ended
}

/// Carries out one step; false if the object was gone already.
async fn act<'a>(
    podman: &impl Podman,
    teardown: &'a Teardown,
    timeout_seconds: u32,
) -> (&'a Teardown, Result<bool, String>) {
    let outcome = match teardown {
        Teardown::Stop { container, .. } => podman.stop_container(container, timeout_seconds).await,
        Teardown::StopPod(name) => podman.stop_pod(name, timeout_seconds).await,
        Teardown::Remove(Kind::Container, name) => podman.remove_container(name).await,
        Teardown::Remove(Kind::Pod, name) => podman.remove_pod(name).await,
        Teardown::Remove(Kind::Network, name) => podman.remove_network(name).await,
        Teardown::Remove(Kind::Volume, name) => podman.remove_volume(name).await,
        Teardown::Remove(Kind::Image, name) => podman.remove_image(name).await,
        Teardown::Discard(file) => return (teardown, discard(file)),
    };
    let outcome = match outcome {
        Ok(()) => Ok(true),
        Err(error) if PodmanError::is_not_found(&error) => Ok(false),
        Err(error) => Err(error.message()),
    };
    (teardown, outcome)
}

/// Removes a file, and airpods' own folder if that is empty then; false if the file was gone
/// already.
fn discard(file: &Path) -> Result<bool, String> {
    match std::fs::remove_file(file) {
        Ok(()) => {
            let folder = file.parent().filter(|folder| folder.file_name().is_some_and(|name| name == FOLDER));
            // The kernel refuses to remove a folder that is not empty, so no other file is lost.
            drop(folder.map(std::fs::remove_dir));
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;
    use crate::plan::tests::{NEW, THREE, podman, start};
    use crate::podman::{Call, ContainerState, Simulated};

    fn stop(service: &str) -> Teardown {
        Teardown::Stop { service: service.to_owned(), container: format!("{service}-0"), started_at: None }
    }

    fn remove(service: &str) -> Teardown {
        Teardown::Remove(Kind::Container, format!("{service}-0"))
    }

    fn stages() -> Vec<Vec<Teardown>> {
        vec![vec![stop("model"), stop("web")], vec![remove("model"), remove("web")]]
    }

    async fn running() -> Simulated {
        let podman = podman(NEW);
        start(&podman, THREE, &["model", "web"]).await;
        podman
    }

    /// A future that completes after this number of polls.
    fn after_polls(mut polls: u32) -> impl Future<Output = ()> {
        std::future::poll_fn(move |context| {
            context.waker().wake_by_ref();
            match polls.checked_sub(1) {
                Some(left) => {
                    polls = left;
                    std::task::Poll::Pending
                }
                None => std::task::Poll::Ready(()),
            }
        })
    }

    #[tokio::test]
    async fn a_refused_step_is_reported_and_the_others_are_done() {
        let podman = running().await;
        podman.fail_at(Call::RemoveContainer("model-0".into()));
        let notices = RefCell::new(Vec::new());
        let notify = |notice: Notice<'_>| notices.borrow_mut().push(format!("{notice:?}"));
        let ended = end(&podman, &stages(), 1, notify, pending(), pending()).await;
        assert_eq!(ended.done.len(), 3);
        assert!([stop("model"), stop("web"), remove("web")].iter().all(|one| ended.done.contains(one)), "{ended:?}");
        assert_eq!(ended.refused.len(), 1);
        assert_eq!(ended.refused[0].0, remove("model"));
        assert_eq!(notices.borrow().len(), 3);
        assert!(!ended.is_cut_short());
    }

    #[tokio::test]
    async fn an_interrupt_at_any_time_leaves_exactly_what_it_reports() {
        for polls in 0..12 {
            let podman = running().await;
            let ended = end(&podman, &stages(), 1, |_| {}, after_polls(polls), pending()).await;
            assert_eq!(ended.done.len() + ended.left.len(), 4, "after {polls} polls");
            let objects = podman.objects();
            for service in ["model", "web"] {
                let state = objects.containers.get(&format!("{service}-0")).map(|(_, state)| *state);
                let expected = match (ended.done.contains(&stop(service)), ended.done.contains(&remove(service))) {
                    (_, true) => None,
                    (true, false) => Some(ContainerState::Exited(0)),
                    (false, false) => Some(ContainerState::Running),
                };
                assert_eq!(state, expected, "`{service}` after {polls} polls");
            }
        }
    }

    #[tokio::test]
    async fn a_second_interrupt_ends_the_wait_and_names_what_may_still_happen() {
        let podman = running().await;
        let ended = end(&podman, &stages(), 1, |_| {}, after_polls(0), after_polls(0)).await;
        assert_eq!(ended.under_way, [stop("model"), stop("web")]);
        assert_eq!(ended.left, [remove("model"), remove("web")]);
    }

    #[tokio::test]
    async fn objects_that_are_gone_already_are_neither_done_nor_refused() {
        let podman = running().await;
        let gone = Teardown::Remove(Kind::Network, "nothing".into());
        let ended = end(&podman, &[vec![gone]], 1, |_| {}, pending(), pending()).await;
        assert_eq!(ended, Ended::default());
    }

    #[test]
    fn a_file_takes_its_folder_along_if_that_is_ours_and_empty_then() {
        let home = tempfile::tempdir().unwrap();
        let make = |path: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let (alone, other) = (make("airpods/config.toml"), make("mine/config.toml"));
        let (first, second) = (make("state/airpods/first"), make("state/airpods/second"));
        for (file, stays) in [(alone, false), (other, true), (first, true), (second, false)] {
            assert_eq!(discard(&file), Ok(true));
            assert_eq!(file.parent().unwrap().exists(), stays, "{}", file.display());
        }
    }
}
