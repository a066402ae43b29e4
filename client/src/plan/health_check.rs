//! How a service is asked for its health.

use std::net::SocketAddr;

use crate::config::{Config, Health, Service, StatusRange};

/// How a service is asked for its health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthCheck {
    /// Over HTTP.
    Http(HttpCheck),
    /// By a command within its container, as podman has it: after `CMD-SHELL` or `CMD`.
    Command(Vec<String>),
}

impl HealthCheck {
    /// The check of a service that has one and, where it takes one, a port to ask on.
    #[must_use]
    pub fn of(config: &Config, service: &Service) -> Option<Self> {
        match service.health.as_ref()? {
            Health::Command { command } => Some(Self::Command(command.clone())),
            Health::Http { path, expected_status } => {
                let at = config.reached_at(service)?;
                Some(Self::Http(HttpCheck { at, path: path.clone(), expected: *expected_status }))
            }
        }
    }

    /// What is asked: a URL, or the words of the command.
    #[must_use]
    pub fn question(&self) -> String {
        match self {
            Self::Http(check) => check.url(),
            Self::Command(words) => words.get(1..).unwrap_or_default().join(" "),
        }
    }

    /// The same for a sentence about an answer.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Http(check) => format!("at {}", check.url()),
            Self::Command(_) => format!("to `{}`", self.question()),
        }
    }
}

/// A question over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Where the host reaches it.
    pub at: SocketAddr,
    /// Path, beginning with `/`.
    pub path: String,
    /// The codes that mean healthy.
    pub expected: StatusRange,
}

impl HttpCheck {
    /// Where it asks.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.at, self.path)
    }
}
