//! A setting that is not what was asked for, and how people are told.

use std::fmt;

use super::setting::Setting;
use crate::podman::HostFacts;

/// The source of the observed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// podman's books.
    Podman,
    /// The kernel, which enforces it.
    Kernel,
    /// systemd, which limits the unit around the container.
    Systemd,
}

/// A setting that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: Setting,
    /// The source.
    pub source: Source,
    /// The request.
    pub wanted: String,
    /// The present state.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, found, .. } = self;
        let who = match self.source {
            Source::Podman => "podman",
            Source::Kernel => "the kernel",
            Source::Systemd => "systemd's unit",
        };
        match self.setting {
            // A variable may hold a password: its value is compared and never shown.
            Setting::Env | Setting::SecretEnv => write!(f, "`{wanted}` was given a value and {who} has {found}"),
            Setting::Listening => write!(f, "port `{wanted}` was asked for and nothing listens on it"),
            _ => write!(f, "`{wanted}` was asked for and {who} has `{found}`"),
        }
    }
}

impl Difference {
    /// Why podman cannot have done better on this host; none when it should have.
    #[must_use]
    pub fn excuse(&self, facts: &HostFacts) -> Option<String> {
        if self.source == Source::Systemd {
            return Some("raise `DefaultTasksMax=` of systemd".to_owned());
        }
        let controller = self.setting.controller().filter(|_| facts.rootless)?;
        if !facts.cgroups_v2 {
            return Some("cgroups v1".to_owned());
        }
        let delegated = facts.cgroup_controllers.iter().any(|name| name == controller);
        (!delegated).then(|| format!("the {controller} controller is not delegated to this user"))
    }

    /// The warning about a limit that this host's rootless podman cannot keep.
    #[must_use]
    pub fn warning(&self, service: &str, why: &str) -> String {
        let place = self.setting.place(service);
        if self.source == Source::Systemd {
            return format!("`{place}` is not reached: {self}; {why}");
        }
        format!("`{place}` is not enforced: {self}; rootless podman cannot limit it here ({why})")
    }
}
