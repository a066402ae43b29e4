//! The client of airpods.

pub mod podman;
