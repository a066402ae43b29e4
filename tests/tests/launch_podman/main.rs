//! `airpods start`, `stop`, `status` and `logs` against real podman: rootful, rootless, and through
//! the rootful socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clean;
mod commands;
mod conflicts;
mod doctor;
mod export;
mod generated;
mod half_left;
mod host;
mod interruptions;
mod logs;
mod meaning;
mod names;
mod podman_5;
mod public_stacks;
mod pulls;
mod python;
mod replacing;
mod secrets;
mod seed;
mod settings;
mod stacks;
mod users;
