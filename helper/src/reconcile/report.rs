//! The reconciler's reports: status, properties, and the changes since the last signal.

use std::time::Instant;

use airpods_dbus::{ClampOptions, ClampState, ClampStatus, Error, LinkName, Mode, Status, Target};

use super::Reconciler;
use crate::clamp::{self, PlannedClamp, Request};
use crate::kernel::{Links, Ruleset};

/// The values of the properties with a change signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// `Clamps`: the links under an active clamp.
    pub clamps: Vec<String>,
    /// `Auto`.
    pub auto: bool,
}

impl Reconciler {
    /// The full status, read from the kernel now.
    ///
    /// # Errors
    /// [`Error`] if the kernel cannot be read: an unknown state is not reported as "off".
    pub fn status(&mut self, now: Instant) -> Result<Status, Error> {
        // Any user can ask for a status and reading routes is expensive, so this uses the last read
        // ones. Events keep them current.
        let Links { named: mut links, unclampable } = self.kernel.links(&|_| false)?;
        for link in &mut links {
            link.routes = self.routes.get(&link.name).copied().unwrap_or_default();
        }
        let plan = clamp::plan(&self.desired, &links, &self.plan.known);
        let table = self.kernel.read_table()?;
        let is_foreign = self.table.is_foreign && table.as_ref().is_some_and(|table| !table.is_ours);
        let table = table.unwrap_or_default();
        let state = |link: &LinkName, clamp: &PlannedClamp| self.state(link, clamp, &table.ruleset, now);
        Ok(Status {
            version: VERSION.to_owned(),
            auto: self.desired.auto.is_some(),
            auto_persist: self.desired.auto.is_some_and(|auto| auto.persist),
            auto_mtu: self.desired.auto.and_then(|auto| auto.mtu).map(u32::from),
            clamps: plan.clamps.iter().map(|(link, clamp)| status(link, clamp, state(link, clamp))).collect(),
            counters: table.counters,
            refusal: self.refused.as_ref().map(|refused| refused.cause.clone()),
            unclampable,
            foreign_table: is_foreign,
        })
    }

    fn state(&self, link: &LinkName, clamp: &PlannedClamp, in_force: &Ruleset, now: Instant) -> ClampState {
        match (has(in_force, link), self.repairs.is_on(now)) {
            _ if !clamp.ruled => ClampState::Waiting,
            (false, _) if self.refused.is_some() => ClampState::Refused,
            (_, true) => ClampState::Contested,
            (true, false) if clamp.is_live() => ClampState::Active,
            _ => ClampState::Waiting,
        }
    }

    /// Reduces a request to the least permission: drops `any-link` if the link is a VPN link. So
    /// the prompt asks for no more than is needed.
    ///
    /// # Errors
    /// [`Error`] if the kernel cannot be read.
    pub fn narrowed(&mut self, request: Request) -> Result<Request, Error> {
        match request {
            Request::ClampOn(Target::Link(link), options) if options.any_link => {
                let is_vpn = self.kernel.link(&link)?.is_some_and(|there| there.kind.is_vpn());
                Ok(Request::ClampOn(Target::Link(link), ClampOptions { any_link: !is_vpn, ..options }))
            }
            other => Ok(other),
        }
    }

    /// The current properties.
    #[must_use]
    pub fn properties(&self, now: Instant) -> Announcement {
        let is_contested = self.repairs.is_on(now);
        let is_active =
            |link: &LinkName, clamp: &PlannedClamp| !is_contested && clamp.is_live() && has(&self.table.in_force, link);
        let active = self.plan.clamps.iter().filter(|(link, clamp)| is_active(link, clamp));
        Announcement { clamps: active.map(|(link, _)| link.to_string()).collect(), auto: self.desired.auto.is_some() }
    }

    /// The former and the current properties, if they differ. The current ones then count as
    /// announced.
    pub fn take_announcement(&mut self, now: Instant) -> Option<(Announcement, Announcement)> {
        let current = self.properties(now);
        let before = std::mem::replace(&mut self.announced, current.clone());
        (before != current).then_some((before, current))
    }
}

/// The helper's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

fn has(ruleset: &Ruleset, link: &LinkName) -> bool {
    ruleset.route.contains(link) || ruleset.fixed.contains_key(link)
}

fn status(link: &LinkName, clamp: &PlannedClamp, state: ClampState) -> ClampStatus {
    let there = clamp.link.as_ref();
    ClampStatus {
        link: link.to_string(),
        state,
        mode: if clamp.options.mtu.is_some() { Mode::Fixed } else { Mode::Route },
        origin: clamp.origin,
        persist: clamp.options.persist,
        mtu: clamp.options.mtu.map(u32::from),
        link_mtu: there.map(|link| link.mtu),
        route_mtu: there.and_then(|link| link.routes.mtu.filter(|mtu| *mtu < link.mtu)),
        link_kind: there.map(|link| link.kind.info_kind.clone()),
    }
}
