//! `airpods start` behind a VPN: the clamp that it offers, sets or omits, and the name servers that
//! it gives to containers. Helper, polkit, tunnel and black hole are real, on a throw-away host
//! with root's podman.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clamp;
mod doctor;
mod host;
mod names;
