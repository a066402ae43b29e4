//! Authorisation of changes, with the real polkitd, the real bus and the helper started by the
//! bus's launcher.
//!
//! The prompt in a terminal, with polkit's own text agent and a password, is tested in
//! `client/tests/net_password.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod absence;
mod agent;
mod errors;
mod host;
mod life;
mod prompt;
mod rights;
mod rules;
mod vanishing;
