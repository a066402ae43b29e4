//! The same with real podman containers.
