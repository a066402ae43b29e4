//! The verdict laboratory: faults of paths and hosts, and the answer of the real `airpods net
//! check` to each, run by an ordinary user.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod fault;
mod forwarded;
mod table;
