//! Reads the log of one service, and resumes it when the container is restarted or replaced.

use std::io;
use std::time::Duration;

use super::NeverStarted;
use crate::error::Failure;
use crate::plan;
use crate::podman::{Container, ContainerState, LogLine, LogOptions, Podman};

/// How much of a service's log was shown. podman gives the second of each line and keeps their
/// order. When the last second is read again, as many of its lines are skipped as were shown.
#[derive(Debug, Default)]
struct Position {
    /// The id of the container.
    container: Option<String>,
    second: String,
    shown: usize,
    skip: usize,
}

impl Position {
    /// The options for resuming the log of the container with this id. `first` has the options of
    /// the first read.
    pub(super) fn resume(&mut self, id: &str, first: &LogOptions) -> LogOptions {
        let before = self.container.replace(id.to_owned());
        match before {
            None => first.clone(),
            Some(before) if before == id && self.second.is_empty() => first.clone(),
            Some(before) if before == id => {
                self.skip = self.shown;
                LogOptions { tail: None, since: Some(self.second.clone()), ..first.clone() }
            }
            Some(_) => {
                *self = Self { container: self.container.take(), ..Self::default() };
                LogOptions { tail: None, since: None, ..first.clone() }
            }
        }
    }

    /// Whether a line with this time is new. It counts as shown afterwards.
    pub(super) fn is_new(&mut self, time: &str) -> bool {
        if time == self.second {
            if let Some(left) = self.skip.checked_sub(1) {
                self.skip = left;
                return false;
            }
            self.shown += 1;
        } else {
            *self = Self { container: self.container.take(), second: time.to_owned(), shown: 1, skip: 0 };
        }
        true
    }

    /// Whether the position is in the log of the container with this id.
    pub(super) fn is_in(&self, id: &str) -> bool {
        self.container.as_deref() == Some(id)
    }
}

/// How often the state of an ended container is checked.
const PAUSE: Duration = Duration::from_millis(500);

/// A service whose log is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) service: &'a str,
    /// The configured name of its container, which may differ from the present one.
    pub(super) configured: &'a str,
    /// Whether the user named the service. Then it must have a container.
    pub(super) named: bool,
}

/// Reads to the end of the log, or for ever when following. Passes each line on with the name of
/// its container.
pub(super) async fn read(
    podman: &impl Podman,
    source: Source<'_>,
    options: &LogOptions,
    mut write: impl FnMut(&str, &LogLine) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut position = Position::default();
    let mut first = true;
    loop {
        // Look the container up each time: it may have been replaced under another name.
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

/// Reads the new part of a container's log. Returns whether the container exists.
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

/// Reads the log once. Returns whether the container exists.
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
    use crate::error::Exit;
    use crate::plan::tests::{NEW, THREE, podman, start};
    use crate::podman::Simulated;

    fn first() -> LogOptions {
        LogOptions { follow: true, tail: Some(10), since: None }
    }

    /// The lines that are shown when podman returns the log from the second in `options`.
    fn shown<'a>(position: &mut Position, options: &LogOptions, log: &[(&str, &'a str)]) -> Vec<&'a str> {
        let since = options.since.as_deref().unwrap_or_default();
        let given = log.iter().filter(|(time, _)| *time >= since);
        given.filter(|(time, _)| position.is_new(time)).map(|(_, line)| *line).collect()
    }

    #[test]
    fn after_a_restart_each_line_is_shown_once() {
        let mut position = Position::default();
        let before = [("01", "a"), ("02", "b"), ("02", "b")];
        let options = position.resume("id", &first());
        assert_eq!((shown(&mut position, &options, &before), options), (vec!["a", "b", "b"], first()));
        let after = [("01", "a"), ("02", "b"), ("02", "b"), ("02", "b"), ("02", "c"), ("03", "d")];
        let options = position.resume("id", &first());
        assert_eq!(options, LogOptions { follow: true, tail: None, since: Some("02".into()) });
        assert_eq!(shown(&mut position, &options, &after), ["b", "c", "d"]);
        let options = position.resume("id", &first());
        assert_eq!(shown(&mut position, &options, &after), Vec::<&str>::new());
    }

    #[test]
    fn the_log_of_a_recreated_container_is_read_from_its_beginning() {
        let mut position = Position::default();
        let options = position.resume("old", &first());
        shown(&mut position, &options, &[("02", "a")]);
        let options = position.resume("new", &first());
        assert_eq!(options, LogOptions { follow: true, tail: None, since: None });
        assert_eq!(shown(&mut position, &options, &[("02", "a"), ("02", "b")]), ["a", "b"]);
    }

    #[test]
    fn a_log_of_which_nothing_was_shown_is_read_as_at_first() {
        let mut position = Position::default();
        position.resume("id", &first());
        assert_eq!(position.resume("id", &first()), first());
    }

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

    /// The whole log of a service.
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
    async fn the_log_of_a_foreign_container_is_not_shown_as_the_services() {
        let before = podman(NEW);
        start(&before, THREE, &["web"]).await;
        let mut objects = before.objects();
        objects.containers.get_mut("web-0").unwrap().0.labels.clear();
        let mut podman = Simulated::new(NEW, objects);
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
