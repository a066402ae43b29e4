//! How far a log has been shown, so that reading can go on there.

use crate::podman::LogOptions;

/// How far the log of a service has been shown. podman tells the second of each line, and lines stay in their order: those of the
/// last second that are shown are counted, and left out when that second is read again.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The container, by its id.
    container: Option<String>,
    second: String,
    shown: usize,
    skip: usize,
}

impl Position {
    /// How to read on in the log of the container with this id; `first` is how it was to be read at first.
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

    /// Whether a line of this time has not been shown. It counts as shown from now on.
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

    /// Whether something of the container with this id has been read.
    pub(super) fn is_in(&self, id: &str) -> bool {
        self.container.as_deref() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> LogOptions {
        LogOptions { follow: true, tail: Some(10), since: None }
    }

    /// What is shown of a log that podman hands out from the second of `options` on.
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
    fn a_container_made_anew_is_read_from_its_beginning() {
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
}
