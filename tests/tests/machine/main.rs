//! The installed package on whole machines: Debian 12 and Debian 13, with their kernels, systemd,
//! logind and polkit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod boot;
mod cures;
mod dns;
mod export;
mod faults;
mod host;
mod install;
mod launch;
mod launch_behind_vpn;
mod lifecycle;
mod narrow_path;
mod neighbours;
mod reboot;
mod sessions;

/// Makes two tests of each function, one for each Debian.
macro_rules! on_both {
    ($($(#[$attribute:meta])* fn $claim:ident($machine:ident: Suite) $body:block)*) => {
        $(fn $claim($machine: airpods_lab::Suite) $body)*
        mod debian_12 {
            $(#[test] $(#[$attribute])* fn $claim() { super::$claim(airpods_lab::Suite::Debian12) })*
        }
        mod debian_13 {
            $(#[test] $(#[$attribute])* fn $claim() { super::$claim(airpods_lab::Suite::Debian13) })*
        }
    };
}
pub(crate) use on_both;
