//! Whether the helper clamps a link. Pure; start, status and doctor judge by it.

use airpods_dbus::{ClampState, Status};

/// Whether a link is clamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClampCoverage {
    /// By the helper.
    Clamped,
    /// Not by the helper.
    Open,
}

/// Reads it off what the helper reports. A clamp that another program keeps removing counts: to set it again changes nothing.
/// One that the kernel refuses does not.
#[must_use]
pub fn clamp_coverage(status: &Status, link: &str) -> ClampCoverage {
    let counts = |state| matches!(state, ClampState::Active | ClampState::Contested);
    let is_clamped = status.clamps.iter().any(|clamp| clamp.link == link && counts(clamp.state));
    if is_clamped { ClampCoverage::Clamped } else { ClampCoverage::Open }
}

#[cfg(test)]
mod tests {
    use airpods_dbus::{ClampStatus, Mode, Origin};

    use super::*;

    fn clamped(state: ClampState) -> Status {
        let clamp = ClampStatus {
            link: "wg0".to_owned(),
            state,
            mode: Mode::Route,
            origin: Origin::Auto,
            persist: false,
            mtu: None,
            link_mtu: None,
            route_mtu: None,
            link_kind: None,
        };
        Status { clamps: vec![clamp], ..Status::default() }
    }

    #[test]
    fn a_clamp_of_the_helpers_counts_for_its_link_while_that_is_there() {
        assert_eq!(clamp_coverage(&clamped(ClampState::Active), "wg0"), ClampCoverage::Clamped);
        assert_eq!(clamp_coverage(&clamped(ClampState::Contested), "wg0"), ClampCoverage::Clamped);
        assert_eq!(clamp_coverage(&clamped(ClampState::Active), "wg1"), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&clamped(ClampState::Waiting), "wg0"), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&clamped(ClampState::Refused), "wg0"), ClampCoverage::Open);
        assert_eq!(clamp_coverage(&Status::default(), "wg0"), ClampCoverage::Open);
    }
}
