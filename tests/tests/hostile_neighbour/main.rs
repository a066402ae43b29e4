//! A hostile user: one ordinary user at the limits of the bus, with every kind of message. The real
//! helper keeps running, stays small, serves root, and clamps links, on `dbus-daemon` and on
//! `dbus-broker`.
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
