//! Images and volumes, which stay while a container has them.

use std::collections::BTreeSet;

use super::World;
use crate::podman::Result;
use crate::podman::simulated::call::{missing, refused, taken};
use crate::podman::{ContainerSpec, DiskUsage, Mount};

impl World {
    /// Takes an image from the registry into storage.
    pub(in crate::podman::simulated) fn deliver(&mut self, image: &str) -> Result<()> {
        if !self.registry.contains(image) {
            return Err(refused(500, "manifest unknown"));
        }
        self.images.insert(image.into());
        Ok(())
    }

    pub(in crate::podman::simulated) fn remove_image(&mut self, image: &str) -> Result<()> {
        if self.containers.values().any(|(spec, _)| spec.image == image) {
            return Err(refused(409, format!("image {image} is in use by a container")));
        }
        if self.images.remove(image) { Ok(()) } else { Err(missing("image", image)) }
    }

    pub(in crate::podman::simulated) fn create_volume(&mut self, name: &str) -> Result<()> {
        if self.volumes.insert(name.into()) { Ok(()) } else { Err(taken("volume", name)) }
    }

    pub(in crate::podman::simulated) fn remove_volume(&mut self, name: &str) -> Result<()> {
        if !self.volume_users(name).is_empty() {
            return Err(refused(409, format!("volume {name} is being used by a container")));
        }
        if self.volumes.remove(name) { Ok(()) } else { Err(missing("volume", name)) }
    }

    pub(in crate::podman::simulated) fn volume_users(&self, name: &str) -> Vec<String> {
        let users = self.containers.values().filter(|(spec, _)| mounts(spec, name));
        users.map(|(spec, _)| spec.name.clone()).collect()
    }

    /// Everything takes a kibibyte.
    pub(in crate::podman::simulated) fn disk_usage(&self) -> DiskUsage {
        let each = |names: &BTreeSet<String>| names.iter().map(|name| (name.clone(), 1024)).collect();
        DiskUsage { images: each(&self.images), volumes: each(&self.volumes) }
    }
}

/// Whether a container mounts a volume.
fn mounts(spec: &ContainerSpec, volume: &str) -> bool {
    spec.mounts.iter().any(|mount| matches!(mount, Mount::Volume { name, .. } if name == volume))
}
