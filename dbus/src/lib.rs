//! The contract between the client `airpods` and its helper `airpods-helper` on the system bus.
//!
//! Both sides, and whoever automates with `busctl`, agree on what is here and on nothing else: the
//! names ([`names`]), what may be asked for ([`LinkName`], [`ClampOptions`]), what is answered
//! ([`Status`]), what can go wrong ([`Error`]), and the [`HelperProxy`] that speaks it. The same contract
//! in the bus's own language is `dbus/org.airpods.Helper1.xml`; a test holds the two together.
//!
//! The definition of a VPN link ([`LinkKind`]) is here as well: the helper clamps by it and the client advises by it.

#![forbid(unsafe_code)]

#[cfg(any(test, feature = "doubles"))]
#[path = "../doubles/mod.rs"]
pub mod doubles;
mod error;
mod link_kind;
mod link_name;
pub mod names;
mod options;
mod proxy;
mod status;

pub use error::{Error, ErrorKind};
pub use link_kind::LinkKind;
pub use link_name::{InvalidLinkName, LinkName, Target};
pub use options::{ClampOptions, PathMtu};
pub use proxy::HelperProxy;
pub use status::{ClampState, ClampStatus, Counters, Mode, Origin, Status, Unclampable};
