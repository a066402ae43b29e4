//! The real helper on a throw-away host, under a service manager of the test's own: crashes, restarts, stops, and a reader
//! who looks at the table all the while.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod boot;
mod files;
mod journal;
mod kills;
mod machine;
#[path = "../private_bus/mod.rs"]
mod private_bus;
mod reader;
mod rights;
mod stop;
mod systemd;
mod terminate;
mod unit;
