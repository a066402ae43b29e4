//! What ought to be clamped: pure decisions over values.
//!
//! [`Desired`] is what callers asked for, [`plan`] turns it and the links there are into the
//! [`Ruleset`](crate::kernel::Ruleset) the kernel ought to hold and the status to report. Nothing here reads or
//! changes anything, so every rule about what is clamped is tested as a value.

mod desired;
mod plan;
pub mod vpn;

pub use desired::{Change, Desired, Request};
pub use plan::{Plan, PlannedClamp, accept, plan};
