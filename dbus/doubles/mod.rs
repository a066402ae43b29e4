//! Statuses that tests begin with. The feature `doubles` brings them, which no released program has.

use crate::{ClampState, ClampStatus, Mode, Origin};

/// The clamp of a VPN link that auto took: to the route MTU, which is that of the link, 1380 bytes. Tests change what they are
/// about.
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
