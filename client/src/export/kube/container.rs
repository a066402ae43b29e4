//! A container of a pod: its settings, its limits and how its health is asked.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::name::label;
use super::value::{env, has_reference, memory, mounted, port, whole, words};
use super::{Writer, option};
use crate::config::Pull;
use crate::export::{is_success, ports};
use crate::plan::{HealthCheck, Launch};
use crate::podman::{ContainerOption, Endpoint, Mount, Relabel};

/// How long a health command may take where nothing is said: podman's own default.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

impl Writer<'_> {
    pub(super) fn container(&mut self, launch: &Launch, endpoint: Option<&Endpoint>) -> Value {
        let spec = &launch.container;
        let ports = ports(launch, endpoint);
        let mut container = json!({
            "name": label(&launch.service), "image": spec.image,
            // What podman has already is not pulled again.
            "imagePullPolicy": match launch.pull {
                Pull::Missing => "IfNotPresent",
                Pull::Always => "Always",
                Pull::Never => "Never",
            },
        });
        let mut set = |key: &str, value: Value| {
            if value.as_array().is_none_or(|items| !items.is_empty()) {
                container[key] = value;
            }
        };
        set("command", words(spec.entrypoint.as_deref(), spec));
        set("args", words(spec.command.as_deref(), spec));
        set("env", env(spec, &launch.service));
        set("ports", ports.iter().map(port).collect());
        set("volumeMounts", spec.mounts.iter().map(mounted).collect());
        let context = option::security_context(&spec.options);
        if !context.is_empty() {
            container["securityContext"] = context.into();
        }
        option::mount_memory(launch, &mut container);
        if let Some(folder) = spec.options.get(ContainerOption::WorkingDir).first() {
            container["workingDir"] = folder.as_str().into();
        }
        if spec.env.values().any(|value| has_reference(value, spec)) {
            self.warnings.push(format!(
                "`services.{}.env`: every `$` of a value that would refer to a variable is doubled, which `podman kube play` does not undo",
                launch.service
            ));
        }
        let limits = self.limits(launch);
        if !limits.is_empty() {
            container["resources"] = json!({ "limits": limits });
        }
        if let Some((health, port)) =
            launch.health.as_ref().zip(Some(ports.iter().find(|port| port.host.protocol.is_tcp())))
        {
            container["readinessProbe"] = self.probe(launch, health, port.map_or(0, |port| port.container));
        }
        if spec
            .mounts
            .iter()
            .any(|mount| matches!(mount, Mount::Bind { relabel: Relabel::Shared | Relabel::Private, .. }))
        {
            self.warnings.push(format!(
                "`{}` mounts folders of this machine, which are not labelled for SELinux: `chcon -Rt container_file_t FOLDER` does it",
                launch.service
            ));
        }
        container
    }

    fn limits(&mut self, launch: &Launch) -> Map<String, Value> {
        let limits = &launch.container.limits;
        let mut all = Map::new();
        all.extend(limits.memory.map(|bytes| ("memory".to_owned(), memory(bytes).into())));
        all.extend(limits.cpus.map(|cpus| ("cpu".to_owned(), cpus.to_string().into())));
        for device in launch.container.gpu.iter().chain(&launch.container.devices) {
            if let Some((class, _)) = device.split_once('=').filter(|(class, _)| !class.starts_with('/')) {
                all.insert(class.to_owned(), "1".into());
                self.warnings.push(format!(
                    "`{}` gets one `{class}` from a cluster's device plugin; `podman kube play` gives it none",
                    launch.service
                ));
            } else {
                self.warnings.push(format!("`{}` does not get the device `{device}`", launch.service));
            }
        }
        all
    }

    fn probe(&mut self, launch: &Launch, health: &HealthCheck, port: u16) -> Value {
        let (habits, own) = (self.subject.habits, launch.health_times);
        let times = |mut probe: Value| {
            let of_all = Duration::from_secs_f64(habits.startup_check_interval);
            probe["periodSeconds"] = whole(own.interval_or(of_all).as_secs_f64()).into();
            if let Some(retries) = own.retries {
                probe["failureThreshold"] = retries.max(1).into();
            }
            probe
        };
        let timeout = |of_all: Duration| whole(own.timeout_or(of_all).as_secs_f64());
        let health = match health {
            HealthCheck::Http(check) => check,
            HealthCheck::Command(words) => {
                let (how, rest) = words.split_first().map_or(("", &[][..]), |(how, rest)| (how.as_str(), rest));
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                let command = if how == "CMD-SHELL" { [&shell[..], &[rest.join(" ")]].concat() } else { rest.to_vec() };
                return times(json!({ "exec": { "command": command }, "timeoutSeconds": timeout(COMMAND_TIMEOUT) }));
            }
        };
        if !is_success(health.expected) {
            self.warnings.push(format!(
                "`services.{}.health.expected_status`: Kubernetes takes 200 to 399 for an answer and not {}",
                launch.service, health.expected
            ));
        }
        let timeout = timeout(Duration::from_secs_f64(habits.ping_timeout));
        times(json!({ "httpGet": { "path": health.path, "port": port }, "timeoutSeconds": timeout }))
    }
}
