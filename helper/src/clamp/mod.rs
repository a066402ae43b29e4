//! The desired clamps: pure decisions over values.
//!
//! [`Desired`] is what callers asked for. [`plan`] combines it with the existing links into the
//! desired [`Ruleset`] and the clamps to report. Nothing here reads or changes anything, so tests
//! check every decision on values.

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{
    ClampOptions, ClampState, ClampStatus, Error, ErrorKind, LinkName, Mode, Origin, Target, names::MAX_CLAMPS,
};

use crate::kernel::{Link, Ruleset};

/// A mutating call whose arguments have been validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `ClampOn`.
    ClampOn(Target, ClampOptions),
    /// `ClampOff`.
    ClampOff(Target),
    /// `Reset`.
    Reset,
}

/// All clamps that callers asked for and have not ended. A state file has this content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The options of auto; `None` while auto is off.
    pub auto: Option<ClampOptions>,
    /// The links that callers named.
    pub named: BTreeMap<LinkName, ClampOptions>,
    /// The names of VPN links that auto takes now or took before.
    pub known: BTreeSet<LinkName>,
}

impl Desired {
    /// Whether no clamp is desired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.auto.is_none() && self.named.is_empty()
    }

    /// Whether auto is kept across reboots.
    #[must_use]
    pub fn keeps_auto(&self) -> bool {
        self.auto.is_some_and(|auto| auto.persist)
    }

    /// The part that is kept across reboots.
    #[must_use]
    pub fn persisted(&self) -> Self {
        let mut kept = self.clone();
        kept.named.retain(|_, options| options.persist);
        if !self.keeps_auto() {
            (kept.auto, kept.known) = (None, BTreeSet::new());
        }
        kept
    }

    /// Whether a request changes or removes a clamp that is kept across reboots.
    #[must_use]
    pub fn loses_kept(&self, request: &Request) -> bool {
        match request {
            Request::ClampOn(Target::Auto, _) | Request::ClampOff(Target::Auto) => self.keeps_auto(),
            Request::ClampOn(Target::Link(link), _) | Request::ClampOff(Target::Link(link)) => {
                self.named.get(link).is_some_and(|options| options.persist)
            }
            Request::Reset => !self.persisted().is_empty(),
        }
    }

    /// Whether a request names a link for another path MTU than an auto that is kept across reboots
    /// gives it. It changes nothing kept: the name takes precedence over auto.
    #[must_use]
    pub fn overrides_kept_auto(&self, request: &Request) -> bool {
        let Request::ClampOn(Target::Link(_), options) = request else { return false };
        self.auto.is_some_and(|auto| auto.persist && auto.mtu != options.mtu)
    }

    /// Whether a request concerns the state kept across reboots: it asks for that, or it changes
    /// what is kept.
    #[must_use]
    pub fn concerns_kept(&self, request: &Request) -> bool {
        let asks = matches!(request, Request::Reset | Request::ClampOn(_, ClampOptions { persist: true, .. }));
        asks || self.loses_kept(request)
    }

    /// The desired state after `request`.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyClamps`] for a named link beyond [`MAX_CLAMPS`],
    /// [`ErrorKind::InvalidOption`] for auto with `any-link`, which only a named link can have.
    pub fn after(&self, request: &Request) -> Result<Self, Error> {
        let mut next = self.clone();
        match request {
            Request::ClampOn(Target::Auto, ClampOptions { any_link: true, .. }) => {
                return Err(ErrorKind::InvalidOption
                    .because("option `any-link` needs a link: it cannot be given for every VPN link at once"));
            }
            Request::ClampOn(Target::Auto, options) => next.auto = Some(*options),
            Request::ClampOn(Target::Link(link), options) => drop(next.named.insert(link.clone(), *options)),
            Request::ClampOff(Target::Auto) => next.auto = None,
            Request::ClampOff(Target::Link(link)) => drop(next.named.remove(link)),
            Request::Reset => next = Self::default(),
        }
        if next.named.len() > MAX_CLAMPS.max(self.named.len()) {
            return Err(ErrorKind::TooManyClamps.because(format!("there are {MAX_CLAMPS} clamps already")));
        }
        Ok(next)
    }
}

impl Request {
    /// The options of `ClampOn`, as details for polkit and for the log.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let Self::ClampOn(_, options) = self else { return Vec::new() };
        let mtu = options.mtu.map_or_else(|| "route".to_owned(), |mtu| mtu.to_string());
        vec![("mtu", mtu), ("persist", yes_or_no(options.persist))]
    }
}

/// A detail for polkit and for the log.
#[must_use]
pub fn yes_or_no(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// The desired rules, and the clamps to report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The desired content of the table.
    pub ruleset: Ruleset,
    /// The clamps to report, in the order of their links. Their state is that under these rules:
    /// `active` if the rules name the link, and it exists and is up.
    pub clamps: BTreeMap<LinkName, ClampStatus>,
    /// The names of VPN links that auto takes now or took before: [`Desired::known`] of the next
    /// plan.
    pub known: BTreeSet<LinkName>,
}

/// Computes the desired rules from the existing links.
///
/// The rules also name absent links. A link that a caller named, or that auto has seen before, is
/// clamped from its first SYN when it comes up. An existing link of such a name that is no VPN is
/// left alone, unless its caller gave `any-link`. A renamed link is a new link.
///
/// There are [`MAX_CLAMPS`] places. Names have theirs before auto. But an auto that is kept across
/// reboots has its places before names that are not kept: anybody who may name links could
/// otherwise leave it none.
#[must_use]
pub fn plan(desired: &Desired, links: &[Link]) -> Plan {
    let there: BTreeMap<&LinkName, &Link> = links.iter().map(|link| (&link.name, link)).collect();
    let mut plan = Plan::default();
    let (first, mut last): (Vec<_>, Vec<_>) =
        desired.named.iter().partition(|(_, options)| options.persist || !desired.keeps_auto());
    for (name, options) in first {
        plan.take(name, Origin::Named, *options, there.get(name).copied());
    }
    let Some(auto) = desired.auto else { return plan };
    let now = links.iter().filter(|link| may_be_in_use(link) && link.routes.any).map(|link| &link.name);
    let before = desired.known.iter().filter(|name| there.get(name).is_none_or(|link| link.kind.is_vpn()));
    // Links in use come first: if there are too many, the names of absent links are dropped.
    for name in now.chain(before) {
        if plan.known.len() >= MAX_CLAMPS {
            break;
        }
        plan.known.insert(name.clone());
        let named = desired.named.get(name).map(|options| (Origin::Named, *options));
        let (origin, options) = named.unwrap_or((Origin::Auto, auto));
        plan.take(name, origin, options, there.get(name).copied());
    }
    last.sort_by_key(|(name, _)| !there.contains_key(name));
    for (name, options) in last {
        plan.take(name, Origin::Named, *options, there.get(name).copied());
    }
    plan
}

impl Plan {
    /// Whether a clamp on `name` could only take the place of another one.
    #[must_use]
    pub fn is_full_for(&self, name: &LinkName) -> bool {
        self.clamps.len() >= MAX_CLAMPS && !self.clamps.contains_key(name)
    }

    /// Adds a clamp, unless the link has one or all places are taken. The rules do not name a link
    /// that exists and is no VPN, unless `any-link` was given.
    fn take(&mut self, name: &LinkName, origin: Origin, options: ClampOptions, link: Option<&Link>) {
        if self.clamps.len() >= MAX_CLAMPS || self.clamps.contains_key(name) {
            return;
        }
        let is_ruled = options.any_link || link.is_none_or(|link| link.kind.is_vpn());
        match options.mtu.filter(|_| is_ruled) {
            Some(mtu) => drop(self.ruleset.fixed.insert(name.clone(), mtu)),
            None if is_ruled => drop(self.ruleset.route.insert(name.clone())),
            None => {}
        }
        let is_active = is_ruled && link.is_some_and(|link| link.up);
        let clamp = ClampStatus {
            link: name.to_string(),
            state: if is_active { ClampState::Active } else { ClampState::Waiting },
            mode: if options.mtu.is_some() { Mode::Fixed } else { Mode::Route },
            origin,
            persist: options.persist,
            mtu: options.mtu.map(u32::from),
            link_mtu: link.map(|link| link.mtu),
            route_mtu: link.and_then(|link| link.routes.mtu.filter(|mtu| *mtu < link.mtu)),
            link_kind: link.map(|link| link.kind.info_kind.clone()),
        };
        self.clamps.insert(name.clone(), clamp);
    }
}

/// Whether only its routes decide if auto takes the link now: a VPN link that is up.
#[must_use]
pub fn may_be_in_use(link: &Link) -> bool {
    link.kind.is_vpn() && link.up
}

/// Checks that `name` can be clamped with `options`: it is a VPN link, it does not exist (yet), or
/// `any-link` is given.
///
/// # Errors
/// [`ErrorKind::NotVpnLink`], with the kind that the kernel reports.
pub fn accept(name: &LinkName, options: ClampOptions, link: Option<&Link>) -> Result<(), Error> {
    let Some(link) = link.filter(|link| !options.any_link && !link.kind.is_vpn()) else { return Ok(()) };
    let kind = match link.kind.info_kind.as_str() {
        "" => "a network card".to_owned(),
        // A kernel module chooses the text of its kind.
        kind => format!("a link of kind `{}`", kind.escape_default()),
    };
    let cause = format!("`{name}` is no VPN link but {kind}; the option `any-link` clamps it all the same");
    Err(ErrorKind::NotVpnLink.because(cause))
}

#[cfg(test)]
mod tests;
