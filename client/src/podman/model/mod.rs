//! The values that travel between this program and podman: what is asked for (`…Spec`) and what
//! is reported. Nothing here knows how either is encoded.

mod container;
mod endpoint;
mod host;
mod log;
mod network;
mod option;
mod pod;
mod storage;
mod version;

pub use container::{
    Container, ContainerDetail, ContainerSpec, ContainerState, Limits, Mount, MountDetail, Relabel, Restart,
};
pub use endpoint::{Endpoint, Fixed, Pin, PortRanges, PublishedPort, port_ranges};
pub use host::{HostFacts, NetworkBackend, StorageFacts};
pub use log::{LogLine, LogOptions, LogSource};
pub use network::{Network, NetworkSpec, Networking};
pub use option::{ContainerOption, Options, ROWS as OPTION_ROWS, Row as OptionRow, Shape as OptionShape};
pub use pod::{Pod, PodSpec};
pub use storage::{DiskUsage, PullProgress};
pub use version::Version;
