//! What the helper is like on the bus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod private_bus;

use airpods_dbus::ClampState;
use private_bus::*;

#[test]
fn a_named_link_is_clamped_and_released() {
    let helper = Helper::start();
    let client = helper.client();
    assert_eq!(client.on_link("wg0"), Ok(true));
    assert_eq!(helper.clamped(), ["wg0"]);
    let status = client.status();
    assert_eq!((status.clamps[0].link.as_str(), status.clamps[0].state), ("wg0", ClampState::Active));
    assert_eq!(client.off("wg0"), Ok(true));
    assert_eq!(helper.kernel.table(), None);
}
