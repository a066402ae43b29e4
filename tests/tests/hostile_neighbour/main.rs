//! A neighbour who means harm: one ordinary user at the limits that the bus itself sets, with every kind of message there is. The real
//! helper goes on, stays small, serves root, and clamps links; on `dbus-daemon` and on `dbus-broker`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flood;
mod fuzz;
mod host;
mod limits;
mod messages;
mod nonsense;
mod persons;
mod routes;
mod standstill;
