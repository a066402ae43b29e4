//! `services.NAME.health`: the health check of a service, and reading it.

use std::time::Duration;

use serde::Serialize;

use super::port::PortMapping;
use super::problem::Problem;
use super::process::words;
use super::quantity::{Period, StatusCode, StatusRange};
use super::section::{Mismatch, Read, Section, list, number, parsed, text, whole};
use super::tree::{Node, Value};
use crate::podman::HealthTiming;

/// The health check of a service, and its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The check.
    #[serde(flatten)]
    pub test: HealthTest,
    /// Its times and retries.
    #[serde(flatten)]
    pub times: HealthTiming,
}

/// The request of the health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HealthTest {
    /// `GET http://127.0.0.1:PORT` + `path`, on its first TCP port.
    Http {
        /// Begins with `/`.
        path: String,
        /// The codes that mean healthy.
        expected_status: StatusRange,
    },
    /// A command in the container that must succeed.
    Command {
        /// podman's form: after `CMD-SHELL` a line for a shell, after `CMD` a program with its
        /// arguments.
        command: Vec<String>,
    },
}

/// Reads `health` of a service with these ports.
pub(super) fn health(service: &Section<'_>, ports: &[PortMapping]) -> Option<Health> {
    let section = service.section("health")?;
    section.may_be_list_or_one("command");
    let command = section.optional("command", health_command);
    let is_ours = |key: &str| section.at(key).is_some_and(|at| !at.is_users());
    let has_port = ports.iter().any(|port| port.protocol.is_tcp());
    let built_in_path = is_ours("path");
    let path = section.optional("path", |node| match text(node)? {
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(path.to_owned()),
        path => Err(Mismatch::new(format_args!("`{path}` is not the path of a URL, such as `/health`"))),
    });
    let expected_status = section.list_or("expected_status", StatusRange::SUCCESS, status_range);
    if let (Some(at), None, None) = (section.at("expected_status"), section.at("path"), section.at("command")) {
        let (place, path) = (section.place("expected_status"), section.place("path"));
        let warning = Problem::warning(format!("`{place}` has no effect without `{path}`"));
        section.push(warning.at(at.clone()).hint("where no path is set, nothing is asked for"));
    }
    let times = HealthTiming {
        interval: section.optional("interval", period),
        timeout: section.optional("timeout", period),
        retries: section.optional("retries", whole),
        start_period: section.optional("start_period", period),
    };
    // A user's command replaces a built-in path, and a service without TCP ports is not asked over
    // HTTP.
    if built_in_path && (command.is_some() || !has_port) {
        section.finish();
        return command.map(|command| Health { test: HealthTest::Command { command }, times });
    }
    if path.is_some() && command.is_some() {
        section.refuse("a service is asked by `path` or by `command`, not both");
    }
    section.finish();
    let test = match command {
        Some(command) => HealthTest::Command { command },
        None => HealthTest::Http { path: path?, expected_status },
    };
    Some(Health { test, times })
}

/// A text such as `30s`, or a number of seconds.
fn period(node: &Node) -> Read<Period> {
    if matches!(node.value, Value::String(_)) {
        return parsed(node);
    }
    let seconds = number(0.001, 86_400.0)(node)?;
    Period::new(Duration::from_secs_f64(seconds)).ok_or_else(|| Mismatch::new("this is no length of time"))
}

fn status_range(node: &Node) -> Read<StatusRange> {
    let codes: Vec<StatusCode> = list(whole)(node)?;
    match codes[..] {
        [first, last] => StatusRange::new(first, last),
        _ => None,
    }
    .ok_or_else(|| Mismatch::new("two status codes are needed, the smaller one first"))
}

/// A line for a shell, or a program with its arguments; podman's form with `CMD-SHELL` or `CMD` is
/// accepted, too.
fn health_command(node: &Node) -> Read<Vec<String>> {
    let words = words(node)?;
    let is_podmans = |words: &[String]| matches!(words.first().map(String::as_str), Some("CMD" | "CMD-SHELL"));
    match (&node.value, words.len()) {
        (_, 0) => Err(Mismatch::new("a command is needed here")),
        (Value::String(_), _) => Ok([&["CMD-SHELL".to_owned()], &words[..]].concat()),
        (_, 2..) if is_podmans(&words) => Ok(words),
        _ => Ok([&["CMD".to_owned()], &words[..]].concat()),
    }
}
