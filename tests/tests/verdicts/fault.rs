//! A row of the table: what is wrong, and the one right answer.

use airpods_lab::path::{Direction, LINK_MTU, Rules, Server};
use airpods_lab::{Family, PathWorld};

/// A fault, and what `airpods net check` has to say about it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) rules: Rules,
    pub(crate) server: Server,
    /// The family of the only address of the server's name; both when `None`.
    pub(crate) family: Option<Family>,
    /// Something wrong with the host, or done to it before.
    pub(crate) prepare: Option<fn(&PathWorld)>,
    /// The verdict's code.
    pub(crate) verdict: &'static str,
    /// Whether a busy machine may find that it cannot tell.
    pub(crate) may_stay_open: bool,
    /// The required knowledge of each direction.
    pub(crate) up: Size,
    pub(crate) down: Size,
}

/// The required knowledge of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The largest packet that the path carries, to the byte, and for sure.
    Exact,
    /// This, which is all that can be tried, by a limit that is not the path's.
    Limited(u16),
    /// Something, up to what the path carries.
    AtMost,
    /// Nothing needs to be known.
    Any,
}

impl Fault {
    /// A path between the host and an RSA server with IPv4. It is [`Fault::is`] that makes a row of it.
    pub(crate) fn on(rules: Rules) -> Self {
        Self {
            rules,
            server: Server::Rsa,
            family: Some(Family::V4),
            prepare: None,
            verdict: "",
            may_stay_open: false,
            up: Size::Exact,
            down: Size::Exact,
        }
    }

    pub(crate) fn at(self, server: Server) -> Self {
        Self { server, ..self }
    }

    pub(crate) fn over(self, family: Family) -> Self {
        Self { family: Some(family), ..self }
    }

    pub(crate) fn over_both(self) -> Self {
        Self { family: None, ..self }
    }

    pub(crate) fn with(self, prepare: fn(&PathWorld)) -> Self {
        Self { prepare: Some(prepare), ..self }
    }

    /// The verdict, with both sizes exact.
    pub(crate) fn is(self, verdict: &'static str) -> Self {
        Self { verdict, ..self }
    }

    /// The sizes, where they are not both exact.
    pub(crate) fn knowing(self, up: Size, down: Size) -> Self {
        Self { up, down, ..self }
    }

    /// A limit of the rate eats what a busy machine sends in a burst, so that it may find that it cannot tell.
    pub(crate) fn or_open(self) -> Self {
        Self { may_stay_open: true, ..self }
    }

    /// The verdict on what lets no size be measured.
    pub(crate) fn only_is(self, verdict: &'static str) -> Self {
        Self { verdict, ..self }.knowing(Size::Any, Size::Any)
    }

    /// The largest packet that the host gets through in a direction.
    pub(crate) fn truth(&self, direction: Direction) -> u16 {
        let path = self.rules.truth(direction).and_then(|size| u16::try_from(size).ok());
        path.map_or(LINK_MTU, |size| size.min(LINK_MTU))
    }

    /// The same with 5 % more loss in both directions.
    pub(crate) fn with_loss(mut self) -> Self {
        self.rules = self.rules.both(|way| way.loss += 0.05);
        self
    }

    pub(crate) fn url(&self) -> String {
        let name = self.family.map_or_else(|| self.server.name(), |family| self.server.name_in(family));
        format!("https://{name}/")
    }
}
