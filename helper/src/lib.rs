//! The helper daemon of airpods: it keeps one nftables table in the state that authorised callers asked for.
//!
//! Read it along the life of a call: [`bus`] takes it, [`authority`] judges the caller, [`clamp`] decides what ought to
//! hold, [`reconcile`] makes it so in the [`kernel`], in memory and in the [`state`] files. `main` starts the [`daemon`] after
//! [`privilege`] has given up root for good; [`after_stop`] sees to the table when it has ended.

#![deny(unsafe_code)]

pub mod after_stop;
pub mod authority;
mod backoff;
pub mod bus;
pub mod clamp;
pub mod daemon;
#[cfg(feature = "doubles")]
#[path = "../doubles/mod.rs"]
pub mod doubles;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../fuzzing/mod.rs"]
pub mod fuzzing;
pub mod kernel;
pub mod log;
pub mod privilege;
pub mod reconcile;
pub mod state;
