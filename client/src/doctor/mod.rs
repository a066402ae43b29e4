//! `airpods doctor`: names the causes of what does not work, and a command that cures each.
//!
//! [`read()`] gathers [`Facts`]: a thin layer, whose parts run side by side, each with a short time
//! limit. [`judge`] turns them into findings: a function from values to values, with one file for
//! each area, which is the place to add a cause. Each kind of finding has a [`Code`] and a section
//! in `docs/troubleshooting.md`.

mod engine;
mod finding;
mod gpu;
mod helper;
mod names;
mod network;
mod path;
mod programs;
pub(crate) mod read;
mod rootless;
mod services;
mod settings;
#[cfg(test)]
mod tests;

pub use engine::{Engine, Storage};
pub use finding::{Code, Finding, Level};
pub use gpu::{Description, Gpu};
pub use helper::{Helper, HelperNeed, Permission};
pub use names::{Names, Origin};
pub use network::{HostOnly, Network, PortOwner, TakenPort, UnusableSecret};
pub use path::{Measured, Path};
pub use programs::{Program, Programs};
pub use read::{Subject, after_reboot, read};
pub use rootless::{Cgroups, Mapper, Needs, Rootless, Tun, UserNamespaces};
pub use services::{Boot, Mask, Pids, Service};
pub use settings::Settings;

/// Everything that the findings are derived from.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The user is root, whose cures need no `sudo`.
    pub root: bool,
    /// The configuration.
    pub settings: Settings,
    /// podman.
    pub engine: Engine,
    /// The needs of a rootless podman; `None` if podman is rootful.
    pub rootless: Option<Rootless>,
    /// The services' demands on a rootless podman.
    pub needs: Needs,
    /// The unit that starts containers at boot; `None` without systemd.
    pub boot: Option<Boot>,
    /// The programs beside podman; `None` without podman, which would bring them.
    pub programs: Option<Programs>,
    /// The paths of the services' packets.
    pub paths: Vec<Path>,
    /// The measurements of the VPNs that they leave by.
    pub measured: Measured,
    /// The name servers; `None` if they could not be asked, or no service needs them.
    pub names: Option<Names>,
    /// The helper.
    pub helper: Helper,
    /// Whether the helper is needed here.
    pub helper_need: HelperNeed,
    /// The network, names and ports; the error if they could not be read.
    pub network: Result<Network, String>,
    /// The GPU.
    pub gpu: Gpu,
    /// Where images lie, if podman reports it.
    pub storage: Option<Storage>,
    /// The services that have a container.
    pub services: Vec<Service>,
}

/// The findings, area by area, in the order in which to read them.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = settings::judge(&facts.settings);
    let needed = facts.rootless.as_ref().map(|rootless| rootless::judge(rootless, &facts.needs)).unwrap_or_default();
    let explained = needed.iter().any(|finding| finding.level == Level::Broken);
    findings.extend(engine::judge(&facts.engine, explained));
    findings.extend(needed);
    findings.extend(facts.programs.iter().flat_map(|programs| {
        let rootless = facts.engine.rootless_backend().filter(|_| facts.rootless.is_some());
        programs::judge(programs, facts.engine.host().map(|host| &host.network), rootless, explained)
    }));
    let boot = facts.boot.as_ref().and_then(|boot| services::judge_boot(boot, &facts.needs, facts.engine.version()));
    findings.extend(boot);
    findings.extend(facts.storage.iter().flat_map(engine::judge_storage));
    match &facts.network {
        Ok(network) => findings.extend(network::judge(network)),
        Err(why) => findings.push(Finding::not_known("the network and the ports can be had", why)),
    }
    findings.extend(helper::judge(&facts.helper, facts.helper_need));
    findings.extend(path::judge(&facts.paths, facts.helper.status(), facts.helper_need, &facts.measured));
    findings.extend(path::judge_branches(&facts.paths, facts.helper.status(), &facts.measured));
    findings.extend(facts.names.iter().flat_map(names::judge));
    findings.extend(gpu::judge(&facts.gpu));
    findings.extend(facts.services.iter().flat_map(services::judge));
    findings.into_iter().map(|finding| finding.for_user(facts.root)).collect()
}

/// Properties of the readers for any text: no more sockets than lines, only paths that are in the
/// text, and no numbers that overflow.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]
pub fn host_files(bytes: &[u8]) {
    use network::listeners;
    use rootless::{FIRST_ID, free_id, ids};
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count();
    assert!([0, 22, 8080, u16::MAX].iter().all(|port| listeners(text, *port).len() <= lines));
    for path in crate::gpu::needs(text) {
        assert!(path.is_absolute() && text.contains(path.to_str().unwrap()), "{}", path.display());
    }
    let once = ids(text, "alice", 1000);
    assert!(ids(&format!("{text}\nalice:100000:65536\n"), "alice", 1000) >= once.max(65536));
    assert!(free_id(&[text]) >= FIRST_ID && free_id(&[text, "bob:100000:65536"]) >= FIRST_ID.max(165_536));
}
