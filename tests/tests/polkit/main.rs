//! The real polkitd, the real bus and the helper that the bus's launcher starts: who may change anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
mod rights;
mod rules;
