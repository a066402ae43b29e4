//! podman's own secrets: which a container was made with, and which there are now.

use super::label::SECRETS;
use super::{Launch, Observed};
use crate::podman::{Container, ContainerSpec};

impl Observed {
    /// The label about secrets for a container that is created now; none if it gets no secret.
    fn secrets_label(&self, spec: &ContainerSpec) -> Option<String> {
        let ids = spec.podman_secrets().filter_map(|(variable, name)| {
            let id = self.secrets.get(name)?;
            Some(format!("{variable}={id}"))
        });
        let ids: Vec<String> = ids.collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    /// The container as it is made now: labelled with the secrets that it is given.
    pub(super) fn with_secrets(&self, spec: &ContainerSpec) -> ContainerSpec {
        let mut spec = spec.clone();
        let label = self.secrets_label(&spec);
        spec.labels.extend(label.map(|label| (SECRETS.to_owned(), label)));
        spec
    }

    /// Whether a container has the secrets that there are now. podman reads them when it makes and starts a container, and tells
    /// nobody their values; one with another value has another id.
    pub(super) fn has_secrets(&self, launch: &Launch, found: &Container) -> bool {
        found.labels.get(SECRETS) == self.secrets_label(&launch.container).as_ref()
    }

    /// A secret that a service is to be given and that is not there.
    pub(super) fn missing_secret<'a>(&self, launch: &'a Launch) -> Option<(&'a str, &'a str)> {
        launch.container.podman_secrets().find(|(_, name)| !self.secrets.contains_key(*name))
    }
}
