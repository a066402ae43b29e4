//! The real helper on a temporary host, under a simulated service manager: crashes, restarts and
//! stops. Meanwhile a reader watches the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod boot;
mod environment;
mod files;
mod journal;
mod kills;
mod machine;
#[path = "../private_bus/mod.rs"]
mod private_bus;
mod reader;
mod rights;
mod slow_disk;
mod stop;
mod systemd;
mod terminate;
mod unit;
