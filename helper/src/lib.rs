//! The helper daemon of airpods. It keeps one nftables table in the state that authorised callers
//! asked for.
//!
//! To read the code, follow a call. [`bus`] receives it, [`authority`] authorises the caller, and
//! [`clamp`] computes the desired rules. [`reconcile`] applies them to the [`kernel`], to memory
//! and to the [`state`] files. `main` starts the [`daemon`] after [`privilege`] has irrevocably
//! given up root. [`after_stop`] removes or keeps the table after the daemon has ended. A
//! [`failure`] ends either.

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
pub mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../fuzzing/mod.rs"]
pub mod fuzzing;
pub mod kernel;
pub mod log;
pub mod privilege;
pub mod reconcile;
pub mod state;
