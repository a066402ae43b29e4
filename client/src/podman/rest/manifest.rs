//! An image's manifest, which podman reads from the registry without pulling the image.
//!
//! podman's call is made for lists. It reports a list's images by platform. For a single image in
//! OCI's format it fails, and its message quotes the manifest. For one in Docker's format it leaves
//! the layers out, so that its size stays unknown. Source: `remoteManifestInspect` in
//! `pkg/domain/infra/abi/manifest.go`, the same from podman 4.0 to 5.8.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::http::escape;
use super::{Rest, or_default};
use crate::config::Reference;
use crate::podman::{PodmanError, Result};

/// The sizes in bytes of an image's configuration and layers, as they are downloaded, by digest.
pub type Blobs = BTreeMap<String, u64>;

/// A manifest of either kind: of a list, or of a single image.
#[derive(Debug, Deserialize)]
pub(in crate::podman) struct ManifestAnswer {
    #[serde(default, deserialize_with = "or_default")]
    manifests: Vec<InstanceAnswer>,
    config: Option<BlobAnswer>,
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<BlobAnswer>,
}

/// An image of a list.
#[derive(Debug, Deserialize)]
struct InstanceAnswer {
    digest: String,
    #[serde(default, deserialize_with = "or_default")]
    platform: PlatformAnswer,
}

#[derive(Debug, Default, Deserialize)]
struct PlatformAnswer {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Debug, Deserialize)]
struct BlobAnswer {
    digest: String,
    size: u64,
}

impl ManifestAnswer {
    /// The manifest that podman's error message quotes.
    pub(in crate::podman) fn quoted_in(message: &str) -> Option<Self> {
        let (_, quoted) = message.split_once("parsing manifest blob ")?;
        // Go's quoted strings (`%q`) are JSON strings, but for a few unprintable characters: with
        // these the size stays unknown.
        let text = serde_json::Deserializer::from_str(quoted).into_iter::<String>().next()?.ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The digest of a list's only image for Linux on this machine's architecture. None if there
    /// are several, because podman's choice among variants depends on its version.
    pub(in crate::podman) fn own_instance(&self) -> Option<&str> {
        let fits = |platform: &PlatformAnswer| platform.os == "linux" && platform.architecture == architecture();
        let mut instances = self.manifests.iter().filter(|instance| fits(&instance.platform));
        let digest = instances.next().map(|instance| instance.digest.as_str());
        // The digest becomes part of a path, so any other text is refused.
        digest.filter(|digest| instances.next().is_none() && is_sha256(digest))
    }

    /// The blobs of a single image; none for a list.
    pub(in crate::podman) fn blobs(self) -> Option<Blobs> {
        let all = self.layers.into_iter().chain([self.config?]);
        Some(all.map(|blob| (blob.digest, blob.size)).collect())
    }
}

/// This machine's architecture by its name in manifests, which is Go's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        "loongarch64" => "loong64",
        same => same,
    }
}

fn is_sha256(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:");
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The message of podman 4.3.1 and 5.4.2 about a single image in OCI's format.
    const REFUSAL: &str = r#"parsing manifest blob "{\"schemaVersion\":2,\n \"config\":{\"digest\":\"sha256:aa\",\"size\":409},\"layers\":[{\"digest\":\"sha256:bb\",\"size\":301689},{\"digest\":\"sha256:bb\",\"size\":301689}]}" as a "application/vnd.oci.image.manifest.v1+json": Treating single images as manifest lists is not implemented"#;

    fn list(instances: &[(&str, &str, &str)]) -> ManifestAnswer {
        let instances = instances.iter().map(|(digest, architecture, os)| {
            serde_json::json!({ "digest": digest, "platform": { "architecture": architecture, "os": os } })
        });
        serde_json::from_value(serde_json::json!({ "manifests": instances.collect::<Vec<_>>() })).unwrap()
    }

    #[test]
    fn the_manifest_of_a_single_oci_image_is_read_from_podmans_message() {
        let blobs = ManifestAnswer::quoted_in(REFUSAL).unwrap().blobs().unwrap();
        assert_eq!(blobs, [("sha256:aa".to_owned(), 409), ("sha256:bb".to_owned(), 301_689)].into());
        for other in ["manifest unknown", "parsing manifest blob \"{", "parsing manifest blob \"[]\"", ""] {
            assert!(ManifestAnswer::quoted_in(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_single_image_without_its_layers_has_no_size() {
        let docker = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","manifests":null}"#;
        let docker: ManifestAnswer = serde_json::from_str(docker).unwrap();
        assert_eq!(docker.own_instance(), None);
        assert_eq!(docker.blobs(), None);
    }

    #[test]
    fn the_image_of_a_list_is_the_only_one_for_linux_and_this_architecture() {
        let (own, digest) = (architecture(), format!("sha256:{}", "0".repeat(64)));
        let others = [("sha256:1", own, "windows"), ("sha256:2", "mips", "linux"), ("sha256:3", "unknown", "unknown")];
        let of = |more: &[(&str, &str, &str)]| list(&[&others, more].concat()).own_instance().map(str::to_owned);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(&digest, own, "linux")]), Some(digest.clone()));
        assert_eq!(of(&[(&digest, own, "linux"), (&digest, own, "linux")]), None);
        assert_eq!(of(&[("sha256:../../../info", own, "linux")]), None);
    }
}
