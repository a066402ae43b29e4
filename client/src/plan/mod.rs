//! Plans a launch: turns the configuration and podman's report into a [`Plan`], a value that can be
//! printed, compared and tested. Only [`Observed`] and [`Inspection`] do I/O, and they only read.
//!
//! [`Desired::from_config`] computes the desired state, [`Observed::for_launch`] reads the observed
//! one. [`decide()`] returns the steps from one to the other, or the [`Conflict`] that forbids
//! them. [`crate::execute`] carries the steps out, and [`read_back()`] compares the result with the
//! desired settings.

mod clean;
mod conflict;
mod decide;
mod desired;
mod label;
mod observed;
mod read_back;
mod restart;
mod services;
mod setting;
mod show;
mod teardown;

pub use clean::{Clean, Inventory, Scope, Skipped, clean};
pub(crate) use conflict::another;
pub use conflict::{Conflict, Kind, NetworkDifference};
pub use decide::{NetworkReset, decide};
pub use desired::{Desired, Launch};
pub use label::{is_own as is_own_label, service_of};
pub use observed::container_made_for;
pub use observed::{Inspection, Observed};
pub use read_back::read_back;
pub use restart::{Restart, Restarted, restart};
pub use services::{Present, UnknownService, chosen, left_running};
pub(crate) use services::{ordered, urls};
pub use setting::{Difference, Expected, Setting, Source};
pub use show::PullSize;
pub use teardown::{Stages, Stop, Teardown, stop};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::{Config, DnsServers};
use crate::gpu;
use crate::health::HealthCheck;
use crate::podman::{Blobs, ContainerSpec, HealthTiming, NetworkSpec, PodSpec, SecretSource};
use crate::port::HostPort;
use crate::secret::SecretValues;

/// The inputs of a launch besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct HostContext {
    /// The machine's GPUs.
    pub gpu: gpu::Gpus,
    /// podman runs as an ordinary user.
    pub rootless: bool,
    /// Use no GPU, whatever the configuration says.
    pub force_cpu: bool,
    /// The servers found for `dns_servers = "auto"`; empty means the host's own.
    pub dns_servers: Vec<IpAddr>,
}

impl HostContext {
    /// The name servers of the network's containers; empty means the host's own.
    fn dns_servers<'a>(&'a self, config: &'a Config) -> &'a [IpAddr] {
        match &config.runtime.network.dns_servers {
            DnsServers::Auto => &self.dns_servers,
            DnsServers::List(servers) => servers,
        }
    }
}

/// The steps of a launch. A step is identified by its index; every step comes after those it waits
/// for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The objects that exist and stay unchanged, for the printed plan.
    pub kept: Vec<Unchanged>,
    /// The host ports that must be free before the first step, each with the service that wants it.
    pub ports: Vec<(String, HostPort)>,
    /// The network, if it exists and is kept. None if a step creates it, or no service needs it.
    pub network: Option<crate::podman::Network>,
    /// The objects that are replaced.
    pub replaced: Vec<Replaced>,
    /// The blobs of images to pull, by image, as far as their registries reported them.
    pub blobs: BTreeMap<String, Blobs>,
    /// Warnings to print with the outcome, a sentence each.
    pub warnings: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The action of the step.
    pub action: Action,
    /// The service that needs the step; none if several share it.
    pub service: Option<String>,
    /// The indexes of the steps that must be done first.
    pub after: Vec<usize>,
}

/// The action of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Creates the network.
    CreateNetwork(NetworkSpec),
    /// Removes our network so that it can be recreated.
    RemoveNetwork(String),
    /// Creates a named volume.
    CreateVolume(String),
    /// Creates a folder and its missing parents.
    CreateFolder(PathBuf),
    /// Pulls an image.
    Pull(String),
    /// Stops and renames a container of ours whose settings differ. It stays until the whole plan
    /// has succeeded, so that an undo can bring it back.
    SetAside {
        /// The container.
        name: String,
        /// Its name after the step.
        former: String,
        /// Whether it runs and has to be stopped.
        running: bool,
    },
    /// Removes a container that was set aside, after every other step.
    Discard {
        /// The name that it was given.
        name: String,
    },
    /// Stops and removes a container of ours, where setting it aside is not possible or not enough.
    RemoveContainer {
        /// The container.
        name: String,
        /// Whether it runs.
        running: bool,
    },
    /// Stops and removes a pod of ours, with its containers, to recreate it or because it would be
    /// left empty.
    RemovePod {
        /// The pod.
        name: String,
        /// The containers that are removed with it.
        containers: Vec<String>,
        /// The running ones of `containers`.
        running: Vec<String>,
    },
    /// Creates a pod.
    CreatePod(PodSpec),
    /// Creates a container.
    CreateContainer(Box<ContainerSpec>),
    /// Starts a container.
    Start {
        /// The container.
        name: String,
    },
    /// Stops a container that a later step starts again.
    Stop {
        /// The container.
        name: String,
    },
    /// Checks that a started container has not ended.
    CheckRuns {
        /// The container.
        name: String,
    },
    /// Compares every setting of the running container with the desired one.
    ReadBack(Box<Expected>),
    /// Waits until the service passes its health check.
    AwaitHealth {
        /// The container; the wait fails if it ends.
        container: String,
        /// The health check.
        check: HealthCheck,
        /// Interval, timeout, retries and start period of the check.
        times: HealthTiming,
        /// The container ran before this plan and is only checked.
        kept: bool,
        /// Another service starts only after this one is healthy.
        required: bool,
    },
    /// Waits until a one-shot service has ended with success.
    AwaitEnd {
        /// The container.
        container: String,
        /// Another service starts only after that, so the wait has no time limit.
        required: bool,
    },
}

/// An object that exists and stays unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchanged {
    /// The network of this name.
    Network(String),
    /// A volume of this name.
    Volume(String),
    /// A pod of this name.
    Pod(String),
    /// A service whose container runs with the desired settings.
    Service(String),
}

impl Plan {
    /// The images to pull.
    pub fn pulled_images(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Pull(image) => Some(image.as_str()),
            _ => None,
        })
    }

    /// The sources of the secret values that the containers to be created need.
    #[must_use]
    pub fn secret_sources(&self) -> BTreeSet<SecretSource> {
        let made = self.steps.iter().filter_map(|step| match &step.action {
            Action::CreateContainer(spec) => Some(spec),
            _ => None,
        });
        made.flat_map(|spec| spec.secret_env.values().cloned()).collect()
    }

    /// Gives the secret values to every step that creates a container or compares one.
    pub fn give_secrets(&mut self, values: &SecretValues) {
        for step in &mut self.steps {
            match &mut step.action {
                Action::CreateContainer(spec) => spec.give_secrets(values),
                Action::ReadBack(expected) => expected.spec.give_secrets(values),
                _ => {}
            }
        }
    }

    /// The replacements that stop something running and were not asked for.
    #[must_use]
    pub fn needs_consent(&self) -> Vec<&Replaced> {
        self.replaced.iter().filter(|replaced| replaced.needs_consent()).collect()
    }

    /// Whether there is nothing to do except check the health of services that already run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.action, Action::AwaitHealth { kept: true, .. }))
    }
}

/// An object of ours that is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The kind of object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The reasons, a sentence each. Empty if only the digest of the settings shows the change.
    pub why: Vec<String>,
    /// The live containers that the replacement stops.
    pub stops: Vec<String>,
    /// The user asked for the replacement, as with `--reset-network`.
    pub asked_for: bool,
}

impl Replaced {
    /// Whether the replacement needs confirmation: it stops something, and the user did not ask for
    /// it.
    #[must_use]
    pub fn needs_consent(&self) -> bool {
        !self.asked_for && !self.stops.is_empty()
    }
}

impl fmt::Display for Replaced {
    /// Writes, for example, "the pod `p` with `a`, `b`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", self.kind, self.name)?;
        let with: Vec<String> =
            self.stops.iter().filter(|name| **name != self.name).map(|name| format!("`{name}`")).collect();
        if with.is_empty() { Ok(()) } else { write!(f, " with {}", with.join(", ")) }
    }
}

const FORMER_SUFFIX: &str = "-former";

/// The name that a container gets when it is set aside.
fn former_name(name: &str) -> String {
    format!("{name}{FORMER_SUFFIX}")
}

/// Whether the name is one of a container that was set aside.
fn is_set_aside(name: &str) -> bool {
    name.ends_with(FORMER_SUFFIX)
}

#[cfg(test)]
pub(crate) mod tests;
