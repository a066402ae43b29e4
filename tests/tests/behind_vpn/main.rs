//! `airpods start` behind a VPN: the clamp that it offers, sets or does without, and the name servers that it gives containers. All
//! of it is real, on a throw-away host with root's podman: helper, polkit, tunnel, black hole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clamp;
mod doctor;
mod host;
mod names;
