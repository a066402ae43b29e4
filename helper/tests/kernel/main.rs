//! The real kernel, in throw-away network namespaces: what `nft` lists, what goes over the wire, what `ip` does.
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
