//! The helper's report on a clamp: whether it covers a link, its former state, and the call that
//! restores that state. Pure; start, status and doctor use it.

use std::fmt;

use airpods_dbus::{ClampOptions, ClampState, ClampStatus, Mode, Origin, PathMtu, Status, Target};

use crate::egress::Egress;
use crate::helper_link::Change;

/// Whether a link is clamped to packets that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClampCoverage {
    /// The helper clamps it.
    Clamped,
    /// The helper clamps it to this many bytes, and the link takes fewer.
    TooHigh(u32),
    /// The helper does not clamp it.
    Open,
}

/// Finds out from the helper's status whether a link is clamped, and to no more than it takes.
#[must_use]
pub fn clamp_coverage(status: &Status, egress: &Egress) -> ClampCoverage {
    match in_force(status, &egress.link) {
        None => ClampCoverage::Open,
        Some(ClampStatus { mode: Mode::Fixed, mtu: Some(mtu), .. }) if *mtu > egress.mtu => {
            ClampCoverage::TooHigh(*mtu)
        }
        Some(_) => ClampCoverage::Clamped,
    }
}

/// The clamp of a link whose rules are in force. One that another program keeps removing counts,
/// because setting it again changes nothing. One that the kernel refuses does not count.
fn in_force<'a>(status: &'a Status, link: &str) -> Option<&'a ClampStatus> {
    let counts = |state| matches!(state, ClampState::Active | ClampState::Contested);
    status.clamps.iter().find(|clamp| clamp.link == link && counts(clamp.state))
}

/// The clamp that a link has by its name, which outweighs a clamp of every VPN link.
fn named<'a>(status: &'a Status, link: &str) -> Option<&'a ClampStatus> {
    status.clamps.iter().find(|clamp| clamp.link == link && clamp.origin == Origin::Named)
}

/// Whether a link is clamped by its name.
#[must_use]
pub fn is_named(status: &Status, link: &str) -> bool {
    named(status, link).is_some()
}

/// Whether a clamp of every VPN link has an effect on this link. `named` says whether the link is
/// clamped by its name, which outweighs it.
#[must_use]
pub fn is_of_all(egress: &Egress, named: bool) -> bool {
    egress.kind.is_vpn() && !named
}

/// The command that clamps a link to its route's MTU. For a VPN link without a clamp by name it is
/// the command that clamps every VPN link.
#[must_use]
pub fn clamp_command(egress: &Egress, named: bool) -> String {
    if is_of_all(egress, named) { "airpods net clamp on".to_owned() } else { by_name(egress, "") }
}

/// The command that clamps a link to this number of bytes or, with `auto`, to the number that it
/// measures.
#[must_use]
pub fn fixed_clamp_command(egress: &Egress, mtu: impl fmt::Display) -> String {
    by_name(egress, &format!(" --mtu {mtu}"))
}

fn by_name(Egress { link, kind, .. }: &Egress, mtu: &str) -> String {
    format!("airpods net clamp on {link}{mtu}{}", if kind.is_vpn() { "" } else { " --any-link" })
}

/// The change that restores the present state of a target. `any_link` is the option by which the
/// caller may clamp a link that is no VPN.
#[must_use]
pub fn restoring_change(status: &Status, target: &Target, any_link: bool) -> Change {
    let mtu = |bytes: Option<u32>| bytes.and_then(|bytes| PathMtu::new(bytes).ok());
    match target {
        Target::Auto if status.auto => {
            let options = ClampOptions { mtu: mtu(status.auto_mtu), persist: status.auto_persist, any_link: false };
            Change::On(Target::Auto, options)
        }
        Target::Auto => Change::Off(Target::Auto),
        Target::Link(link) => {
            let on = named(status, link.as_str()).map(|clamp| {
                let fixed = mtu(clamp.mtu.filter(|_| clamp.mode == Mode::Fixed));
                Change::On(target.clone(), ClampOptions { mtu: fixed, persist: clamp.persist, any_link })
            });
            on.unwrap_or_else(|| Change::Off(target.clone()))
        }
    }
}

/// The fixed value in bytes that a link is clamped to, if it has one.
#[must_use]
pub fn is_fixed(status: &Status, link: &str) -> Option<u32> {
    let clamp = status.clamps.iter().find(|clamp| clamp.link == link)?;
    clamp.mtu.filter(|_| clamp.mode == Mode::Fixed)
}

/// Whether a link is clamped to this many bytes or fewer, by rules that are in force.
#[must_use]
pub fn is_clamped_to(status: &Status, link: &str, bytes: u32) -> bool {
    let to = |clamp: &ClampStatus| match clamp.mode {
        Mode::Fixed => clamp.mtu,
        Mode::Route => clamp.effective_mtu(),
    };
    in_force(status, link).and_then(to).is_some_and(|to| to <= bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::doubles::clamp_status;
    use airpods_dbus::{LinkKind, LinkName};

    use super::*;

    /// `wg0`, clamped by name or by auto, to a fixed value or the route's.
    pub(crate) fn clamped(origin: Origin, mtu: Option<u32>) -> Status {
        let mode = if mtu.is_some() { Mode::Fixed } else { Mode::Route };
        let clamp = ClampStatus { mode, origin, persist: true, mtu, ..clamp_status("wg0", ClampState::Active) };
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
    fn the_former_clamp_is_restored() {
        let named = clamped(Origin::Named, Some(1400));
        assert_eq!(restoring_change(&named, &wg0(), false), on(wg0(), Some(1400), true));
        assert_eq!(restoring_change(&clamped(Origin::Named, None), &wg0(), false), on(wg0(), None, true));
        assert_eq!(restoring_change(&named, &Target::Auto, false), Change::Off(Target::Auto));
        let auto = clamped(Origin::Auto, Some(1400));
        assert_eq!(restoring_change(&auto, &Target::Auto, false), on(Target::Auto, Some(1400), false));
        assert_eq!(restoring_change(&auto, &wg0(), false), Change::Off(wg0()), "its name alone was new");
        assert_eq!(restoring_change(&Status::default(), &wg0(), false), Change::Off(wg0()));
    }

    #[test]
    fn a_clamp_is_small_enough_by_its_value_or_by_the_routes() {
        for (mtu, bytes, expected) in
            [(Some(1300), 1300, true), (Some(1301), 1300, false), (None, 1420, true), (None, 1300, false)]
        {
            assert_eq!(is_clamped_to(&clamped(Origin::Auto, mtu), "wg0", bytes), expected, "{mtu:?} {bytes}");
        }
        assert!(!is_clamped_to(&clamped(Origin::Auto, Some(1300)), "wg1", 1300));
    }

    #[test]
    fn a_link_that_is_no_vpn_is_clamped_by_its_name_and_with_the_switch_for_that() {
        let egress = |info_kind: &str, tun_type| Egress {
            link: "tun9".to_owned(),
            index: 9,
            kind: LinkKind { info_kind: info_kind.to_owned(), tun_type, hardware: 1 },
            mtu: 1420,
        };
        let both = |egress: &Egress| [clamp_command(egress, false), fixed_clamp_command(egress, "auto")];
        assert_eq!(both(&egress("wireguard", None)), ["airpods net clamp on", "airpods net clamp on tun9 --mtu auto"]);
        assert_eq!(clamp_command(&egress("wireguard", None), true), "airpods net clamp on tun9");
        for no_vpn in [egress("tun", Some(2)), egress("", None)] {
            let expected = ["airpods net clamp on tun9 --any-link", "airpods net clamp on tun9 --mtu auto --any-link"];
            assert_eq!(both(&no_vpn), expected);
        }
    }

    #[test]
    fn a_fixed_value_is_distinguished_from_the_routes() {
        assert_eq!(is_fixed(&clamped(Origin::Auto, Some(1400)), "wg0"), Some(1400));
        assert_eq!(is_fixed(&clamped(Origin::Auto, None), "wg0"), None);
        assert_eq!(is_fixed(&clamped(Origin::Auto, Some(1400)), "wg1"), None);
    }

    fn in_state(state: ClampState) -> Status {
        Status { clamps: vec![clamp_status("wg0", state)], ..Status::default() }
    }

    /// A VPN link of this name and MTU.
    fn vpn(link: &str, mtu: u32) -> Egress {
        let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        Egress { link: link.to_owned(), index: 7, kind, mtu }
    }

    #[test]
    fn a_clamp_of_the_helpers_counts_for_its_link_while_that_is_there() {
        let (wg0, wg1) = (vpn("wg0", 1380), vpn("wg1", 1380));
        assert_eq!(clamp_coverage(&in_state(ClampState::Active), &wg0), ClampCoverage::Clamped);
        assert_eq!(clamp_coverage(&in_state(ClampState::Contested), &wg0), ClampCoverage::Clamped);
        assert_eq!(clamp_coverage(&in_state(ClampState::Active), &wg1), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&in_state(ClampState::Waiting), &wg0), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&in_state(ClampState::Refused), &wg0), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&Status::default(), &wg0), ClampCoverage::Open);
    }

    #[test]
    fn a_fixed_clamp_covers_a_link_only_if_the_link_takes_as_much() {
        for (mtu, link_mtu, expected) in [
            (Some(1300), 1300, ClampCoverage::Clamped),
            (Some(1300), 1380, ClampCoverage::Clamped),
            (Some(1300), 1250, ClampCoverage::TooHigh(1300)),
            (None, 1250, ClampCoverage::Clamped),
        ] {
            let coverage = clamp_coverage(&clamped(Origin::Named, mtu), &vpn("wg0", link_mtu));
            assert_eq!(coverage, expected, "{mtu:?} {link_mtu}");
        }
    }
}
