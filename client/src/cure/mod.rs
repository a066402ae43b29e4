//! From a measurement to a clamp, and the proof that it helps.
//!
//! [`remedy`] says what a [`Report`](crate::measure::Report) calls for on a link, [`proof`] judges transfers before and after a change, and
//! [`previous`] says how to put back what was there. All three are pure; `airpods net clamp on` and `airpods start` do what they say.

pub mod previous;
pub mod proof;
pub mod remedy;

pub use previous::{is_clamped_to, is_fixed, put_back};
pub use proof::{Proof, Trial, prove};
pub use remedy::{Remedy, remedy};
