//! The clamps that callers asked for, and how a request changes them.

use std::collections::{BTreeMap, BTreeSet};

use airpods_dbus::{ClampOptions, Error, ErrorKind, LinkName, Target, names::MAX_CLAMPS};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::PathMtu;

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

    fn fixed(bytes: u32) -> ClampOptions {
        ClampOptions { mtu: Some(PathMtu::new(bytes).unwrap()), ..ClampOptions::default() }
    }

    #[test]
    fn asking_twice_changes_something_once() {
        for name in ["wg0", ""] {
            let request = on(name, ClampOptions::default());
            let once = Desired::default().after(&request).unwrap();
            assert_ne!(once, Desired::default());
            assert_eq!(once.after(&request).unwrap(), once);
        }
    }

    #[test]
    fn taking_back_what_was_never_asked_for_changes_nothing() {
        for request in [off("wg0"), off(""), Request::Reset] {
            assert_eq!(Desired::default().after(&request).unwrap(), Desired::default());
        }
    }

    #[test]
    fn other_options_change_a_clamp() {
        let before = Desired::default().after(&on("wg0", ClampOptions::default())).unwrap();
        let fixed_now = before.after(&on("wg0", fixed(1300))).unwrap();
        assert_eq!(fixed_now.named[&link("wg0")], fixed(1300));
        let kept = fixed_now.after(&on("wg0", ClampOptions { persist: true, ..fixed(1300) })).unwrap();
        assert_ne!(kept, fixed_now);
        assert_eq!(kept.persisted(), kept);
    }

    #[test]
    fn auto_takes_a_path_mtu_and_no_option_that_belongs_to_one_link() {
        let on_now = Desired::default().after(&on("", ClampOptions::default())).unwrap();
        assert_eq!(on_now.after(&on("", fixed(1300))).unwrap().auto, Some(fixed(1300)));
        let any = ClampOptions { any_link: true, ..ClampOptions::default() };
        assert_eq!(Desired::default().after(&on("", any)).unwrap_err().kind(), ErrorKind::InvalidOption);
    }

    #[test]
    fn one_clamp_too_many_is_refused_and_an_old_one_can_still_change() {
        let mut full = Desired::default();
        for number in 0..MAX_CLAMPS {
            full = full.after(&on(&format!("wg{number}"), ClampOptions::default())).unwrap();
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
            known: [link("tun0")].into(),
        };
        let kept = Desired { named: [(link("wg0"), keep)].into(), ..Desired::default() };
        assert_eq!(desired.persisted(), kept);
        let with_auto = Desired { auto: Some(keep), ..desired };
        assert_eq!(with_auto.persisted(), Desired { auto: Some(keep), known: [link("tun0")].into(), ..kept });
    }

    #[test]
    fn a_request_concerns_persistent_clamps_if_it_sets_or_changes_one() {
        let keep = ClampOptions { persist: true, ..ClampOptions::default() };
        let kept = Desired { auto: Some(keep), named: [(link("wg0"), keep)].into(), ..Desired::default() };
        for before in [&Desired::default(), &kept] {
            assert!(before.concerns_kept(&Request::Reset));
            assert!(before.concerns_kept(&on("wg0", keep)) && before.concerns_kept(&on("", keep)));
            assert!(!before.concerns_kept(&on("wg1", fixed(1300))) && !before.concerns_kept(&off("wg1")));
        }
        for request in [off("wg0"), off(""), on("wg0", fixed(1300)), on("", ClampOptions::default())] {
            assert!(kept.concerns_kept(&request), "{request:?}");
            assert!(!Desired::default().concerns_kept(&request), "{request:?}");
        }
    }

    #[test]
    fn a_request_without_persist_changes_the_kept_part_only_if_it_loses_a_kept_clamp() {
        let keep = ClampOptions { persist: true, ..fixed(1300) };
        let named = [(link("wg0"), keep), (link("wg1"), fixed(1300))].into();
        let kept = Desired { auto: Some(keep), named, ..Desired::default() };
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
            let next = kept.after(&request).unwrap();
            assert_eq!(kept.loses_kept(&request), loses, "{request:?}");
            assert_eq!(kept.persisted() != next.persisted(), loses, "{request:?}");
        }
    }

    #[test]
    fn a_name_with_another_path_mtu_overrides_a_kept_auto() {
        let (keep, plain) = (ClampOptions { persist: true, ..fixed(1300) }, ClampOptions::default());
        let named = [(link("wg1"), fixed(1300))].into();
        let kept = Desired { auto: Some(keep), named, ..Desired::default() };
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
        let named = [(link("wg0"), fixed(1300))].into();
        let desired = Desired { auto, named, known: [link("wg1")].into() };
        assert_eq!(desired.after(&Request::Reset).unwrap(), Desired::default());
    }
}
