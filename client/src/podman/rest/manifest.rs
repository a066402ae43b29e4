//! Reading an image's manifest from its registry, through podman.

use super::Rest;
use super::http::escape;
use crate::config::Reference;
use crate::podman::manifest::{Blobs, ManifestAnswer};
use crate::podman::{PodmanError, Result};

impl Rest {
    /// The blobs of a single image, or of a list's image for this machine.
    pub(super) async fn blobs_of(&self, image: &str) -> Result<Option<Blobs>> {
        let manifest = self.manifest(image).await?;
        match manifest.own_instance() {
            Some(digest) => Ok(self.manifest(&Reference::of(image).with_digest(digest)).await?.blobs()),
            None => Ok(manifest.blobs()),
        }
    }

    async fn manifest(&self, image: &str) -> Result<ManifestAnswer> {
        match self.http.get(&format!("/manifests/{}/json", escape(image))).await {
            Err(PodmanError::Refused { status, message }) => {
                ManifestAnswer::quoted_in(&message).ok_or(PodmanError::Refused { status, message })
            }
            answer => answer,
        }
    }
}
