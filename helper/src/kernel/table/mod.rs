//! The table `inet airpods`: what it holds ([`ruleset`]), what it is made of ([`layout`]), how it is said to the kernel
//! ([`encode`]), how the kernel's answer is read ([`readback`]), and what has to change ([`plan`]).
//!
//! Everything here is values in, values out; the conversation is in `netlink`.

pub mod encode;
mod expression;
pub mod layout;
pub mod plan;
pub mod readback;
pub mod ruleset;
mod userdata;

/// The table's name. Its family is `inet`, so that one table sees IPv4 and IPv6.
pub const NAME: &str = "airpods";
