//! The verdict laboratory: faults of paths and hosts, and what the real `airpods net check` says behind each, run by an ordinary user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod fault;
mod forwarded;
mod table;
