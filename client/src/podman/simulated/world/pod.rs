//! A pod is on a network, and takes its containers along when it stops or goes.

use super::World;
use crate::podman::Result;
use crate::podman::simulated::call::{missing, refused, taken};
use crate::podman::{ContainerSpec, ContainerState, Networking, Pod, PodSpec};

impl World {
    pub(in crate::podman::simulated) fn list_pods(&self) -> Vec<Pod> {
        let members = |pod: &str| {
            let inside = self.containers.values().filter(|(spec, _)| is_in(spec, pod));
            inside.map(|(spec, _)| spec.name.clone()).collect()
        };
        let pods = self.pods.values().map(|pod| Pod {
            name: pod.name.clone(),
            labels: pod.labels.clone(),
            up: self.pods_up.contains(&pod.name),
            broken: self.pods_broken.contains(&pod.name).then(|| "its infra container is gone".to_owned()),
            containers: members(&pod.name),
        });
        pods.collect()
    }

    pub(in crate::podman::simulated) fn create_pod(&mut self, spec: &PodSpec) -> Result<()> {
        if !self.networks.contains_key(&spec.endpoint.network) {
            return Err(missing("network", &spec.endpoint.network));
        }
        if self.pods.contains_key(&spec.name) {
            return Err(taken("pod", &spec.name));
        }
        self.pods.insert(spec.name.clone(), spec.clone());
        Ok(())
    }

    pub(in crate::podman::simulated) fn stop_pod(&mut self, name: &str) -> Result<()> {
        if !self.pods.contains_key(name) {
            return Err(missing("pod", name));
        }
        if self.pods_broken.contains(name) {
            return Err(refused(500, format!("pod {name}: no such container")));
        }
        self.pods_up.remove(name);
        for (spec, state) in self.containers.values_mut() {
            if *state == ContainerState::Running && is_in(spec, name) {
                *state = ContainerState::Exited(0);
            }
        }
        Ok(())
    }

    pub(in crate::podman::simulated) fn remove_pod(&mut self, name: &str) -> Result<()> {
        self.containers.retain(|_, (spec, _)| !is_in(spec, name));
        self.pods_up.remove(name);
        self.pods_broken.remove(name);
        self.pods.remove(name).map(drop).ok_or_else(|| missing("pod", name))
    }
}

fn is_in(spec: &ContainerSpec, pod: &str) -> bool {
    matches!(&spec.networking, Networking::Pod(name) if name == pod)
}
