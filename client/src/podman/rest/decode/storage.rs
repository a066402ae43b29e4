//! Images and volumes: what there is, how much space it takes, and how a pull gets on.

use serde::Deserialize;

use super::or_default;
use crate::podman::model::DiskUsage;

#[derive(Deserialize)]
pub(in crate::podman::rest) struct VolumeAnswer {
    #[serde(rename = "Name")]
    pub(in crate::podman::rest) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::podman::rest) struct UsageAnswer {
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

/// One line of the stream that a pull sends (the form of Docker's API).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::podman::rest) struct PullAnswer {
    #[serde(default)]
    pub(in crate::podman::rest) id: String,
    #[serde(default)]
    pub(in crate::podman::rest) status: String,
    #[serde(default)]
    pub(in crate::podman::rest) error: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(in crate::podman::rest) progress_detail: PullBytes,
}

#[derive(Default, Deserialize)]
pub(in crate::podman::rest) struct PullBytes {
    #[serde(default)]
    pub(in crate::podman::rest) current: u64,
    #[serde(default)]
    pub(in crate::podman::rest) total: u64,
}
