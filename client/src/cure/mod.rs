//! Derives a clamp from a measurement, and proves that it helps.
//!
//! [`remedy()`] derives the cure for a link from a [`Report`](crate::measure::Report). [`proof`]
//! compares transfers before and after a change. [`clamp`] finds out what is clamped, and how to
//! restore it. All three are pure; `airpods net clamp on` and `airpods start` carry out their
//! results.

pub mod clamp;
pub mod proof;
pub mod remedy;

pub use clamp::{
    ClampCoverage, clamp_command, clamp_coverage, fixed_clamp_command, is_clamped_to, is_fixed, is_named, is_of_all,
    restoring_change,
};
pub use proof::{Proof, Trial, prove};
pub use remedy::{Remedy, remedy};
