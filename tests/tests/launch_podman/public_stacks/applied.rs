//! Compares what podman and the kernel report of a container with its configuration, independently
//! of the program's own comparison.

use airpods_lab::Place;
use serde_json::{Map, Value};

use crate::host::Host;

/// The settings of a service that its container does not have, a line each.
pub(super) fn faults(host: &Host, name: &str, service: &Value, made: &Value) -> Vec<String> {
    let container = service["container"].as_str().unwrap();
    let made = made.as_array().unwrap().iter().find(|one| one["Name"] == container).unwrap();
    let mut settings: Vec<(&str, bool)> = of_report(service, made);
    if service["oneshot"] == true {
        // podman calls it "stopped" between the end of the program and its own clean-up.
        let ended = ["exited", "stopped"].map(Value::from).contains(&made["State"]["Status"]);
        settings.push(("oneshot", made["State"]["ExitCode"] == 0 && ended));
    } else {
        settings.extend(of_the_running(host, name, service, made));
    }
    settings.into_iter().filter(|(_, has)| !has).map(|(key, _)| format!("{name}: {key}: {made:#}")).collect()
}

/// The items of an array as texts; a single text is one item.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// Each setting that podman's report shows, and whether it is there.
fn of_report(service: &Value, made: &Value) -> Vec<(&'static str, bool)> {
    let (config, host) = (&made["Config"], &made["HostConfig"]);
    let all = |wanted: &Value, found: &Value| texts(wanted).iter().all(|one| texts(found).contains(one));
    let equal = |wanted: &Value, found: &Value| wanted.is_null() || wanted == found;
    let ports = service["ports"].as_array().into_iter().flatten();
    let mounts = made["Mounts"].as_array().unwrap();
    let is_mounted = |volume: &Value| {
        let at = mounts.iter().find(|mount| mount["Destination"] == volume["target"]);
        at.is_some_and(|mount| mount["RW"] != volume["read_only"].as_bool().unwrap_or(false))
    };
    let env = texts(&config["Env"]);
    let (added, dropped) = (texts(&service["cap_add"]), texts(&service["cap_drop"]));
    let has = |capability: &&str| texts(&made["BoundingCaps"]).contains(capability);
    let none_but_added = texts(&made["BoundingCaps"]).len() == added.len();
    vec![
        ("ports", service["network_mode"] == "host" || ports.into_iter().all(|port| is_published(port, host))),
        ("volumes", entries(&service["volumes"]).all(|(_, volume)| is_mounted(volume))),
        ("labels", entries(&service["labels"]).all(|(label, value)| config["Labels"][label] == *value)),
        (
            "env",
            entries(&service["env"])
                .all(|(name, value)| env.contains(&&*format!("{name}={}", value.as_str().unwrap()))),
        ),
        ("user", equal(&service["user"], &config["User"])),
        ("hostname", equal(&service["hostname"], &config["Hostname"])),
        ("init", service["init"].is_null() || host["Init"] == true),
        ("read_only", service["read_only"].is_null() || host["ReadonlyRootfs"] == true),
        (
            "group_add",
            texts(&service["group_add"]).contains(&"keep-groups") || all(&service["group_add"], &host["GroupAdd"]),
        ),
        ("extra_hosts", texts(&service["extra_hosts"]).len() <= texts(&host["ExtraHosts"]).len()),
        ("shm_size", service["shm_size"].is_null() || host["ShmSize"].as_u64() >= Some(4 << 30)),
        ("cap_add", added.iter().all(has)),
        ("cap_drop", if dropped.contains(&"ALL") { none_but_added } else { !dropped.iter().any(has) }),
        (
            "networks",
            texts(&service["networks"])
                .iter()
                .all(|network| made["NetworkSettings"]["Networks"].get(network).is_some()),
        ),
        (
            "security_opt",
            !texts(&service["security_opt"]).contains(&"no-new-privileges")
                || texts(&host["SecurityOpt"]).contains(&"no-new-privileges"),
        ),
        ("command_args", service["command_args"].is_null() || texts(&service["command_args"]) == texts(&config["Cmd"])),
        (
            "health.command",
            service["health"]["command"].is_null() || service["health"]["command"] == config["Healthcheck"]["Test"],
        ),
    ]
}

/// Whether a port of the host is bound, at its address if it has one.
fn is_published(port: &Value, host: &Value) -> bool {
    let range = |value: &Value| -> Vec<u64> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        (first.parse().unwrap()..=last.parse().unwrap()).collect()
    };
    range(&port["host"]).iter().zip(range(&port["container"])).all(|(outer, inner)| {
        let bound = &host["PortBindings"][format!("{inner}/{}", port["protocol"].as_str().unwrap_or("tcp"))];
        bound.as_array().into_iter().flatten().any(|bound| {
            bound["HostPort"].as_str().and_then(|port| port.parse().ok()) == Some(*outer)
                && port["host_ip"].as_str().unwrap_or_default() == bound["HostIp"].as_str().unwrap_or_default()
        })
    })
}

/// Its devices and the names of other services, which only a running container shows.
fn of_the_running(host: &Host, name: &str, service: &Value, made: &Value) -> Vec<(&'static str, bool)> {
    let gpus: Vec<&str> = match texts(&service["gpu"]["device"])[..] {
        ["0"] => vec!["/dev/nvidia0"],
        ["1" | "nvidia.com/gpu=1"] => vec!["/dev/nvidia1"],
        ["nvidia.com/gpu=all"] => vec!["/dev/nvidia0", "/dev/nvidia1"],
        _ => Vec::new(),
    };
    let nodes: Vec<&str> = texts(&service["devices"]).iter().map(|device| device.split(':').next().unwrap()).collect();
    let (pid, paths) = (&made["State"]["Pid"], [gpus, nodes].concat());
    let mut faults = Vec::new();
    if !paths.is_empty() {
        let there: Vec<String> = paths.iter().map(|path| format!("test -e /proc/{pid}/root{path}")).collect();
        faults.push(("devices", host.sandbox.sh(&there.join(" && ")).is_ok()));
    }
    // A job has ended by then, and its name with it.
    if let Some((other, _)) = entries(&service["depends_on"]).find(|(_, until)| **until != "completed") {
        let container = service["container"].as_str().unwrap_or(name);
        faults.push(("depends_on", host.inside(container, &format!("resolve {other}")).code == 0));
    }
    faults
}
