//! What there is before a launch.

use std::collections::BTreeSet;

use futures_util::future::{try_join, try_join_all, try_join4};

use crate::podman::{Container, Network, Pod, Podman, Result};

/// What podman holds: one listing per kind, and one look per image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// All networks.
    pub networks: Vec<Network>,
    /// The names of all volumes.
    pub volumes: BTreeSet<String>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All containers.
    pub containers: Vec<Container>,
    /// Which of the images asked about are there.
    pub images: BTreeSet<String>,
}

impl Observed {
    /// Looks, with all calls side by side.
    pub async fn of(podman: &impl Podman, images: BTreeSet<String>) -> Result<Self> {
        let listings = try_join4(podman.networks(), podman.volumes(), podman.pods(), podman.containers());
        let look = |image: String| async move {
            let there = podman.image_exists(&image).await?;
            Ok(there.then_some(image))
        };
        let (listed, images) = try_join(listings, try_join_all(images.into_iter().map(look))).await?;
        let (networks, volumes, pods, containers) = listed;
        Ok(Self {
            networks,
            volumes: volumes.into_iter().collect(),
            pods,
            containers,
            images: images.into_iter().flatten().collect(),
        })
    }

    pub(super) fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    pub(super) fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}
