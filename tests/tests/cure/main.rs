//! The cure with the measured number: `net clamp on --mtu auto`, what is remembered of it, and what `start` makes of it. The path has a TUN link of 1420
//! bytes and carries less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clamp;
mod host;
mod start;
