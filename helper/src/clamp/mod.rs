//! What ought to be clamped: pure decisions over values.
//!
//! [`Desired`] is what callers asked for, [`plan`] turns it and the links there are into the [`Ruleset`] the
//! kernel ought to hold and the status to report.
