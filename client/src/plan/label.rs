//! The labels by which we know our own objects again.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The service that a container runs.
pub(super) const SERVICE: &str = "io.airpods.service";

/// The network of the configuration that a container was made from, also of one that is on the host's: by it the containers of
/// several configurations are told apart.
pub(super) const NETWORK: &str = "io.airpods.network";

/// A digest of the settings that an object was made with.
pub(super) const SETTINGS: &str = "io.airpods.settings";

/// Whether an object with these labels was made by us.
pub(super) fn is_ours(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(SETTINGS)
}

/// The service that a container with these labels was made for, if we made it.
#[must_use]
pub fn service_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(SERVICE).filter(|_| is_ours(labels)).map(String::as_str)
}

/// Whether an object of ours was made with the settings of this one.
pub(super) fn same_settings(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> bool {
    wanted.get(SETTINGS) == found.get(SETTINGS)
}

/// The labels of an object made with these settings.
pub(super) fn labels<T: Serialize>(settings: &T) -> BTreeMap<String, String> {
    // Serializing our own plain values cannot fail; if it did, equal digests would only spare a re-creation.
    let text = serde_json::to_vec(settings).unwrap_or_default();
    // 64 bits tell settings apart; nobody attacks their own labels.
    let digest = Sha256::digest(&text).first_chunk().copied().map_or(0, u64::from_be_bytes);
    BTreeMap::from([(SETTINGS.to_owned(), format!("{digest:016x}"))])
}

/// The labels of a container made with these settings, for a service of a configuration with this network.
pub(super) fn of_container<T: Serialize>(settings: &T, service: &str, network: &str) -> BTreeMap<String, String> {
    let mut labels = labels(settings);
    labels.extend([(SERVICE, service), (NETWORK, network)].map(|(label, value)| (label.to_owned(), value.to_owned())));
    labels
}
