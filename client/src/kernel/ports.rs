//! Whether somebody listens on a TCP port of this host.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

/// Whether something listens on a TCP port of any address of this host. A port that this user may not listen on is
/// not known to be taken.
#[must_use]
pub fn is_taken(port: u16) -> bool {
    listen(port).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
}

/// Whether nobody listens there, as far as this user can find out.
pub(super) fn is_silent(port: u16) -> bool {
    listen(port).is_ok()
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
}
