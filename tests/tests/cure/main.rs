//! The cure with a measured MTU: `net clamp on --mtu auto`, its remembered result, and the use of
//! it in `start`. The path has a TUN link of MTU 1420 and carries less.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clamp;
mod host;
mod start;
