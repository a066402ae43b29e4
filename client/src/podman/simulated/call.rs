//! The calls that the simulated podman writes down.

/// A call that changes something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the method of the trait with the name it was given")]
pub enum Call {
    Pull(String),
    RemoveImage(String),
    CreateNetwork(String),
    RemoveNetwork(String),
    CreateVolume(String),
    RemoveVolume(String),
    CreatePod(String),
    StopPod(String),
    RemovePod(String),
    CreateContainer(String),
    StartContainer(String),
    StopContainer(String),
    RenameContainer(String, String),
    RemoveContainer(String),
}

/// A call that only reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the method of the trait with the name it was given")]
pub enum Look {
    Networks,
    Volumes,
    Pods,
    Containers,
    Image(String),
    Inspect(String),
    Health(String),
    HostFacts,
}
