//! A simulated podman in memory. Its [`Objects`] enforce the rules that plans rely on: names are
//! unique, a port has one holder, a network in use stays. This module records every call, and makes
//! calls fail where a test says so.

mod objects;
mod spelling;

pub use objects::Objects;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Blobs, Container, ContainerDetail, ContainerSpec, ContainerState, DiskUsage, HostFacts, LogLine, LogOptions,
    LogSource, Network, NetworkSpec, Pod, PodSpec, Podman, PodmanError, PullProgress, Result, Version,
};

/// A simulated podman.
#[derive(Debug)]
pub struct Simulated {
    objects: RefCell<Objects>,
    calls: RefCell<Vec<Call>>,
    read_calls: RefCell<Vec<ReadCall>>,
    failing: RefCell<Vec<Call>>,
    failing_once: RefCell<Vec<Call>>,
    losing: RefCell<Vec<Call>>,
    pulling: Cell<usize>,
    most_pulling: Cell<usize>,
    version: Version,
    sick: RefCell<BTreeSet<String>>,
    short_lived: RefCell<BTreeMap<String, i32>>,
    /// The log lines of every container.
    pub log: Vec<String>,
    /// Changes what an inspection reports, like a podman that ignores a setting.
    pub distort: Option<fn(&mut ContainerDetail)>,
    /// The blobs of images as their registries report them; none if a registry never answers.
    pub manifests: BTreeMap<String, Option<Blobs>>,
    /// Facts about the host.
    pub facts: HostFacts,
}

impl Default for Simulated {
    fn default() -> Self {
        Self::new(Version { major: 5, minor: 4 }, Objects::default())
    }
}

impl Simulated {
    /// A simulated podman of this version, with this content.
    #[must_use]
    pub fn new(version: Version, objects: Objects) -> Self {
        Self {
            objects: RefCell::new(objects),
            calls: RefCell::default(),
            read_calls: RefCell::default(),
            failing: RefCell::default(),
            failing_once: RefCell::default(),
            losing: RefCell::default(),
            pulling: Cell::new(0),
            most_pulling: Cell::new(0),
            version,
            sick: RefCell::default(),
            short_lived: RefCell::default(),
            log: Vec::new(),
            distort: None,
            manifests: BTreeMap::new(),
            facts: HostFacts { cgroups_v2: true, ..HostFacts::default() },
        }
    }

    /// Makes every such call fail.
    pub fn fail_at(&self, call: Call) {
        self.failing.borrow_mut().push(call);
    }

    /// Makes only the first such call fail.
    pub fn fail_once(&self, call: Call) {
        self.failing_once.borrow_mut().push(call);
    }

    /// The calls that changed something or tried to, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// The calls that only read, in order.
    #[must_use]
    pub fn read_calls(&self) -> Vec<ReadCall> {
        self.read_calls.borrow().clone()
    }

    fn record(&self, record: ReadCall) {
        self.read_calls.borrow_mut().push(record);
    }

    /// The current content.
    #[must_use]
    pub fn objects(&self) -> Objects {
        self.objects.borrow().clone()
    }

    /// The largest number of pulls that ran at once.
    #[must_use]
    pub fn most_pulls_at_once(&self) -> usize {
        self.most_pulling.get()
    }

    /// Ends a container with this code, like a program that fails.
    pub fn end(&self, name: &str, code: i32) {
        // A container that does not exist cannot end.
        drop(self.objects.borrow_mut().set_state(name, ContainerState::Exited(code)));
    }

    /// Puts a container into a state in which a killed podman would leave it.
    pub fn leave(&self, name: &str, state: ContainerState) {
        drop(self.objects.borrow_mut().set_state(name, state));
    }

    /// Removes the infra container of a pod, as a hard reset can.
    pub fn break_pod(&self, name: &str) {
        let mut objects = self.objects.borrow_mut();
        objects.pods_up.remove(name);
        objects.pods_broken.insert(name.to_owned());
    }

    /// Loses the answer to a call that is carried out.
    pub fn lose_answer_to(&self, call: Call) {
        self.losing.borrow_mut().push(call);
    }

    /// Sets a secret. Its id stands for its value.
    pub fn keep_secret(&self, name: &str, id: &str) {
        self.objects.borrow_mut().secrets.insert(name.to_owned(), id.to_owned());
    }

    /// Makes the health command of a container fail.
    pub fn fail_health(&self, name: &str) {
        self.sick.borrow_mut().insert(name.to_owned());
    }

    /// Makes a container end with this code as soon as it starts.
    pub fn end_when_started(&self, name: &str, code: i32) {
        self.short_lived.borrow_mut().insert(name.to_owned(), code);
    }

    /// Records a call, lets other tasks run, and fails if the test says so.
    async fn enter(&self, call: Call) -> Result<()> {
        self.calls.borrow_mut().push(call.clone());
        tokio::task::yield_now().await;
        let mut once = self.failing_once.borrow_mut();
        let first = once.iter().position(|failing| *failing == call).map(|at| once.remove(at));
        if first.is_some() || self.failing.borrow().contains(&call) {
            return Err(refused(500, format!("simulated failure of {call:?}")));
        }
        Ok(())
    }

    /// Carries out a call, and loses the answer if the test says so.
    async fn change<T>(&self, call: Call, work: impl FnOnce(&mut Objects) -> Result<T>) -> Result<T> {
        self.enter(call.clone()).await?;
        let done = work(&mut self.objects.borrow_mut())?;
        if self.losing.borrow().contains(&call) {
            return Err(PodmanError::Connection("the answer got lost".into()));
        }
        Ok(done)
    }
}

impl Podman for Simulated {
    fn version(&self) -> Version {
        self.version
    }

    fn is_rootless(&self) -> bool {
        self.facts.rootless
    }

    async fn host_facts(&self) -> Result<HostFacts> {
        self.record(ReadCall::HostFacts);
        Ok(self.facts.clone())
    }

    async fn image_exists(&self, image: &str) -> Result<bool> {
        self.record(ReadCall::Image(image.into()));
        let wanted = spelling::image(image, self.version);
        Ok(self.objects.borrow().images.iter().any(|there| spelling::image(there, self.version) == wanted))
    }

    async fn image_blobs(&self, image: &str) -> Result<Option<Blobs>> {
        self.record(ReadCall::Blobs(image.into()));
        match self.manifests.get(image) {
            Some(Some(blobs)) => Ok(Some(blobs.clone())),
            Some(None) => std::future::pending().await,
            None => Err(missing("manifest", image)),
        }
    }

    async fn pull(&self, image: &str, progress: &mut dyn FnMut(PullProgress)) -> Result<()> {
        self.pulling.set(self.pulling.get() + 1);
        self.most_pulling.set(self.most_pulling.get().max(self.pulling.get()));
        let entered = self.enter(Call::Pull(image.into())).await;
        for current in [1, 2, 3] {
            tokio::task::yield_now().await;
            progress(PullProgress {
                layer: "0123456789ab".into(),
                status: "Downloading".into(),
                bytes: Some((current, 3)),
            });
        }
        self.pulling.set(self.pulling.get() - 1);
        entered?;
        self.objects.borrow_mut().deliver(image)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.change(Call::RemoveImage(image.into()), |objects| objects.remove_image(image)).await
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        self.record(ReadCall::Networks);
        Ok(self.objects.borrow().networks.values().cloned().collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        self.change(Call::CreateNetwork(spec.name.clone()), |objects| objects.create_network(spec)).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.change(Call::RemoveNetwork(name.into()), |objects| objects.remove_network(name)).await
    }

    async fn volumes(&self) -> Result<Vec<String>> {
        self.record(ReadCall::Volumes);
        Ok(self.objects.borrow().volumes.iter().cloned().collect())
    }

    async fn create_volume(&self, name: &str) -> Result<()> {
        self.change(Call::CreateVolume(name.into()), |objects| objects.create_volume(name)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.change(Call::RemoveVolume(name.into()), |objects| objects.remove_volume(name)).await
    }

    async fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        Ok(self.objects.borrow().volume_users(name))
    }

    async fn secrets(&self) -> Result<BTreeMap<String, String>> {
        self.record(ReadCall::Secrets);
        Ok(self.objects.borrow().secrets.clone())
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        Ok(self.objects.borrow().disk_usage())
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        self.record(ReadCall::Pods);
        Ok(self.objects.borrow().list_pods())
    }

    async fn create_pod(&self, spec: &PodSpec) -> Result<()> {
        self.change(Call::CreatePod(spec.name.clone()), |objects| objects.create_pod(spec)).await
    }

    async fn stop_pod(&self, name: &str, _timeout_seconds: u32) -> Result<()> {
        self.change(Call::StopPod(name.into()), |objects| objects.stop_pod(name)).await
    }

    async fn remove_pod(&self, name: &str) -> Result<()> {
        self.change(Call::RemovePod(name.into()), |objects| objects.remove_pod(name)).await
    }

    async fn containers(&self) -> Result<Vec<Container>> {
        self.record(ReadCall::Containers);
        Ok(self.objects.borrow().list_containers())
    }

    async fn inspect_container(&self, name: &str) -> Result<ContainerDetail> {
        self.record(ReadCall::Inspect(name.into()));
        let mut detail = self.objects.borrow().inspect_container(name)?;
        let cpus = self.objects.borrow().containers.get(name).and_then(|(spec, _)| spec.limits.cpus);
        spelling::respell(&mut detail, cpus, self.version);
        if let Some(distort) = self.distort {
            distort(&mut detail);
        }
        Ok(detail)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        self.change(Call::CreateContainer(spec.name.clone()), |objects| objects.create_container(spec)).await
    }

    async fn start_container(&self, name: &str) -> Result<()> {
        let started = self.change(Call::StartContainer(name.into()), |objects| objects.start_container(name)).await;
        if let Some(code) = self.short_lived.borrow().get(name) {
            self.end(name, *code);
        }
        started
    }

    async fn stop_container(&self, name: &str, _timeout_seconds: u32) -> Result<()> {
        self.change(Call::StopContainer(name.into()), |objects| objects.stop_container(name)).await
    }

    async fn rename_container(&self, name: &str, new_name: &str) -> Result<()> {
        self.change(Call::RenameContainer(name.into(), new_name.into()), |objects| {
            objects.rename_container(name, new_name)
        })
        .await
    }

    async fn remove_container(&self, name: &str) -> Result<()> {
        self.change(Call::RemoveContainer(name.into()), |objects| objects.remove_container(name)).await
    }

    async fn check_health(&self, name: &str) -> Result<bool> {
        self.record(ReadCall::Health(name.into()));
        let (spec, state) =
            self.objects.borrow().containers.get(name).cloned().ok_or_else(|| missing("container", name))?;
        Ok(spec.health.is_some() && state == ContainerState::Running && !self.sick.borrow().contains(name))
    }

    async fn logs(&self, name: &str, options: &LogOptions, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<()> {
        if !self.objects.borrow().containers.contains_key(name) {
            return Err(missing("container", name));
        }
        let skip = options.tail.map_or(0, |tail| self.log.len().saturating_sub(usize::try_from(tail).unwrap_or(0)));
        for text in self.log.iter().skip(skip) {
            let line = LogLine {
                source: LogSource::Stdout,
                time: "2026-11-25T22:00:00Z".into(),
                text: text.clone().into_bytes(),
                open: false,
            };
            if !sink(line) {
                break;
            }
        }
        Ok(())
    }
}

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
pub enum ReadCall {
    Networks,
    Volumes,
    Secrets,
    Pods,
    Containers,
    Image(String),
    Blobs(String),
    Inspect(String),
    Health(String),
    HostFacts,
}

fn refused(status: u16, message: impl Into<String>) -> PodmanError {
    PodmanError::Refused { status, message: message.into() }
}

fn missing(kind: &str, name: &str) -> PodmanError {
    refused(404, format!("no such {kind}: {name}"))
}

fn taken(kind: &str, name: &str) -> PodmanError {
    refused(409, format!("{kind} name {name} is already in use"))
}
