//! The clamps that callers asked for, and how a request changes them.

use std::collections::BTreeMap;
use std::fmt;

use airpods_dbus::{ClampOptions, Error, ErrorKind, LinkName, PathMtu, Target, names::MAX_CLAMPS};

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

/// All clamps that callers asked for and have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The options of auto; `None` while auto is off.
    pub auto: Option<ClampOptions>,
    /// The links that callers named.
    pub named: BTreeMap<LinkName, ClampOptions>,
}

/// The change that a request made. Its `Display` is the sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing changed.
    Nothing,
    /// A clamp was added, changed or ended: `None` stands for no clamp.
    Clamp {
        /// The target.
        target: Target,
        /// The former options.
        before: Option<ClampOptions>,
        /// The new options.
        after: Option<ClampOptions>,
    },
    /// Everything was dropped: this many named clamps, and auto if `true`.
    Dropped(usize, bool),
}

impl Desired {
    /// Whether no clamp is desired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.auto.is_none() && self.named.is_empty()
    }

    /// The part that is kept across reboots.
    #[must_use]
    pub fn persisted(&self) -> Self {
        let named = self.named.iter().filter(|(_, options)| options.persist);
        Self {
            auto: self.auto.filter(|options| options.persist),
            named: named.map(|(link, options)| (link.clone(), *options)).collect(),
        }
    }

    /// Whether a request changes or removes a clamp that is kept across reboots.
    #[must_use]
    pub fn loses_kept(&self, request: &Request) -> bool {
        let options = match request {
            Request::ClampOn(Target::Auto, _) | Request::ClampOff(Target::Auto) => self.auto.as_ref(),
            Request::ClampOn(Target::Link(link), _) | Request::ClampOff(Target::Link(link)) => self.named.get(link),
            Request::Reset => return !self.persisted().is_empty(),
        };
        options.is_some_and(|options| options.persist)
    }

    /// Whether a request names a link for another path MTU than an auto that is kept across reboots
    /// gives it. It changes nothing kept: the name takes precedence over auto.
    #[must_use]
    pub fn overrides_kept_auto(&self, request: &Request) -> bool {
        let Request::ClampOn(Target::Link(_), options) = request else { return false };
        self.auto.is_some_and(|auto| auto.persist && auto.mtu != options.mtu)
    }

    /// The desired state after `request`, and the difference.
    ///
    /// # Errors
    /// [`ErrorKind::TooManyClamps`] for a named link beyond [`MAX_CLAMPS`],
    /// [`ErrorKind::InvalidOption`] for auto with `any-link`, which only a named link can have.
    pub fn after(&self, request: &Request) -> Result<(Self, Change), Error> {
        let mut next = self.clone();
        let (target, options) = match request {
            Request::ClampOn(target, options) => (target, Some(*options)),
            Request::ClampOff(target) => (target, None),
            Request::Reset if self.is_empty() => return Ok((next, Change::Nothing)),
            Request::Reset => return Ok((Self::default(), Change::Dropped(self.named.len(), self.auto.is_some()))),
        };
        let before = match (target, options) {
            (Target::Auto, Some(ClampOptions { any_link: true, .. })) => {
                return Err(ErrorKind::InvalidOption
                    .because("option `any-link` needs a link: it cannot be given for every VPN link at once"));
            }
            (Target::Auto, options) => std::mem::replace(&mut next.auto, options),
            (Target::Link(link), Some(options)) => next.named.insert(link.clone(), options),
            (Target::Link(link), None) => next.named.remove(link),
        };
        if next.named.len() > MAX_CLAMPS.max(self.named.len()) {
            return Err(ErrorKind::TooManyClamps.because(format!("there are {MAX_CLAMPS} clamps already")));
        }
        let change = if before == options {
            Change::Nothing
        } else {
            Change::Clamp { target: target.clone(), before, after: options }
        };
        Ok((next, change))
    }
}

impl Request {
    /// Whether the request concerns the state kept across reboots: it asks for that, or it changes
    /// what `before` keeps.
    #[must_use]
    pub fn is_about_what_is_kept(&self, before: &Desired) -> bool {
        match self {
            Self::Reset => true,
            Self::ClampOn(_, options) if options.persist => true,
            Self::ClampOn(..) | Self::ClampOff(_) => before.loses_kept(self),
        }
    }
}

impl Change {
    /// Whether anything changed.
    #[must_use]
    pub fn is_something(&self) -> bool {
        *self != Self::Nothing
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing changed"),
            Self::Clamp { target, before, after: Some(after) } => {
                let what = if *target == Target::Auto { "" } else { "link " };
                write!(f, "{what}{target} is clamped to {}", OptionsText(*after))?;
                before.map_or(Ok(()), |before| write!(f, " instead of {}", OptionsText(before)))
            }
            Self::Clamp { target: Target::Auto, .. } => {
                f.write_str("auto is off: only links that were named stay clamped")
            }
            Self::Clamp { target, .. } => write!(f, "link {target} is no longer clamped by name"),
            Self::Dropped(named, auto) => {
                write!(f, "dropped everything: {named} named clamps{}", if *auto { " and auto" } else { "" })
            }
        }
    }
}

/// Options, worded for a log line.
struct OptionsText(ClampOptions);

impl fmt::Display for OptionsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.mtu.map(PathMtu::bytes) {
            Some(mtu) => write!(f, "a path MTU of {mtu}")?,
            None => f.write_str("the route MTU")?,
        }
        f.write_str(if self.0.any_link { ", VPN or not" } else { "" })?;
        f.write_str(if self.0.persist { ", across reboots" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn link(name: &str) -> LinkName {
        LinkName::parse(name).unwrap()
    }

    fn on(name: &str, options: ClampOptions) -> Request {
        Request::ClampOn(Target::parse(name).unwrap(), options)
    }

    fn off(name: &str) -> Request {
        Request::ClampOff(Target::parse(name).unwrap())
    }

    fn after(desired: &Desired, request: &Request) -> (Desired, Change) {
        desired.after(request).unwrap()
    }

    fn fixed(bytes: u32) -> ClampOptions {
        ClampOptions { mtu: Some(PathMtu::new(bytes).unwrap()), ..ClampOptions::default() }
    }

    #[test]
    fn asking_twice_changes_something_once() {
        for name in ["wg0", ""] {
            let request = on(name, ClampOptions::default());
            let (once, first) = after(&Desired::default(), &request);
            let (twice, second) = after(&once, &request);
            assert!(first.is_something());
            assert_eq!((second, twice), (Change::Nothing, once));
        }
    }

    #[test]
    fn taking_back_what_was_never_asked_for_changes_nothing() {
        for request in [off("wg0"), off(""), Request::Reset] {
            assert_eq!(after(&Desired::default(), &request), (Desired::default(), Change::Nothing));
        }
    }

    #[test]
    fn other_options_change_a_clamp() {
        let (before, _) = after(&Desired::default(), &on("wg0", ClampOptions::default()));
        let (fixed_now, change) = after(&before, &on("wg0", fixed(1300)));
        assert_eq!(fixed_now.named[&link("wg0")], fixed(1300));
        assert_eq!(change.to_string(), "link wg0 is clamped to a path MTU of 1300 instead of the route MTU");
        let (kept, change) = after(&fixed_now, &on("wg0", ClampOptions { persist: true, ..fixed(1300) }));
        assert!(change.is_something());
        assert_eq!(kept.persisted(), kept);
    }

    #[test]
    fn auto_takes_a_path_mtu_and_no_option_that_belongs_to_one_link() {
        let (on_now, _) = after(&Desired::default(), &on("", ClampOptions::default()));
        let (fixed_now, change) = after(&on_now, &on("", fixed(1300)));
        assert_eq!(fixed_now.auto, Some(fixed(1300)));
        assert_eq!(change.to_string(), "every VPN link is clamped to a path MTU of 1300 instead of the route MTU");
        let any = ClampOptions { any_link: true, ..ClampOptions::default() };
        assert_eq!(Desired::default().after(&on("", any)).unwrap_err().kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn one_clamp_too_many_is_refused_and_an_old_one_can_still_change() {
        let mut full = Desired::default();
        for number in 0..MAX_CLAMPS {
            full = after(&full, &on(&format!("wg{number}"), ClampOptions::default())).0;
        }
        let error = full.after(&on("wg-more", ClampOptions::default())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooManyClamps);
        assert!(full.after(&on("wg0", fixed(1300))).is_ok());
    }

    #[test]
    fn only_what_is_marked_so_is_kept_across_reboots() {
        let keep = ClampOptions { persist: true, ..ClampOptions::default() };
        let desired = Desired {
            auto: Some(ClampOptions::default()),
            named: [(link("wg0"), keep), (link("wg1"), ClampOptions::default())].into(),
        };
        assert_eq!(desired.persisted(), Desired { auto: None, named: [(link("wg0"), keep)].into() });
    }

    #[test]
    fn a_request_concerns_persistent_clamps_if_it_sets_or_changes_one() {
        let keep = ClampOptions { persist: true, ..ClampOptions::default() };
        let kept = Desired { auto: Some(keep), named: [(link("wg0"), keep)].into() };
        let is_about = |before: &Desired, request: &Request| request.is_about_what_is_kept(before);
        for before in [&Desired::default(), &kept] {
            assert!(is_about(before, &Request::Reset));
            assert!(is_about(before, &on("wg0", keep)) && is_about(before, &on("", keep)));
            assert!(!is_about(before, &on("wg1", fixed(1300))) && !is_about(before, &off("wg1")));
        }
        for request in [off("wg0"), off(""), on("wg0", fixed(1300)), on("", ClampOptions::default())] {
            assert!(is_about(&kept, &request), "{request:?}");
            assert!(!is_about(&Desired::default(), &request), "{request:?}");
        }
    }

    #[test]
    fn a_request_without_persist_changes_the_kept_part_only_if_it_loses_a_kept_clamp() {
        let keep = ClampOptions { persist: true, ..fixed(1300) };
        let kept = Desired { auto: Some(keep), named: [(link("wg0"), keep), (link("wg1"), fixed(1300))].into() };
        let plain = ClampOptions::default();
        for (request, loses) in [
            (on("wg0", plain), true),
            (on("", plain), true),
            (off("wg0"), true),
            (off(""), true),
            (Request::Reset, true),
            (on("wg1", plain), false),
            (on("wg2", plain), false),
            (off("wg1"), false),
            (off("wg2"), false),
        ] {
            let (next, _) = after(&kept, &request);
            assert_eq!(kept.loses_kept(&request), loses, "{request:?}");
            assert_eq!(kept.persisted() != next.persisted(), loses, "{request:?}");
        }
    }

    #[test]
    fn a_name_with_another_path_mtu_overrides_a_kept_auto() {
        let (keep, plain) = (ClampOptions { persist: true, ..fixed(1300) }, ClampOptions::default());
        let kept = Desired { auto: Some(keep), named: [(link("wg1"), fixed(1300))].into() };
        for (request, overrides) in [
            (on("wg0", plain), true),
            (on("wg1", plain), true),
            (on("wg0", fixed(1400)), true),
            (on("wg0", fixed(1300)), false),
            (on("", plain), false),
            (off("wg1"), false),
            (Request::Reset, false),
        ] {
            assert_eq!(kept.overrides_kept_auto(&request), overrides, "{request:?}");
            let temporary = Desired { auto: Some(fixed(1300)), ..kept.clone() };
            assert!(!temporary.overrides_kept_auto(&request), "{request:?}");
        }
    }

    #[test]
    fn reset_drops_everything() {
        let auto = Some(ClampOptions::default());
        let desired = Desired { auto, named: [(link("wg0"), fixed(1300))].into() };
        let (left, change) = after(&desired, &Request::Reset);
        assert!(left.is_empty());
        assert_eq!(change.to_string(), "dropped everything: 1 named clamps and auto");
    }
}
