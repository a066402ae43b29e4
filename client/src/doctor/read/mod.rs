//! Reading what is judged: each part thinly, all side by side, and none for longer than its limit.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod host;
mod loopback;
mod measured;
mod podman;
mod ports;
pub(super) mod program;
mod trial;

use std::collections::BTreeSet;
use std::path::PathBuf;

use nix::unistd::Uid;

use super::{Engine, Facts, Finding, Needs, Settings, Use, boot, gpu, helper};
use crate::config::{Config, MssClamp, RestartPolicy};
use crate::egress::RootlessBackend;

/// The objects to look at.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The configuration, or the defaults where that is wrong.
    pub config: &'a Config,
    /// The file that it comes from.
    pub file: Option<PathBuf>,
    /// Why the configuration is not used.
    pub wrong: Option<String>,
    /// Its keys without effect.
    pub warnings: Vec<String>,
    /// Whether the user came over the network.
    pub remote: bool,
    /// Where measurements are remembered.
    pub state_folder: Option<PathBuf>,
}

/// Gathers everything. It takes as long as the slowest part, and no part takes more than some seconds.
pub async fn read(subject: &Subject<'_>) -> Facts {
    let config = subject.config;
    let (podman, helper) = tokio::join!(podman::read(config), helper::read(subject.remote));
    let podman::Podman { engine, network, services, paths, names } = podman;
    // As long as it does not say, podman is taken for what an ordinary user's is.
    let own = config.runtime.podman_url.is_none() && !Uid::effective().is_root();
    let rootless = engine.host().map_or(own, |host| host.rootless);
    // Root's would be another trial than what podman does as a user.
    let trial = rootless && !Uid::effective().is_root() && engine.rootless_backend() == Some(RootlessBackend::Pasta);
    let parts = match engine {
        Engine::Missing => None,
        _ => Some(program::parts(trial).await),
    };
    Facts {
        settings: settings(subject),
        rootless: rootless.then(host::rootless),
        boot: boot::read(rootless),
        needs: needs(config),
        parts,
        measured: measured::read(config, subject.state_folder.as_deref(), &paths, helper.status()),
        paths,
        names,
        helper,
        usage: match config.runtime.network.mss_clamp {
            MssClamp::Require => Use::Required,
            MssClamp::Auto => Use::Helpful,
            MssClamp::Off => Use::None,
        },
        network,
        gpu: gpu::read(config),
        storage: engine.host().map(|host| host::storage(&host.storage)),
        engine,
        services,
    }
}

/// What of `restart_policy` does not hold after a reboot.
#[must_use]
pub fn after_reboot(config: &Config, rootless: bool) -> Vec<Finding> {
    let needs = needs(config);
    let boot = boot::read(rootless).and_then(|boot| boot::judge(&boot, needs));
    let linger = rootless.then(host::rootless).and_then(|user| super::rootless::linger(&user, needs));
    linger.into_iter().chain(boot).collect()
}

fn settings(subject: &Subject<'_>) -> Settings {
    let dependencies = &subject.config.dependencies;
    let missing = |programs: &[String]| {
        // Each is told once, however often it is asked for.
        let asked: BTreeSet<&String> = programs.iter().filter(|_| !dependencies.skip_checks).collect();
        let missing = asked.into_iter().filter(|name| program::find(name).is_none());
        missing.cloned().collect()
    };
    Settings {
        source: subject
            .file
            .as_ref()
            .map_or_else(|| "the built-in defaults".to_owned(), |file| file.display().to_string()),
        wrong: subject.wrong.clone(),
        warnings: subject.warnings.clone(),
        missing: missing(&dependencies.required),
        wanted: missing(&dependencies.optional),
    }
}

/// The policies of the enabled services; with `own` those that a service has for itself alone.
fn policies(config: &Config, own: bool) -> impl Iterator<Item = RestartPolicy> + '_ {
    config.enabled().filter_map(move |(_, service)| match service.restart_policy {
        None if own || service.oneshot => None,
        None => Some(config.runtime.restart_policy),
        given => given,
    })
}

fn needs(config: &Config) -> Needs {
    Needs {
        memory: config.enabled().any(|(_, service)| service.resources.memory.is_some()),
        cpus: config.enabled().any(|(_, service)| service.resources.cpus.is_some()),
        unless_stopped: policies(config, false).any(|policy| policy == RestartPolicy::UnlessStopped),
        own_unless_stopped: policies(config, true).any(|policy| policy == RestartPolicy::UnlessStopped),
        restart: policies(config, false)
            .any(|policy| matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped)),
    }
}
