//! From libpod's JSON to our values. Fields that are not used are not named; fields that one
//! version leaves out have defaults.

mod container;
mod detail;
mod host;
mod network;
mod pod;
mod storage;

use serde::{Deserialize, Deserializer};

pub(super) use container::ContainerAnswer;
pub(super) use detail::DetailAnswer;
pub(super) use host::InfoAnswer;
pub(super) use network::NetworkAnswer;
pub(super) use pod::{PodAnswer, PodDetailAnswer};
pub(super) use storage::{PullAnswer, UsageAnswer, VolumeAnswer};

/// `null` and absence both mean the default: podman writes empty lists as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
