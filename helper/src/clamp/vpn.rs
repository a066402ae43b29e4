//! Which links auto takes. What is a VPN link is the contract's to say, see [`airpods_dbus::LinkKind`].

use crate::kernel::Link;

/// Whether it depends on its routes if auto takes the link now: a VPN link that is up.
#[must_use]
pub fn may_be_in_use(link: &Link) -> bool {
    link.kind.is_vpn() && link.up
}

/// Whether auto takes the link now: a VPN link that is up and that routes lead through.
#[must_use]
pub fn in_use(link: &Link) -> bool {
    may_be_in_use(link) && link.routes.any
}
