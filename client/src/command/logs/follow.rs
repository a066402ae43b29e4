//! Reads the log of one service, and goes on when its container is started again, or made anew.

use std::io;
use std::time::Duration;

use super::NeverStarted;
use super::position::Position;
use crate::error::Failure;
use crate::plan;
use crate::podman::{Container, ContainerState, LogLine, LogOptions, Podman};

/// How often a container that has ended is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Where lines come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) service: &'a str,
    /// The name that its container is to have; the one that it has may be another.
    pub(super) configured: &'a str,
    /// Somebody asked for it by its name: it must be there.
    pub(super) named: bool,
}

/// Reads to the end of the log, or for ever when following, and hands out each line with the container that it comes from.
pub(super) async fn read(
    podman: &impl Podman,
    source: Source<'_>,
    options: &LogOptions,
    mut write: impl FnMut(&str, &LogLine) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut position = Position::default();
    let mut first = true;
    loop {
        // Looked for each time: the container may have been replaced, under another name.
        let containers = podman.containers().await?;
        let there = match plan::container_made_for(source.service, Some(source.configured), &containers) {
            Some(found) => read_on(podman, found, options, &mut position, &mut write).await?,
            None => false,
        };
        // Without names, services that were never started are left out.
        if first && !there && source.named {
            return Err(NeverStarted(source.service.to_owned()).into());
        }
        if !options.follow {
            return Ok(());
        }
        first = false;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads what has not been read of a container's log, and answers whether the container is there.
async fn read_on(
    podman: &impl Podman,
    found: &Container,
    options: &LogOptions,
    position: &mut Position,
    write: &mut impl FnMut(&str, &LogLine) -> io::Result<()>,
) -> Result<bool, Failure> {
    if !options.follow {
        return read_once(podman, &found.name, options, position, write).await;
    }
    match podman.inspect_container(&found.name).await {
        Ok(detail) if position.is_in(&detail.id) && detail.state != ContainerState::Running => Ok(true),
        Ok(detail) => {
            let options = position.resume(&detail.id, options);
            read_once(podman, &found.name, &options, position, write).await
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads once, and answers whether there is a container.
async fn read_once(
    podman: &impl Podman,
    container: &str,
    options: &LogOptions,
    position: &mut Position,
    write: &mut impl FnMut(&str, &LogLine) -> io::Result<()>,
) -> Result<bool, Failure> {
    let mut broken = None;
    let mut sink = |line: LogLine| {
        if position.is_new(&line.time)
            && let Err(error) = write(container, &line)
        {
            broken = Some(error);
            return false;
        }
        true
    };
    let outcome = podman.logs(container, options, &mut sink).await;
    match (broken, outcome) {
        (Some(error), _) => Err(error.into()),
        (None, Ok(())) => Ok(true),
        (None, Err(error)) if error.is_not_found() => Ok(false),
        (None, Err(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exit::Exit;
    use crate::plan::tests::{NEW, THREE, podman, start};
    use crate::podman::Simulated;

    fn web(named: bool) -> Source<'static> {
        Source { service: "web", configured: "web-0", named }
    }

    #[tokio::test]
    async fn a_service_that_was_never_started_is_a_failure_if_it_was_named() {
        let podman = podman(NEW);
        let options = LogOptions::default();
        assert!(read(&podman, web(false), &options, |_, _| Ok(())).await.is_ok());
        for follow in [false, true] {
            let options = LogOptions { follow, ..LogOptions::default() };
            let failure = read(&podman, web(true), &options, |_, _| Ok(())).await.unwrap_err();
            assert!(format!("{failure:?}").contains("NeverStarted"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn an_output_that_takes_no_more_ends_the_reading() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into(), "second".into()];
        start(&podman, THREE, &["web"]).await;
        let closed = |_: &str, _: &LogLine| Err(io::ErrorKind::BrokenPipe.into());
        let ended = read(&podman, web(true), &LogOptions::default(), closed).await.unwrap_err();
        assert_eq!(ended.exit(), Exit::Done, "a reader that has seen enough is no failure");
    }

    #[tokio::test]
    async fn a_service_that_is_followed_may_be_started_later() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into()];
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let seen = std::cell::RefCell::new(Vec::new());
        let write = |_: &str, line: &LogLine| {
            seen.borrow_mut().push(String::from_utf8_lossy(&line.text).into_owned());
            Ok(())
        };
        let later = async {
            tokio::time::sleep(PAUSE / 2).await;
            assert!(seen.borrow().is_empty());
            start(&podman, THREE, &["web"]).await;
            tokio::time::sleep(PAUSE * 3).await;
        };
        let reading = read(&podman, web(false), &options, write);
        tokio::select! {
            ended = reading => ended.unwrap(),
            () = later => {}
        }
        assert_eq!(*seen.borrow(), ["first"]);
    }

    /// Reads the log of a service to its end.
    async fn lines_of(podman: &Simulated, source: Source<'_>) -> Result<Vec<String>, Failure> {
        let mut seen = Vec::new();
        let write = |_: &str, line: &LogLine| {
            seen.push(String::from_utf8_lossy(&line.text).into_owned());
            Ok(())
        };
        read(podman, source, &LogOptions::default(), write).await?;
        Ok(seen)
    }

    #[tokio::test]
    async fn a_log_is_found_by_the_containers_label_when_its_configured_name_has_changed() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into()];
        start(&podman, THREE, &["web"]).await;
        let renamed = Source { configured: "w-0", ..web(true) };
        assert_eq!(lines_of(&podman, renamed).await.unwrap(), ["first"]);
    }

    #[tokio::test]
    async fn the_log_of_a_strangers_container_is_not_shown_as_the_services() {
        let before = podman(NEW);
        start(&before, THREE, &["web"]).await;
        let mut world = before.world();
        world.containers.get_mut("web-0").unwrap().0.labels.clear();
        let mut podman = Simulated::new(NEW, world);
        podman.log = vec!["secret".into()];
        assert_eq!(lines_of(&podman, web(false)).await.unwrap(), Vec::<String>::new());
        let failure = lines_of(&podman, web(true)).await.unwrap_err();
        assert!(format!("{failure:?}").contains("NeverStarted"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_service_that_is_followed_may_get_a_container_of_another_name() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into()];
        start(&podman, THREE, &["web"]).await;
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let seen = std::cell::RefCell::new(Vec::new());
        let write = |container: &str, _: &LogLine| {
            seen.borrow_mut().push(container.to_owned());
            Ok(())
        };
        let later = async {
            tokio::time::sleep(PAUSE / 2).await;
            assert_eq!(*seen.borrow(), ["web-0"]);
            let renamed = THREE.replace("[services.web]", "[services.web]\ncontainer = \"w-0\"");
            start(&podman, &renamed, &["web"]).await;
            tokio::time::sleep(PAUSE * 2).await;
        };
        let reading = read(&podman, web(true), &options, write);
        tokio::select! {
            ended = reading => ended.unwrap(),
            () = later => {}
        }
        assert_eq!(*seen.borrow(), ["web-0", "w-0"]);
    }
}
