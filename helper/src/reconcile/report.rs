//! What the reconciler tells: status, properties, and what of them has changed since it was last announced.

use std::time::Instant;

use airpods_dbus::{ClampState, ClampStatus, Error, LinkName, Mode, Status};

use super::Reconciler;
use crate::clamp::{self, PlannedClamp};
use crate::kernel::Ruleset;

/// The values of the properties that announce their changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// `Clamps`: the links under an active clamp.
    pub clamps: Vec<String>,
    /// `Auto`.
    pub auto: bool,
}

impl Reconciler {
    /// Everything there is to know, read from the kernel now.
    ///
    /// # Errors
    /// [`Error`] if the kernel cannot be asked: what is unknown is not reported as "off".
    pub fn status(&mut self, now: Instant) -> Result<Status, Error> {
        let links = self.links(self.desired.auto.is_some())?;
        let plan = clamp::plan(&self.desired, &links, &self.plan.known);
        let held = self.kernel.held()?.unwrap_or_default();
        let is_contested = self.repairs.is_on(now);
        let state = |link: &LinkName, clamp: &PlannedClamp| state(link, clamp, &held.ruleset, is_contested);
        Ok(Status {
            version: VERSION.to_owned(),
            auto: self.desired.auto.is_some(),
            auto_persist: self.desired.auto == Some(true),
            clamps: plan.clamps.iter().map(|(link, clamp)| status(link, clamp, state(link, clamp))).collect(),
            counters: held.counters,
            ruleset: held.text.clone(),
            features: self.kernel.features(),
            // Not worth failing for: what is known of our own clamps is told all the same.
            foreign: self.kernel.foreign().ok(),
        })
    }

    /// The properties, as they are now.
    #[must_use]
    pub fn properties(&self, now: Instant) -> Announcement {
        let holds = self.is_settled && !self.repairs.is_on(now);
        let live = self.plan.clamps.iter().filter(|(_, clamp)| holds && clamp.is_live());
        Announcement { clamps: live.map(|(link, _)| link.to_string()).collect(), auto: self.desired.auto.is_some() }
    }

    /// The properties, if they differ from those returned before; what is returned counts as announced.
    pub fn news(&mut self, now: Instant) -> Option<(Announcement, Announcement)> {
        let current = self.properties(now);
        let before = std::mem::replace(&mut self.announced, current.clone());
        (before != current).then_some((before, current))
    }
}

/// The helper's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

fn state(link: &LinkName, clamp: &PlannedClamp, held: &Ruleset, is_contested: bool) -> ClampState {
    let is_held = held.route.contains(link) || held.fixed.contains_key(link);
    match (clamp.is_live(), is_held && !is_contested) {
        (_, false) if clamp.ruled => ClampState::Contested,
        (true, _) => ClampState::Active,
        (false, _) => ClampState::Waiting,
    }
}

fn status(link: &LinkName, clamp: &PlannedClamp, state: ClampState) -> ClampStatus {
    let there = clamp.link.as_ref();
    ClampStatus {
        link: link.to_string(),
        state,
        mode: if clamp.options.mtu.is_some() { Mode::Fixed } else { Mode::Route },
        origin: clamp.origin,
        persist: clamp.options.persist,
        mtu: clamp.options.mtu.map(|mtu| u32::from(mtu.bytes())),
        link_mtu: there.map(|link| link.mtu),
        link_kind: there.map(|link| link.kind.info_kind.clone()),
    }
}
