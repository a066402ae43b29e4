//! The reconciler's reports: status and properties.

use std::time::Instant;

use airpods_dbus::{ClampState, ClampStatus, Error, LinkName, Status, Target};

use super::{Condition, Reconciler};
use crate::clamp::{self, Plan, Request};
use crate::kernel::{Links, Ruleset};

/// The values of the properties with a change signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
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
        let plan = clamp::plan(&self.desired, &links);
        let table = self.kernel.read_table()?;
        let foreign_table = self.judge(table.as_ref(), &plan.ruleset) == Condition::Foreign;
        let table = table.unwrap_or_default();
        let auto = self.desired.auto;
        Ok(Status {
            version: VERSION.to_owned(),
            auto: auto.is_some(),
            auto_persist: self.desired.keeps_auto(),
            auto_mtu: auto.and_then(|auto| auto.mtu).map(u32::from),
            clamps: self.clamps(&plan, &table.ruleset, now).collect(),
            counters: table.counters,
            refusal: self.refused.as_ref().map(|refused| refused.cause.clone()),
            unclampable,
            foreign_table,
        })
    }

    /// The clamps of a plan, with their state under the rules in force.
    fn clamps(&self, plan: &Plan, in_force: &Ruleset, now: Instant) -> impl Iterator<Item = ClampStatus> {
        plan.clamps.iter().map(move |(link, clamp)| {
            let state = match (has(in_force, link), self.repairs.is_on(now)) {
                _ if !has(&plan.ruleset, link) => ClampState::Waiting,
                (false, _) if self.refused.is_some() => ClampState::Refused,
                (_, true) => ClampState::Contested,
                (true, false) => clamp.state,
                (false, false) => ClampState::Waiting,
            };
            ClampStatus { state, ..clamp.clone() }
        })
    }

    /// Reduces a request to the least permission: drops `any-link` if the link is a VPN link. So
    /// the prompt asks for no more than is needed.
    ///
    /// # Errors
    /// [`Error`] if the kernel cannot be read.
    pub fn narrowed(&mut self, mut request: Request) -> Result<Request, Error> {
        if let Request::ClampOn(Target::Link(link), options) = &mut request
            && options.any_link
        {
            options.any_link = !self.kernel.link(link)?.is_some_and(|there| there.kind.is_vpn());
        }
        Ok(request)
    }

    /// The current properties.
    #[must_use]
    pub fn properties(&self, now: Instant) -> Properties {
        let clamps = self.clamps(&self.plan, &self.table.in_force, now);
        let active = clamps.filter(|clamp| clamp.state == ClampState::Active).map(|clamp| clamp.link);
        Properties { clamps: active.collect(), auto: self.desired.auto.is_some() }
    }
}

/// The helper's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

fn has(ruleset: &Ruleset, link: &LinkName) -> bool {
    ruleset.route.contains(link) || ruleset.fixed.contains_key(link)
}
