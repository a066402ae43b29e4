//! What forbids a launch before anything is touched.

use std::borrow::Cow;
use std::fmt;

use crate::error::Report;

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

    /// The network exists with other settings, and those of a network cannot be changed.
    #[error("the network `{name}` exists with other settings: {}", list(differences))]
    NetworkDiffers {
        /// The network.
        name: String,
        /// Each setting.
        differences: Vec<NetworkDifference>,
    },

    /// The network is to be made anew, and somebody else's container would be left on it.
    #[error("the network `{name}` cannot be made anew: the container `{holder}` is on it")]
    NetworkHeld {
        /// The network.
        name: String,
        /// The container that is on it and is not ours.
        holder: String,
    },

    /// A running container holds a port.
    #[error("`services.{service}.ports`: port {port} is in use by the container `{holder}`")]
    PortHeld {
        /// The service that wants it.
        service: String,
        /// The host's port.
        port: u16,
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

impl Kind {
    /// podman's command that removes one.
    #[must_use]
    pub fn removal(self) -> &'static str {
        match self {
            Self::Network => "podman network rm",
            Self::Pod => "podman pod rm --force",
            Self::Container => "podman rm --force",
            Self::Volume => "podman volume rm",
            Self::Image => "podman rmi",
        }
    }
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
    /// What is configured.
    pub wanted: String,
    /// What the network has.
    pub found: String,
}

impl fmt::Display for NetworkDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, found } = self;
        write!(f, "`{key}` is `{wanted}` in the configuration and `{found}` in podman")
    }
}

fn list(differences: &[NetworkDifference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Report for Conflict {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::NotOurs { place, kind, name } => {
                let command = kind.removal();
                format!("remove it with `{command} {name}` if nothing else needs it, or set another `{place}`")
            }
            Self::NetworkHeld { holder, .. } => {
                let command = Kind::Container.removal();
                format!(
                    "remove it with `{command} {holder}` if nothing needs it, or set another `runtime.network_name`"
                )
            }
            Self::NetworkDiffers { .. } => {
                return Some("`airpods start --reset-network` makes it anew, with the containers on it; so does a yes, or `--yes`".into());
            }
            Self::PortHeld { holder, service, .. } => {
                format!("stop it with `podman stop {holder}`, or set another `host` in `services.{service}.ports`")
            }
        };
        Some(hint.into())
    }
}
