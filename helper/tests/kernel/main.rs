//! Tests with the real kernel in temporary network namespaces, with `nft`, `ip` and packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod atomic;
mod events;
mod generation;
mod host;
mod links;
mod listing;
mod packets;
mod rights;
mod router;
mod takeover;
mod wire;
