//! What a clamp was before it is changed, and the call that puts it back.

use airpods_dbus::{ClampOptions, Mode, Origin, PathMtu, Status, Target};

use crate::helper_link::Change;

/// The change that puts a target back to how it is now. `any_link` is the option with which the caller may name a link that is no VPN's.
#[must_use]
pub fn put_back(status: &Status, target: &Target, any_link: bool) -> Change {
    let mtu = |bytes: Option<u32>| bytes.and_then(|bytes| PathMtu::new(bytes).ok());
    match target {
        Target::Auto if status.auto => {
            let options = ClampOptions { mtu: mtu(status.auto_mtu), persist: status.auto_persist, any_link: false };
            Change::On(Target::Auto, options)
        }
        Target::Auto => Change::Off(Target::Auto),
        Target::Link(link) => {
            let named = status.clamps.iter().find(|clamp| clamp.link == link.as_str() && clamp.origin == Origin::Named);
            let on = named.map(|clamp| {
                let fixed = mtu(clamp.mtu.filter(|_| clamp.mode == Mode::Fixed));
                Change::On(target.clone(), ClampOptions { mtu: fixed, persist: clamp.persist, any_link })
            });
            on.unwrap_or_else(|| Change::Off(target.clone()))
        }
    }
}

/// The value that a link is clamped to, if it is a fixed one.
#[must_use]
pub fn is_fixed(status: &Status, link: &str) -> Option<u32> {
    let clamp = status.clamps.iter().find(|clamp| clamp.link == link)?;
    clamp.mtu.filter(|_| clamp.mode == Mode::Fixed)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::{ClampState, ClampStatus, LinkName};

    use super::*;

    /// `wg0`, clamped by name or by auto, to a fixed value or the route's.
    pub(crate) fn clamped(origin: Origin, mtu: Option<u32>) -> Status {
        let clamp = ClampStatus {
            link: "wg0".to_owned(),
            state: ClampState::Active,
            mode: if mtu.is_some() { Mode::Fixed } else { Mode::Route },
            origin,
            persist: true,
            mtu,
            link_mtu: Some(1420),
            route_mtu: None,
            link_kind: None,
        };
        Status {
            auto: origin == Origin::Auto,
            auto_mtu: mtu.filter(|_| origin == Origin::Auto),
            clamps: vec![clamp],
            ..Status::default()
        }
    }

    fn wg0() -> Target {
        Target::Link(LinkName::parse("wg0").unwrap())
    }

    fn on(target: Target, mtu: Option<u32>, persist: bool) -> Change {
        let mtu = mtu.map(|mtu| PathMtu::new(mtu).unwrap());
        Change::On(target, ClampOptions { mtu, persist, any_link: false })
    }

    #[test]
    fn what_was_before_is_put_back_as_it_was() {
        let named = clamped(Origin::Named, Some(1400));
        assert_eq!(put_back(&named, &wg0(), false), on(wg0(), Some(1400), true));
        assert_eq!(put_back(&clamped(Origin::Named, None), &wg0(), false), on(wg0(), None, true));
        assert_eq!(put_back(&named, &Target::Auto, false), Change::Off(Target::Auto));
        let auto = clamped(Origin::Auto, Some(1400));
        assert_eq!(put_back(&auto, &Target::Auto, false), on(Target::Auto, Some(1400), false));
        assert_eq!(put_back(&auto, &wg0(), false), Change::Off(wg0()), "its name alone was new");
        assert_eq!(put_back(&Status::default(), &wg0(), false), Change::Off(wg0()));
    }

    #[test]
    fn a_fixed_value_is_told_from_the_routes() {
        assert_eq!(is_fixed(&clamped(Origin::Auto, Some(1400)), "wg0"), Some(1400));
        assert_eq!(is_fixed(&clamped(Origin::Auto, None), "wg0"), None);
        assert_eq!(is_fixed(&clamped(Origin::Auto, Some(1400)), "wg1"), None);
    }
}
