//! Whose network a service is on.

use crate::config::Service;

/// Who holds a way onto the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A pod, for all its containers.
    Pod(String),
    /// A container without a pod.
    Container(String),
}

impl Holder {
    /// Whose endpoint a service uses, unless it is on the host's network.
    pub(super) fn of(service: &Service) -> Self {
        match &service.pod {
            Some(pod) => Self::Pod(pod.to_string()),
            None => Self::Container(service.container.to_string()),
        }
    }
}
