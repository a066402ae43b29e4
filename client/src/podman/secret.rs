//! Secrets: where the value of a variable comes from, and those that podman keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

/// Where the value of a secret variable comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretSource {
    /// The web UI's own secret ([`crate::webui_secret`]).
    WebUi,
    /// A file of the user's, by its absolute path.
    File(PathBuf),
    /// A secret that podman keeps, by its name. podman gives the value to the container; airpods never reads it.
    Podman(String),
}

impl fmt::Display for SecretSource {
    /// As the configuration has it.
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

/// Writes the sources of a container's variables for the digest of its settings. A file that moves keeps its value, so its path is
/// left out; the value itself is compared when the container runs.
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
