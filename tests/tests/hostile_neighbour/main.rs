//! A neighbour who means harm: an ordinary user who sends what no library writes, and a bus that stands still. The real helper goes on,
//! stays small, serves root, and clamps links; on `dbus-daemon` and on `dbus-broker`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod host;
mod messages;
mod nonsense;
mod standstill;
