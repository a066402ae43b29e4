//! What is learnt before anything is done: podman, what it holds, the machine, and the plan from it.

use std::path::Path;

use super::Args;
use crate::config::{Loaded, PodmanUrl};
use crate::error::Failure;
use crate::plan::{self, Desired, Launch, Observed, Plan, Surroundings};
use crate::podman::{self, Connection, Podman};

/// Where CDI descriptions lie (Container Device Interface specification, "CDI JSON Specification").
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// All that is known before anything is done.
pub(super) struct Prepared {
    pub(super) connection: Connection,
    pub(super) plan: Plan,
    pub(super) launches: Vec<Launch>,
}

/// Reads what podman holds and plans; changes nothing.
pub(super) async fn prepare(args: &Args, loaded: &Loaded) -> Result<Prepared, Failure> {
    let config = &loaded.config;
    let services = plan::chosen(config, &args.services, false)?;
    let connection = podman::connect(config.runtime.podman_url.as_ref().map(PodmanUrl::socket)).await?;
    let podman = &connection.podman;
    let surroundings = Surroundings {
        nvidia_cdi: has_nvidia_cdi(&CDI_FOLDERS.map(Path::new)),
        force_cpu: args.cpu,
        dns_servers: Vec::new(),
    };
    let desired = Desired::from_config(config, &services, podman.version(), &surroundings);
    let observed = Observed::of(podman, desired.images()).await?;
    let plan = plan::decide(&desired, &observed, args.reset_network)?;
    Ok(Prepared { connection, plan, launches: desired.launches })
}

/// Whether a description in one of the folders names NVIDIA's device.
fn has_nvidia_cdi(folders: &[&Path]) -> bool {
    let files = folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "json"))
        .any(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("nvidia.com/gpu")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gpu_is_found_by_its_description_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_nvidia_cdi(&[folder.path(), Path::new("/does/not/exist")]));
        std::fs::write(folder.path().join("notes.txt"), "kind: nvidia.com/gpu").unwrap();
        assert!(!has_nvidia_cdi(&[folder.path()]));
        std::fs::write(folder.path().join("nvidia.yaml"), "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n").unwrap();
        assert!(has_nvidia_cdi(&[folder.path()]));
    }
}
