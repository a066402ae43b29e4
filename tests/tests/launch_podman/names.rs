//! Aliases and DNS servers, at the same time.

use crate::host::{ALONE, DNS, Host, service};

pub(crate) fn config(network: &str, first: &str, second: &str) -> String {
    let network = format!("[runtime.network]\n{network}\n");
    let first = service("first", 7001, &format!("network_aliases = [\"one\", \"uno\"]\n{first}"));
    let second = service("second", 7002, &format!("network_aliases = [\"two\"]\n{second}"));
    format!("{ALONE}{network}{first}{second}")
}

/// Checks that every container finds the others by each alias, and that the DNS servers get all
/// other queries.
pub(crate) fn resolves(host: &Host, toml: &str) {
    let (_server, queries) = host.start_dns();
    host.configure(toml);
    let output = host.succeed("start").err;
    assert!(!output.contains("name server"), "one that answers was doubted: {output}");
    for (from, names) in [("second-0", ["one", "uno"]), ("first-0", ["two", "two"])] {
        for name in names {
            let found = host.inside(from, &format!("resolve {name}"));
            assert_eq!(found.code, 0, "{from} does not find {name}: {}", found.err);
            let port = if from == "second-0" { 7001 } else { 7002 };
            let reached = host.inside(from, &format!("get http://{name}:{port}/"));
            assert_eq!(reached.code, 0, "{from} does not reach {name}: {}", reached.err);
        }
    }
    for container in ["first-0", "second-0"] {
        let found = host.inside(container, "resolve far.example");
        assert_eq!(found.out.trim(), "203.0.113.7", "{container}: {}", found.err);
    }
    assert!(queries().contains("far.example"), "the DNS server was not asked: {}", queries());
    host.succeed("stop --remove --yes");
}

#[test]
fn aliases_resolve_and_the_dns_servers_are_asked() {
    resolves(&Host::new(), &config(&format!("dns_servers = [\"{DNS}\"]"), "", ""));
}

#[test]
fn aliases_resolve_and_the_dns_servers_are_asked_from_pods_too() {
    let network = format!("dns_servers = [\"{DNS}\"]\nsubnet = \"10.77.0.0/24\"");
    resolves(&Host::new(), &config(&network, "pod = \"left\"", "pod = \"right\""));
}

#[test]
fn aliases_resolve_and_the_dns_servers_are_asked_rootless() {
    resolves(&Host::of("alice"), &config(&format!("dns_servers = [\"{DNS}\"]"), "", ""));
}

#[test]
fn without_dns_servers_aliases_resolve_and_the_hosts_own_servers_are_asked() {
    let host = Host::new();
    host.sandbox.write_file("/etc/resolv.conf", format!("nameserver {DNS}\n")).unwrap();
    resolves(&host, &config("", "", ""));
}

#[test]
fn services_of_one_pod_share_its_address_and_stop_by_themselves() {
    share_a_pod(&Host::new());
}

/// The test for the podman of `host`, also used by `podman_5.rs`.
pub(crate) fn share_a_pod(host: &Host) {
    host.configure(&config("", "pod = \"both\"", "pod = \"both\""));
    host.succeed("start");
    assert_eq!(host.podman("pod ps --format '{{.Name}} {{.NumberOfContainers}}'"), "both 3");
    assert_eq!(host.inside("first-0", "get http://127.0.0.1:7002/").code, 0);
    host.succeed("stop first");
    let states = |name: &str| host.field(name, ".State.Status");
    assert_eq!((states("first-0"), states("second-0")), ("exited".into(), "running".into()));
    host.succeed("start first");
    host.succeed("stop");
    let infra = host.podman("pod inspect both --format '{{.InfraContainerID}}'");
    assert_eq!(host.field(&infra, ".State.Status"), "exited", "the pod still holds its ports");
    host.succeed("start");
    host.succeed("stop --remove --yes first");
    assert_eq!(host.podman("pod ps --format '{{.Name}} {{.NumberOfContainers}}'"), "both 2");
    host.succeed("stop --remove --yes");
    assert_eq!(host.inventory(), "podman");
}
