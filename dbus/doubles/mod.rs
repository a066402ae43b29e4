//! Sample statuses for tests, behind the feature `doubles`. No released program has it.

use crate::{ClampState, ClampStatus, Mode, Origin};

/// The clamp of a WireGuard link under auto: mode route, link MTU 1380 bytes, no MTU on its routes.
/// Tests change the fields they are about.
#[must_use]
pub fn clamp_status(link: &str, state: ClampState) -> ClampStatus {
    ClampStatus {
        link: link.to_owned(),
        state,
        mode: Mode::Route,
        origin: Origin::Auto,
        persist: false,
        mtu: None,
        link_mtu: Some(1380),
        route_mtu: None,
        link_kind: Some("wireguard".to_owned()),
    }
}
