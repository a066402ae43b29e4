//! The contract between the client `airpods` and its helper `airpods-helper` on the system bus.
//!
//! This crate holds all that the client, the helper and `busctl` scripts have to agree on. It has
//! the names ([`names`]), the arguments of a call ([`LinkName`], [`ClampOptions`]), the status
//! ([`Status`]), the errors ([`Error`]), and the client's proxy ([`HelperProxy`]).
//! `dbus/org.airpods.Helper1.xml` is the same contract as introspection data; a test compares the
//! two.
//!
//! The definition of a VPN link ([`LinkKind`]) is here as well: the helper decides by it what to
//! clamp, and the client what to advise.

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
