//! From a measurement to a clamp, and the proof that it helps.
//!
//! [`remedy`] says what a [`Report`](crate::measure::Report) calls for on a link, [`proof`] judges transfers before and after
//! a change, and [`clamp`] says what is clamped, and how to put back what was there. All three are pure; `airpods net clamp on`
//! and `airpods start` do what they say.

pub mod clamp;
pub mod proof;
pub mod remedy;

pub use clamp::{ClampCoverage, clamp_command, clamp_coverage, fixed_clamp_command, is_clamped_to, is_fixed, put_back};
pub use proof::{Proof, Trial, prove};
pub use remedy::{Remedy, remedy};
