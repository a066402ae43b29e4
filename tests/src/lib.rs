//! The laboratory of airpods: throw-away worlds in which the real programs run.
//!
//! * [`Netns`]: one network namespace, owned by a thread of the test, gone with it;
//! * [`Sandbox`]: a whole throw-away host with its own mounts, processes, network, cgroups and users, in which the
//!   real dbus-daemon, polkitd, podman and airpods-helper run, and from which nothing reaches the real host;
//! * [`World`]: a sandbox whose default route is a VPN tunnel, a VPN server beyond it, an internet beyond that, and the
//!   black holes that the project is about;
//! * [`Path`]: what lies between two network namespaces, with every fault that a path can have; [`PathWorld`] is a host, a path and
//!   an internet of HTTPS servers;
//! * [`Machine`]: a whole emulated machine with a kernel and a systemd of its own, in which the package is installed;
//! * [`Capture`]: the SYNs that really were on a wire;
//! * [`Announced`]: every change of the rules that the kernel announced;
//! * [`polkit`]: a stand-in for polkitd;
//! * [`documents`]: the schemas of what `airpods` prints with `--json`;
//! * [`raw_bus`]: messages to a bus that no honest library writes;
//! * [`Image`]: the container image that needs no registry.
//!
//! Everything vanishes when its value is dropped and also when the test is killed. Read `tests/README.md` for examples.
#![forbid(unsafe_code)]

mod announced;
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
pub mod path;
mod patience;
mod place;
pub mod polkit;
mod programs;
pub mod raw_bus;
pub mod sandbox;
pub mod terminal;
pub mod tunnel;

pub use announced::Announced;
pub use background::Background;
pub use bus_daemon::{BusDaemon, RunningBus};
pub use caller::connect_as;
pub use capture::{Capture, FAMILIES, Family, Syn};
pub use client::Said;
pub use error::{Error, Result};
pub use image::Image;
pub use machine::{Machine, Suite};
pub use netns::Netns;
pub use path::{Path, PathWorld, Rules};
pub use patience::{PATIENCE, eventually, eventually_within};
pub use place::{Network, Place, run};
pub use programs::{PACKAGES, Program, build_record, package, packages_folder, repository};
pub use sandbox::{Sandbox, Seat};
pub use tunnel::{BlackHole, Transfer, World, WorldPlan};
