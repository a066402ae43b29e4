//! The conflicts that forbid a launch before anything is touched.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::error::Report;
use crate::port::HostPort;

/// Why a plan cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An object of that name exists and airpods did not create it.
    #[error("`{place}`: a {kind} named `{name}` exists already and was not made by airpods")]
    NotOurs {
        /// The key that gives the name.
        place: String,
        /// `network`, `pod` or `container`.
        kind: Kind,
        /// The name.
        name: String,
    },

    /// An object that airpods does not create is missing.
    #[error("`{place}`: there is no {kind} named `{name}`")]
    Missing {
        /// The key that gives the name.
        place: String,
        /// `network` or `image`.
        kind: Kind,
        /// The name.
        name: String,
    },

    /// podman has no secret of this name.
    #[error("`services.{service}.secret_env.{variable}`: podman has no secret named `{name}`")]
    SecretMissing {
        /// The service that uses it.
        service: String,
        /// The variable that would hold it.
        variable: String,
        /// The secret.
        name: String,
    },

    /// The network exists with other settings, which podman cannot change.
    #[error("the network `{name}` exists with other settings: {}", list(differences))]
    NetworkDiffers {
        /// The network.
        name: String,
        /// The settings that differ.
        differences: Vec<NetworkDifference>,
    },

    /// The network has to be recreated, and a foreign container is on it.
    #[error("the network `{name}` cannot be recreated: the container `{holder}` is on it")]
    NetworkHeld {
        /// The network.
        name: String,
        /// The foreign container.
        holder: String,
    },

    /// A host path to be mounted does not exist.
    #[error("`services.{service}.volumes`: there is no `{}` on this host", path.display())]
    PathMissing {
        /// The service.
        service: String,
        /// The path.
        path: PathBuf,
    },

    /// A folder is required, and the path or a part of it is a file.
    #[error("`services.{service}.volumes`: `{}` is meant to be a folder, and it or a part of it is a file", path.display())]
    NoFolder {
        /// The service.
        service: String,
        /// The path.
        path: PathBuf,
    },

    /// A device does not exist.
    #[error("`services.{service}`: there is no device `{device}` on this host")]
    DeviceMissing {
        /// The service.
        service: String,
        /// The device.
        device: String,
    },

    /// A service names a GPU that this machine lacks.
    #[error("`services.{service}.gpu.device`: this host has no GPU `{gpu}`")]
    GpuMissing {
        /// The service.
        service: String,
        /// The GPU's number or id.
        gpu: String,
    },

    /// A running container holds a port.
    #[error("`services.{service}.ports`: port {port} is in use by the container `{holder}`")]
    PortHeld {
        /// The service that wants it.
        service: String,
        /// The host's port.
        port: HostPort,
        /// The container that holds it.
        holder: String,
    },
}

/// A kind of podman object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A network.
    Network,
    /// A pod.
    Pod,
    /// A container.
    Container,
    /// A volume.
    Volume,
    /// An image.
    Image,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Image => "image",
        })
    }
}

/// A network setting that differs from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDifference {
    /// Its key in the configuration.
    pub key: &'static str,
    /// The configured value.
    pub wanted: String,
    /// The value that the network has.
    pub found: String,
}

impl fmt::Display for NetworkDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, found } = self;
        write!(f, "`{key}` is `{wanted}` in the configuration and `{found}` in podman")
    }
}

/// An alternative name to suggest in place of one that is taken.
pub(crate) fn another(name: &str) -> String {
    format!("{name}-airpods")
}

fn list(differences: &[NetworkDifference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Report for Conflict {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::NotOurs { place, name, .. } => {
                let other = another(name);
                format!("take another name: `airpods config set {place} {other}`")
            }
            Self::Missing { kind: Kind::Image, name, .. } => {
                format!("its `pull` is `never`: bring it with `podman pull {name}`, or leave `pull` out")
            }
            Self::SecretMissing { name, .. } => {
                format!("make it: `podman secret create {name} FILE`, where FILE holds the value and no line break")
            }
            Self::Missing { name, .. } => {
                format!(
                    "it is not airpods' to make: `podman network create {name}` does, or start what it belongs to first"
                )
            }
            Self::NetworkHeld { name, .. } => {
                let other = another(name);
                format!("take another network: `airpods config set runtime.network_name {other}`")
            }
            Self::NetworkDiffers { .. } => {
                return Some(
                    "`airpods start --reset-network` recreates it, with the containers on it; so does `--yes`".into(),
                );
            }
            Self::PathMissing { service, path } => {
                let path = path.display();
                format!("make it, as with `mkdir -p {path}`, or set another `source` in `services.{service}.volumes`")
            }
            Self::NoFolder { service, .. } => format!("set another `source` in `services.{service}.volumes`"),
            Self::DeviceMissing { .. } => {
                "load its driver, or set `runtime.gpu_device_flag` or the service's devices otherwise".to_owned()
            }
            Self::GpuMissing { service, .. } => {
                format!(
                    "name another one, or run it without: `airpods config set services.{service}.gpu.force_cpu true`"
                )
            }
            Self::PortHeld { holder, service, .. } => {
                format!("set another `host` in `services.{service}.ports`, or stop `{holder}` if it is yours")
            }
        };
        Some(hint.into())
    }
}
