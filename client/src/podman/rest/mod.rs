//! The real podman, through its REST API (libpod, the same in 4.x and 5.x).

mod http;
pub(super) mod manifest;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::container::{ContainerAnswer, ContainerBody, DetailAnswer, HealthAnswer, Names};
use super::host::InfoAnswer;
use super::log::{Frames, Lines};
use super::network::{NetworkAnswer, NetworkBody};
use super::pod::{PodAnswer, PodBody, PodDetailAnswer};
use super::storage::{PullAnswer, SecretAnswer, UsageAnswer, VolumeAnswer, VolumeBody};
use super::{
    Blobs, Container, ContainerDetail, ContainerSpec, ContainerState, DiskUsage, HostFacts, LogLine, LogOptions,
    Network, NetworkSpec, Pod, PodSpec, Podman, PodmanError, PullProgress, Result, Version,
};
use crate::kernel::lives;
use crate::terminal::EscapedLine;
use http::{Http, escape};

/// The size limit of a pull's report in bytes; the largest image reports some megabytes.
const LONGEST_REPORT: usize = 1 << 30;

/// A podman behind a socket.
#[derive(Debug)]
pub struct Rest {
    http: Http,
    version: Version,
    version_text: String,
    rootless: bool,
    /// Whether podman's process ids are valid in this pid namespace.
    shares_pids: bool,
    /// Warnings about entries left out of listings.
    left_out: Mutex<BTreeSet<String>>,
}

impl Rest {
    /// Pings podman on `socket`, which takes 1 ms.
    pub async fn open(socket: &Path) -> Result<Self> {
        let http = Http { socket: PathBuf::from(socket) };
        let response = http.send::<()>(Method::GET, "/_ping", None).await?;
        let header = response.headers().get("Libpod-Api-Version").and_then(|value| value.to_str().ok());
        let (version_text, version) = header
            .and_then(|text| Some((text.to_owned(), Version::parse(text)?)))
            .ok_or_else(|| PodmanError::Refused {
                status: response.status().as_u16(),
                message: format!("{} is not the socket of a podman", socket.display()),
            })?;
        let listener = http::listener(socket).await?;
        let (rootless, shares_pids) = (listener.uid != 0, listener.shares_pids);
        Ok(Self { http, version, version_text, rootless, shares_pids, left_out: Mutex::default() })
    }
}

impl Drop for Rest {
    /// Prints the warnings about left-out entries, after the command's own output.
    fn drop(&mut self) {
        let left_out = self.left_out.get_mut().map(std::mem::take).unwrap_or_default();
        for sentence in left_out {
            // A closed stderr is no failure.
            let _ = writeln!(anstream::stderr(), "warning: {}", EscapedLine(&sentence));
        }
    }
}

impl Podman for Rest {
    fn version(&self) -> Version {
        self.version
    }

    fn is_rootless(&self) -> bool {
        self.rootless
    }

    async fn host_facts(&self) -> Result<HostFacts> {
        Ok(self.http.get::<InfoAnswer>("/info").await?.into())
    }

    async fn image_exists(&self, image: &str) -> Result<bool> {
        let path = format!("/images/{}/exists", escape(image));
        match self.http.send::<()>(Method::GET, &path, None).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn image_blobs(&self, image: &str) -> Result<Option<Blobs>> {
        self.blobs_of(image).await
    }

    async fn pull(&self, image: &str, progress: &mut dyn FnMut(PullProgress)) -> Result<()> {
        // libpod's own call reports bytes only since 4.4; Docker's reports them in all versions.
        let path = format!("/v1.40/images/create?fromImage={}", escape(image));
        let mut response = self.http.send_raw::<()>(Method::POST, &path, None).await?;
        let mut lines = Lines::default();
        let mut read = 0;
        while let Some(piece) = http::next("/images/create", &mut response, http::IDLE_TIMEOUT).await? {
            read += piece.len();
            if read > LONGEST_REPORT {
                return Err(PodmanError::AnswerTooLong { what: "/images/create".into() });
            }
            for line in lines.push(&piece) {
                report(&line, progress)?;
            }
        }
        lines.rest().map_or(Ok(()), |line| report(&line, progress))
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        self.http.delete(&format!("/images/{}", escape(image))).await.map(drop)
    }

    async fn networks(&self) -> Result<Vec<Network>> {
        let answer: Vec<NetworkAnswer> = self.list("network", "/networks/json").await?;
        Ok(answer.into_iter().map(Into::into).collect())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Network> {
        let body = self.http.post("/networks/create", Some(&NetworkBody::from(spec))).await?;
        serde_json::from_slice::<NetworkAnswer>(&body)
            .map(Into::into)
            .map_err(|source| PodmanError::Answer { what: "/networks/create".into(), source })
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.http.delete(&format!("/networks/{}", escape(name))).await.map(drop)
    }

    async fn volumes(&self) -> Result<Vec<String>> {
        let answer: Vec<VolumeAnswer> = self.list("volume", "/volumes/json").await?;
        Ok(answer.into_iter().map(|volume| volume.name).collect())
    }

    async fn create_volume(&self, name: &str) -> Result<()> {
        let body = VolumeBody { name, labels: BTreeMap::new() };
        self.http.post("/volumes/create", Some(&body)).await.map(drop)
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.http.delete(&format!("/volumes/{}", escape(name))).await.map(drop)
    }

    async fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        let filter = serde_json::json!({ "volume": [name] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", escape(&filter));
        let answer: Vec<ContainerAnswer> = self.list("container", &path).await?;
        Ok(answer.into_iter().map(|container| Container::from(container).name).collect())
    }

    async fn secrets(&self) -> Result<BTreeMap<String, String>> {
        let answer: Vec<SecretAnswer> = self.list("secret", "/secrets/json").await?;
        Ok(answer.into_iter().map(Into::into).collect())
    }

    async fn disk_usage(&self) -> Result<DiskUsage> {
        Ok(self.http.get::<UsageAnswer>("/system/df").await?.into())
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        let answer: Vec<PodAnswer> = self.list("pod", "/pods/json").await?;
        let mut pods: Vec<Pod> = answer.into_iter().map(Into::into).collect();
        // podman reports a pod as running although its infra process is gone.
        if pods.iter().any(|pod| pod.up) {
            for infra in Box::pin(self.list_containers()).await?.iter().filter(|container| container.is_infra) {
                if let Some(pod) = pods.iter_mut().find(|pod| pod.up && pod.name == infra.pod_name)
                    && Box::pin(self.is_lost(infra)).await?
                {
                    pod.up = false;
                    pod.broken = Some("the process of its infra container is gone".to_owned());
                }
            }
        }
        Ok(pods)
    }

    async fn create_pod(&self, spec: &PodSpec) -> Result<()> {
        self.http.post("/pods/create", Some(&PodBody::from(spec))).await.map(drop)
    }

    async fn stop_pod(&self, name: &str, timeout_seconds: u32) -> Result<()> {
        // libpod calls this `t` for a pod and `timeout` for a container.
        let path = format!("/pods/{}/stop?t={timeout_seconds}", escape(name));
        self.http.post::<()>(&path, None).await?;
        // podman 4.3 does nothing if one of the pod's containers has ended by itself. The infra
        // container, which holds the host ports, then runs on, so stop it as well.
        let pod: Result<PodDetailAnswer> = self.http.get(&format!("/pods/{}/json", escape(name))).await;
        let pod = match pod {
            // podman removed the pod with its last container.
            Err(error) if error.is_not_found() => return Ok(()),
            pod => pod?,
        };
        self.stop_container(&pod.infra_container_id, timeout_seconds).await
    }

    async fn remove_pod(&self, name: &str) -> Result<()> {
        self.remove(&format!("/pods/{}?force=true", escape(name))).await
    }

    async fn containers(&self) -> Result<Vec<Container>> {
        let mut containers = Vec::new();
        for answer in self.list_containers().await?.into_iter().filter(|container| !container.is_infra) {
            // Boxed: the call is rare, and its future would enlarge that of every listing.
            let lost = Box::pin(self.is_lost(&answer)).await?;
            let container = Container::from(answer);
            containers.push(if lost { Container { state: ContainerState::Lost, ..container } } else { container });
        }
        Ok(containers)
    }

    async fn inspect_container(&self, name: &str) -> Result<ContainerDetail> {
        let detail = self.inspect(name).await?;
        let names = match detail.network_owner() {
            Some(owner) => match self.inspect(owner).await {
                // The pod was removed meanwhile, and its containers with it.
                Err(error) if error.is_not_found() => Names::default(),
                owner => owner?.names(),
            },
            None => detail.names(),
        };
        let lost = self.shares_pids && detail.is_lost();
        let detail = detail.into_detail(names);
        Ok(if lost { ContainerDetail { state: ContainerState::Lost, pid: None, ..detail } } else { detail })
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<()> {
        self.http.post("/containers/create", Some(&ContainerBody::from(spec))).await.map(drop)
    }

    async fn start_container(&self, name: &str) -> Result<()> {
        self.http.post::<()>(&format!("/containers/{}/start", escape(name)), None).await.map(drop)
    }

    async fn stop_container(&self, name: &str, timeout_seconds: u32) -> Result<()> {
        let path = format!("/containers/{}/stop?timeout={timeout_seconds}", escape(name));
        match self.http.post::<()>(&path, None).await {
            // podman has noticed the end only now. It records it when the container is inspected.
            Err(error) if error.missed_exit() => self.inspect(name).await.map(drop),
            stopped => stopped.map(drop),
        }
    }

    async fn rename_container(&self, name: &str, new_name: &str) -> Result<()> {
        let path = format!("/containers/{}/rename?name={}", escape(name), escape(new_name));
        self.http.post::<()>(&path, None).await.map(drop)
    }

    async fn remove_container(&self, name: &str) -> Result<()> {
        let path = format!("/containers/{}?force=true&v=true&timeout=0", escape(name));
        self.remove(&path).await
    }

    async fn check_health(&self, name: &str) -> Result<bool> {
        let answer: HealthAnswer = self.http.get(&format!("/containers/{}/healthcheck", escape(name))).await?;
        Ok(answer.is_healthy())
    }

    async fn logs(&self, name: &str, options: &LogOptions, sink: &mut dyn FnMut(LogLine) -> bool) -> Result<()> {
        let path = log_path(name, options);
        let mut response = self.http.send::<()>(Method::GET, &path, None).await?;
        let mut frames = Frames::default();
        let silence = if options.follow { Duration::MAX } else { http::READ };
        while let Some(piece) = http::next(&path, &mut response, silence).await? {
            for line in frames.push(&piece) {
                if !sink(line) {
                    return Ok(());
                }
            }
            if frames.is_endless() {
                return Err(PodmanError::AnswerTooLong { what: path });
            }
        }
        for line in frames.rest() {
            if !sink(line) {
                break;
            }
        }
        Ok(())
    }
}

impl Rest {
    /// The version as podman writes it, such as `4.3.1`.
    #[must_use]
    pub fn version_text(&self) -> &str {
        &self.version_text
    }

    async fn list_containers(&self) -> Result<Vec<ContainerAnswer>> {
        self.list("container", "/containers/json?all=true&pod=true").await
    }

    /// Whether a container that podman reports as running is gone. It inspects the container only
    /// if its process is.
    async fn is_lost(&self, container: &ContainerAnswer) -> Result<bool> {
        let gone = u32::try_from(container.pid).is_ok_and(|pid| pid > 0 && !lives(pid));
        let Some(name) = container.name().filter(|_| self.shares_pids && gone) else { return Ok(false) };
        match self.inspect(name).await {
            Err(error) if error.is_not_found() => Ok(false),
            detail => Ok(detail?.is_lost()),
        }
    }

    /// Removes an object. podman fails once for each container whose end it has missed, and notices
    /// that end, so several tries succeed.
    async fn remove(&self, path: &str) -> Result<()> {
        const TRIES: u32 = 16;
        for _ in 1..TRIES {
            match self.http.delete(path).await {
                Err(error) if error.missed_exit() => {}
                removed => return removed.map(drop),
            }
        }
        self.http.delete(path).await.map(drop)
    }

    /// Reads a listing. An entry that cannot be parsed belongs to another program's object of an
    /// unknown kind; it is left out, with one warning.
    async fn list<T: DeserializeOwned>(&self, kind: &str, path: &str) -> Result<Vec<T>> {
        let entries: Option<Vec<serde_json::Value>> = self.http.get(path).await?;
        let mut understood = Vec::new();
        for entry in entries.into_iter().flatten() {
            match T::deserialize(&entry) {
                Ok(one) => understood.push(one),
                Err(why) => self.leave_out(left_out(kind, &entry, &why)),
            }
        }
        Ok(understood)
    }

    /// Keeps a warning about a left-out entry.
    fn leave_out(&self, sentence: String) {
        if let Ok(mut left_out) = self.left_out.lock() {
            left_out.insert(sentence);
        }
    }

    /// Inspects a container. podman fails if a process ends while it reads its /proc; the next try
    /// reports the state after that.
    async fn inspect(&self, name: &str) -> Result<DetailAnswer> {
        const ATTEMPTS: u32 = 3;
        let path = format!("/containers/{}/json", escape(name));
        for _ in 1..ATTEMPTS {
            match self.http.get(&path).await {
                Err(error) if error.process_vanished() => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => return answer,
            }
        }
        self.http.get(&path).await
    }
}

/// Handles one line of a pull's report. An error in the line is the error of the pull.
pub(super) fn report(line: &[u8], progress: &mut dyn FnMut(PullProgress)) -> Result<()> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let answer: PullAnswer =
        serde_json::from_slice(line).map_err(|source| PodmanError::Answer { what: "/images/create".into(), source })?;
    if !answer.error.is_empty() {
        return Err(PodmanError::Refused { status: 200, message: answer.error });
    }
    let bytes = answer.progress_detail;
    progress(PullProgress {
        layer: answer.id,
        status: answer.status,
        bytes: (bytes.total > 0).then_some((bytes.current, bytes.total)),
    });
    Ok(())
}

fn log_path(name: &str, options: &LogOptions) -> String {
    let follow = options.follow.then(|| "&follow=true".to_owned());
    let tail = options.tail.map(|tail| format!("&tail={tail}"));
    let since = options.since.as_deref().map(|since| format!("&since={}", escape(since)));
    let chosen: String = [follow, tail, since].into_iter().flatten().collect();
    format!("/containers/{}/logs?stdout=true&stderr=true&timestamps=true{chosen}", escape(name))
}

/// The warning about an entry that cannot be parsed. The name's key depends on the kind of object.
fn left_out(kind: &str, entry: &serde_json::Value, why: &serde_json::Error) -> String {
    let names = [entry.get("Name"), entry.get("name"), entry.pointer("/Names/0"), entry.get("Id"), entry.get("id")];
    let name = names.into_iter().flatten().find_map(serde_json::Value::as_str).unwrap_or("without a name");
    format!("the {kind} `{name}` was left out: podman describes it in an unknown form ({why})")
}

/// `null` and absence both mean the default: podman writes empty lists as `null`.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
