//! The laboratory of airpods: throw-away worlds in which the real programs run.
//!
//! * [`Netns`]: one network namespace, owned by a thread of the test, gone with it;
//! * [`Sandbox`]: a throw-away host with its own mounts, processes, network, cgroups and users. It
//!   runs the real dbus-daemon, polkitd, podman and airpods-helper, and nothing in it reaches the
//!   real host;
//! * [`World`]: a sandbox whose default route is a VPN tunnel, with a VPN server, an internet and
//!   the black holes that the project is about;
//! * [`Path`]: the path between two network namespaces, with any fault. [`PathWorld`] adds a host
//!   at one end and an internet of HTTPS servers at the other;
//! * [`Machine`]: a whole emulated machine with a kernel and a systemd of its own, in which the
//!   package is installed;
//! * [`Capture`]: the SYNs that were on a link;
//! * [`NftMonitor`]: every change of the rules that the kernel announced;
//! * [`polkit`]: a stand-in for polkitd;
//! * [`documents`]: the schemas of what `airpods` prints with `--json`;
//! * [`raw_bus`]: messages to a bus that no honest library writes;
//! * [`Image`]: the container image that needs no registry;
//! * [`stacks`]: configurations with the needs of public stacks.
//!
//! Everything vanishes when its value is dropped, even if the test is killed. `tests/README.md` has
//! examples.
#![forbid(unsafe_code)]

mod background;
mod bus_daemon;
mod caller;
mod capture;
pub mod client;
pub mod documents;
mod error;
pub mod fuzz;
mod image;
pub mod machine;
pub mod neighbours;
mod netns;
mod nft_monitor;
pub mod path;
mod place;
pub mod polkit;
mod programs;
pub mod raw_bus;
pub mod sandbox;
pub mod stacks;
pub mod terminal;
pub mod tunnel;
mod wait;

pub use background::Background;
pub use bus_daemon::{BusDaemon, RunningBus};
pub use caller::connect_as;
pub use capture::{Capture, FAMILIES, Family, Syn};
pub use client::CommandOutput;
pub use error::{Error, Result};
pub use image::Image;
pub use machine::{Machine, Suite};
pub use netns::Netns;
pub use nft_monitor::NftMonitor;
pub use path::{Path, PathWorld, Rules};
pub use place::{Network, Place, run};
pub use programs::{PACKAGES, Program, build_record, package, packages_folder, repository};
pub use sandbox::{Sandbox, User};
pub use tunnel::{BlackHole, Transfer, World, WorldPlan};
pub use wait::{TIMEOUT, eventually, eventually_within};
