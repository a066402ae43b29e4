//! Reads the log of one service, and goes on when its container is started again, or made anew.

use std::io;
use std::time::Duration;

use super::NeverStarted;
use super::position::Position;
use crate::error::Failure;
use crate::podman::{ContainerState, LogLine, LogOptions, Podman};

/// How often a container that has ended is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Where lines come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) service: &'a str,
    pub(super) container: &'a str,
    /// Somebody asked for it by its name: it must be there.
    pub(super) named: bool,
}

/// Reads to the end of the log, or for ever when following.
pub(super) async fn read(
    podman: &impl Podman,
    source: Source<'_>,
    options: &LogOptions,
    mut write: impl FnMut(&LogLine) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut position = Position::default();
    let mut first = true;
    loop {
        // Without following, the log itself says whether there is a container.
        let id = if options.follow { to_read(podman, source, &position).await? } else { Some(String::new()) };
        let there = match id {
            Some(id) => {
                let options = position.resume(&id, options);
                read_once(podman, source.container, &options, &mut position, &mut write).await?
            }
            None => !first,
        };
        // Without names, those that were never started are simply not among them.
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

/// The id of the container, if there is one with something to read.
async fn to_read(podman: &impl Podman, source: Source<'_>, position: &Position) -> Result<Option<String>, Failure> {
    match podman.inspect_container(source.container).await {
        Ok(detail) => {
            let read_to_its_end = position.is_in(&detail.id) && detail.state != ContainerState::Running;
            Ok((!read_to_its_end).then_some(detail.id))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads once, and answers whether there is a container.
async fn read_once(
    podman: &impl Podman,
    container: &str,
    options: &LogOptions,
    position: &mut Position,
    write: &mut impl FnMut(&LogLine) -> io::Result<()>,
) -> Result<bool, Failure> {
    let mut broken = None;
    let mut sink = |line: LogLine| {
        if position.is_new(&line.time)
            && let Err(error) = write(&line)
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

    fn web(named: bool) -> Source<'static> {
        Source { service: "web", container: "web-0", named }
    }

    #[tokio::test]
    async fn a_service_that_was_never_started_is_a_failure_if_it_was_named() {
        let podman = podman(NEW);
        let options = LogOptions::default();
        assert!(read(&podman, web(false), &options, |_| Ok(())).await.is_ok());
        for follow in [false, true] {
            let options = LogOptions { follow, ..LogOptions::default() };
            let failure = read(&podman, web(true), &options, |_| Ok(())).await.unwrap_err();
            assert!(format!("{failure:?}").contains("NeverStarted"), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn an_output_that_takes_no_more_ends_the_reading() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into(), "second".into()];
        start(&podman, THREE, &["web"]).await;
        let closed = |_: &LogLine| Err(io::ErrorKind::BrokenPipe.into());
        let ended = read(&podman, web(true), &LogOptions::default(), closed).await.unwrap_err();
        assert_eq!(ended.exit(), Exit::Done, "a reader that has seen enough is no failure");
    }

    #[tokio::test]
    async fn a_service_that_is_followed_may_be_started_later() {
        let mut podman = podman(NEW);
        podman.log = vec!["first".into()];
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let seen = std::cell::RefCell::new(Vec::new());
        let write = |line: &LogLine| {
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
}
