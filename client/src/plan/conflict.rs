//! The conflicts that forbid a launch before anything is touched.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use crate::error::Report;
use crate::port::HostPort;

/// Why a plan cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Something of that name exists and was made by somebody else.
    #[error("`{place}`: a {kind} named `{name}` exists already and was not made by airpods")]
    NotOurs {
        /// The key that gives the name.
        place: String,
        /// `network`, `pod` or `container`.
        kind: Kind,
        /// The name.
        name: String,
    },

    /// Something is to be there that is not ours to make.
    #[error("`{place}`: there is no {kind} named `{name}`")]
    Missing {
        /// The key that gives the name.
        place: String,
        /// `network` or `image`.
        kind: Kind,
        /// The name.
        name: String,
    },

    /// podman keeps no secret of this name.
    #[error("`services.{service}.secret_env.{variable}`: podman has no secret named `{name}`")]
    SecretMissing {
        /// The service that is to be given it.
        service: String,
        /// In which variable.
        variable: String,
        /// The secret.
        name: String,
    },

    /// The network exists with other settings, and those of a network cannot be changed.
    #[error("the network `{name}` exists with other settings: {}", list(differences))]
    NetworkDiffers {
        /// The network.
        name: String,
        /// Each setting.
        differences: Vec<NetworkDifference>,
    },

    /// The network is to be made anew, and somebody else's container would be left on it.
    #[error("the network `{name}` cannot be recreated: the container `{holder}` is on it")]
    NetworkHeld {
        /// The network.
        name: String,
        /// The container that is on it and is not ours.
        holder: String,
    },

    /// A path of the host that is to be mounted is not there.
    #[error("`services.{service}.volumes`: there is no `{}` on this host", path.display())]
    PathMissing {
        /// The service.
        service: String,
        /// The path.
        path: PathBuf,
    },

    /// A folder is meant, and there is a file.
    #[error("`services.{service}.volumes`: `{}` is meant to be a folder, and it or a part of it is a file", path.display())]
    NoFolder {
        /// The service.
        service: String,
        /// The path.
        path: PathBuf,
    },

    /// A device is not there.
    #[error("`services.{service}`: there is no device `{device}` on this host")]
    DeviceMissing {
        /// The service.
        service: String,
        /// The device.
        device: String,
    },

    /// A running container holds a port.
    #[error("`services.{service}.ports`: port {port} is in use by the container `{holder}`")]
    PortHeld {
        /// The service that wants it.
        service: String,
        /// The host's port.
        port: HostPort,
        /// The container that has it.
        holder: String,
    },
}

/// A kind of podman's objects.
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

/// One setting of a network that is not as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDifference {
    /// Its key in the configuration.
    pub key: &'static str,
    /// The configured value.
    pub wanted: String,
    /// The network's settings.
    pub found: String,
}

impl fmt::Display for NetworkDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, found } = self;
        write!(f, "`{key}` is `{wanted}` in the configuration and `{found}` in podman")
    }
}

/// Another name, for what must not be touched under this one.
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
            Self::PortHeld { holder, service, .. } => {
                format!("set another `host` in `services.{service}.ports`, or stop `{holder}` if it is yours")
            }
        };
        Some(hint.into())
    }
}
