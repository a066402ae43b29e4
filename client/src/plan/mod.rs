//! Planning a launch: configuration plus what podman reports becomes a [`Plan`], a value that can be printed,
//! compared and tested. Nothing here talks to anybody, but [`Observed::of`], which only reads.
//!
//! The way of a launch: [`Desired::from_config`] says what there should be, [`Observed::of`] what there is,
//! [`decide`] which steps lead from one to the other, or which [`Conflict`] forbids it. [`crate::execute`] takes
//! the steps, and [`read_back`] compares what came of them with what was asked for.

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
pub use teardown::{Stages, Stop, Teardown, stop, was_stopped};

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::config::{Config, DnsServers};
use crate::gpu;
use crate::health::HealthCheck;
use crate::podman::{ContainerSpec, HealthTimes, NetworkSpec, PodSpec, SecretSource};
use crate::port::HostPort;
use crate::secret::SecretValues;

/// The inputs of a launch besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct HostContext {
    /// The machine's GPUs.
    pub gpu: gpu::Found,
    /// podman runs as an ordinary user.
    pub rootless: bool,
    /// Use no GPU, whatever the configuration says.
    pub force_cpu: bool,
    /// The servers found for `dns_servers = "auto"`; none are the host's own.
    pub dns_servers: Vec<IpAddr>,
}

impl HostContext {
    /// The name servers of the network's containers; none are the host's own.
    fn dns_servers<'a>(&'a self, config: &'a Config) -> &'a [IpAddr] {
        match &config.runtime.network.dns_servers {
            DnsServers::Auto => &self.dns_servers,
            DnsServers::List(servers) => servers,
        }
    }
}

/// The steps of a launch. A step's place in the list is its identity; the steps it waits for stand before it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The objects that exist already and stay as they are, for people to read.
    pub kept: Vec<Kept>,
    /// The host's ports that must be free, with the service that wants each.
    pub ports: Vec<(String, HostPort)>,
    /// The network as it is now, where it is; steps before may create it.
    pub network: Option<crate::podman::Network>,
    /// The objects that are replaced.
    pub replaced: Vec<Replaced>,
    /// Warnings about objects that stay, a sentence each.
    pub warnings: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The steps.
    pub action: Action,
    /// The service it is done for; none when several share it.
    pub service: Option<String>,
    /// The steps that must be done before.
    pub after: Vec<usize>,
}

/// The action of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Makes the network.
    CreateNetwork(NetworkSpec),
    /// Removes a network of ours that is to be made anew.
    RemoveNetwork(String),
    /// Makes a named volume.
    CreateVolume(String),
    /// Makes a folder, and those above it.
    CreateFolder(PathBuf),
    /// Pulls an image.
    Pull(String),
    /// Stops a container of ours whose settings are not those wanted any more, and gives it another name until the one that
    /// takes its place runs.
    SetAside {
        /// The container.
        name: String,
        /// Its name from then on.
        former: String,
        /// It runs.
        running: bool,
    },
    /// Removes a container that was set aside, when everything else is done.
    Discard {
        /// The name that it was given.
        name: String,
    },
    /// Stops and removes a container of ours that stands on a network to be made anew.
    RemoveContainer {
        /// The container.
        name: String,
        /// It runs.
        running: bool,
    },
    /// Stops and removes a pod of ours, with its containers, whose settings are not those wanted any more.
    RemovePod {
        /// The pod.
        name: String,
        /// The containers that go with it.
        containers: Vec<String>,
        /// Those of them that run.
        running: Vec<String>,
    },
    /// Makes a pod.
    CreatePod(PodSpec),
    /// Makes a container.
    CreateContainer(Box<ContainerSpec>),
    /// Starts a container.
    Start {
        /// The container.
        name: String,
    },
    /// Stops a container that is to be started again.
    Stop {
        /// The container.
        name: String,
    },
    /// Sees that a container that was started has not ended.
    CheckRuns {
        /// The container.
        name: String,
    },
    /// Compares every setting with what was asked for.
    ReadBack(Box<Expected>),
    /// Waits until the service answers as it should.
    AwaitHealth {
        /// The container, which must not end meanwhile.
        container: String,
        /// The question.
        check: HealthCheck,
        /// How patiently.
        times: HealthTimes,
        /// It runs already, and is only asked.
        kept: bool,
        /// Another service is not started before it is well.
        required: bool,
    },
    /// Waits until a one-shot service has ended, and well.
    AwaitEnd {
        /// The container.
        container: String,
        /// Another service is not started before that, so that it is waited for however long it takes.
        required: bool,
    },
}

/// Something that is there and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The network of this name.
    Network(String),
    /// A volume of this name.
    Volume(String),
    /// A pod of this name.
    Pod(String),
    /// A service whose container runs with the very settings asked for.
    Service(String),
}

impl Plan {
    /// Where the secret values of the containers that are made come from.
    #[must_use]
    pub fn secret_sources(&self) -> BTreeSet<SecretSource> {
        let made = self.steps.iter().filter_map(|step| match &step.action {
            Action::CreateContainer(spec) => Some(spec),
            _ => None,
        });
        made.flat_map(|spec| spec.secret_env.values().cloned()).collect()
    }

    /// Gives the secret values to every container that needs them, and to those who compare.
    pub fn give_secrets(&mut self, values: &SecretValues) {
        for step in &mut self.steps {
            match &mut step.action {
                Action::CreateContainer(spec) => spec.give_secrets(values),
                Action::ReadBack(expected) => expected.spec.give_secrets(values),
                _ => {}
            }
        }
    }

    /// The replacements of something that runs which nobody has agreed to yet.
    #[must_use]
    pub fn needs_consent(&self) -> Vec<&Replaced> {
        self.replaced.iter().filter(|replaced| replaced.needs_consent()).collect()
    }

    /// The number of images to pull.
    #[must_use]
    pub fn pulls(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.action, Action::Pull(_))).count()
    }

    /// Whether there is nothing to do but to ask what runs already how it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.action, Action::AwaitHealth { kept: true, .. }))
    }
}

/// Something of ours that goes and is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The kind of object.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Why, a sentence each; empty when nothing can be told but that its settings have changed.
    pub why: Vec<String>,
    /// The containers that run and are stopped by it.
    pub stops: Vec<String>,
    /// The user said beforehand that it should be.
    pub asked_for: bool,
}

impl Replaced {
    /// Whether it takes a yes: something runs, and nobody has said that it may be stopped.
    #[must_use]
    pub fn needs_consent(&self) -> bool {
        !self.asked_for && !self.stops.is_empty()
    }
}

impl fmt::Display for Replaced {
    /// As in: the pod `p` with `a`, `b`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", self.kind, self.name)?;
        let with: Vec<String> =
            self.stops.iter().filter(|name| **name != self.name).map(|name| format!("`{name}`")).collect();
        if with.is_empty() { Ok(()) } else { write!(f, " with {}", with.join(", ")) }
    }
}

const FORMER: &str = "-former";

/// The name of a container that was set aside.
fn former_name(name: &str) -> String {
    format!("{name}{FORMER}")
}

/// Whether a container was set aside, by its name.
fn is_set_aside(name: &str) -> bool {
    name.ends_with(FORMER)
}

#[cfg(test)]
pub(crate) mod tests;
