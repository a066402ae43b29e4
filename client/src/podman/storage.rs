//! podman's storage: images and volumes, their sizes and the progress of a pull. Also secrets, and
//! the sources of secret variables.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use super::rest::or_default;

/// A progress report of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer, as a short digest.
    pub layer: String,
    /// Its state, in podman's words.
    pub status: String,
    /// The bytes done and the total, if podman reports them.
    pub bytes: Option<(u64, u64)>,
}

/// The sizes of objects in bytes, by name. An object whose size podman does not report is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images, by name and tag.
    pub images: BTreeMap<String, u64>,
    /// Volumes.
    pub volumes: BTreeMap<String, u64>,
}

/// The request by which libpod creates a volume.
#[derive(Serialize)]
pub(super) struct VolumeBody<'a> {
    #[serde(rename = "Name")]
    pub(super) name: &'a str,
    #[serde(rename = "Labels")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(in crate::podman) struct VolumeAnswer {
    #[serde(rename = "Name")]
    pub(in crate::podman) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman) struct UsageAnswer {
    #[serde(default, deserialize_with = "or_default")]
    images: Vec<ImageUsage>,
    #[serde(default, deserialize_with = "or_default")]
    volumes: Vec<VolumeUsage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageUsage {
    repository: String,
    tag: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeUsage {
    volume_name: String,
    size: u64,
}

impl From<UsageAnswer> for DiskUsage {
    fn from(answer: UsageAnswer) -> Self {
        let image = |image: ImageUsage| (format!("{}:{}", image.repository, image.tag), image.size);
        Self {
            images: answer.images.into_iter().map(image).collect(),
            volumes: answer.volumes.into_iter().map(|volume| (volume.volume_name, volume.size)).collect(),
        }
    }
}

/// One line of the stream that a pull sends (Docker's API).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::podman) struct PullAnswer {
    #[serde(default)]
    pub(in crate::podman) id: String,
    #[serde(default)]
    pub(in crate::podman) status: String,
    #[serde(default)]
    pub(in crate::podman) error: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(in crate::podman) progress_detail: PullBytes,
}

#[derive(Default, Deserialize)]
pub(in crate::podman) struct PullBytes {
    #[serde(default)]
    pub(in crate::podman) current: u64,
    #[serde(default)]
    pub(in crate::podman) total: u64,
}

/// The source of a secret variable's value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// The web UI's own secret ([`crate::webui_secret`]).
    WebUi,
    /// A file of the user, by its absolute path.
    File(PathBuf),
    /// A secret that podman keeps, by its name. podman gives the value to the container; airpods
    /// never reads it.
    Podman(String),
}

impl fmt::Display for SecretSource {
    /// Writes the source as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebUi => f.write_str("the web UI's own"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Podman(name) => write!(f, "podman:{name}"),
        }
    }
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes the secret variables for the digest of the settings. A file that moves keeps its
/// value, so its path is left out. The value itself is compared with that of the running container.
pub(super) fn without_paths<S: Serializer>(
    sources: &BTreeMap<String, SecretSource>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sources.iter().map(|(variable, source)| match source {
        SecretSource::Podman(name) => format!("{variable}=podman:{name}"),
        SecretSource::WebUi | SecretSource::File(_) => variable.clone(),
    }))
}

/// A secret as podman lists it.
#[derive(Deserialize)]
pub(super) struct SecretAnswer {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Spec")]
    spec: SecretSpecAnswer,
}

#[derive(Deserialize)]
struct SecretSpecAnswer {
    #[serde(rename = "Name")]
    name: String,
}

impl From<SecretAnswer> for (String, String) {
    /// The name and the id.
    fn from(answer: SecretAnswer) -> Self {
        (answer.spec.name, answer.id)
    }
}
