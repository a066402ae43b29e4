//! What a plan takes down to make it anew: what a person is asked about.

use std::fmt;

use super::Kind;

/// Something of ours that goes and is made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// What it is.
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
pub(super) fn former_name(name: &str) -> String {
    format!("{name}{FORMER}")
}

/// Whether a container was set aside, by its name.
pub(super) fn is_set_aside(name: &str) -> bool {
    name.ends_with(FORMER)
}
