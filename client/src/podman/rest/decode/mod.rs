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
pub(super) use detail::{DetailAnswer, HealthAnswer, Names};
pub(super) use host::InfoAnswer;
pub(super) use network::NetworkAnswer;
pub(super) use pod::{PodAnswer, PodDetailAnswer};
pub(super) use storage::{PullAnswer, UsageAnswer, VolumeAnswer};

/// What to say about an entry of a listing that is not understood. The name is an object's own, in whichever way the kind has it.
pub(super) fn left_out(kind: &str, entry: &serde_json::Value, why: &serde_json::Error) -> String {
    let names = [entry.get("Name"), entry.get("name"), entry.pointer("/Names/0"), entry.get("Id"), entry.get("id")];
    let name = names.into_iter().flatten().find_map(serde_json::Value::as_str).unwrap_or("without a name");
    format!("the {kind} `{name}` was left out: podman describes it in an unknown form ({why})")
}

/// `null` and absence both mean the default: podman writes empty lists as `null`.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
