//! A row of the table: the fault and the one right answer.

use airpods_lab::path::{Direction, LINK_MTU, Rules, Server};
use airpods_lab::{Family, PathWorld};

/// A fault, and the expected answer of `airpods net check`.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) rules: Rules,
    pub(crate) server: Server,
    /// The registry of a second service's image.
    pub(crate) second: Option<Server>,
    /// The verdict on the path to the first server, if the second one takes its place.
    pub(crate) replaced: Option<&'static str>,
    /// The family of the only address of a server's name; both when `None`.
    pub(crate) family: Option<Family>,
    /// The server speaks QUIC, and the check tries UDP.
    pub(crate) quic: bool,
    /// A fault of the host, or a preparation of it.
    pub(crate) prepare: Option<fn(&PathWorld)>,
    /// The verdict's code.
    pub(crate) verdict: &'static str,
    /// Whether a busy machine may end without a verdict.
    pub(crate) may_stay_open: bool,
    /// How exactly the size of each direction must be known.
    pub(crate) up: Size,
    pub(crate) down: Size,
}

/// How exactly the size of one direction must be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The largest packet that the path carries, to the byte, and for sure.
    Exact,
    /// Exactly this size, the largest that can be tried because of a limit other than the path's.
    Limited(u16),
    /// Any size up to that which the path carries.
    AtMost,
    /// The size need not be known.
    Any,
}

impl Fault {
    /// A path between the host and an RSA server with IPv4. [`Fault::is`] makes a row of it.
    pub(crate) fn on(rules: Rules) -> Self {
        Self {
            rules,
            server: Server::Rsa,
            second: None,
            replaced: None,
            family: Some(Family::V4),
            quic: false,
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

    /// Adds a second server.
    pub(crate) fn and(self, second: Server) -> Self {
        Self { second: Some(second), ..self }
    }

    /// The second server takes the place of the first one, which gets this verdict.
    pub(crate) fn replaced(self, verdict: &'static str) -> Self {
        Self { replaced: Some(verdict), ..self }
    }

    pub(crate) fn with_quic(self) -> Self {
        Self { quic: true, ..self }
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

    /// Sets the required sizes if not both are exact.
    pub(crate) fn sizes(self, up: Size, down: Size) -> Self {
        Self { up, down, ..self }
    }

    /// Also accepts a missing verdict: a rate limit drops the bursts of a busy machine, so that it
    /// cannot tell.
    pub(crate) fn or_open(self) -> Self {
        Self { may_stay_open: true, ..self }
    }

    /// The verdict on a fault that prevents measuring any size.
    pub(crate) fn only_is(self, verdict: &'static str) -> Self {
        Self { verdict, ..self }.sizes(Size::Any, Size::Any)
    }

    /// The largest packet that passes for the host in a direction.
    pub(crate) fn truth(&self, direction: Direction) -> u16 {
        let path = self.rules.truth(direction).and_then(|size| u16::try_from(size).ok());
        path.map_or(LINK_MTU, |size| size.min(LINK_MTU))
    }

    /// The same with 5 % more loss in both directions.
    pub(crate) fn with_loss(mut self) -> Self {
        self.rules = self.rules.both(|rules| rules.loss += 0.05);
        self
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = Server> {
        [Some(self.server), self.second].into_iter().flatten()
    }

    /// The name of a server, with the addresses of the row's families.
    pub(crate) fn name_of(&self, server: Server) -> String {
        self.family.map_or_else(|| server.name(), |family| server.name_in(family))
    }
}
