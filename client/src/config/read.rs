//! From the merged tree to typed values, one table at a time.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::earlier;
use super::model::{
    Cli, Dependencies, DnsServers, Engine, GpuDevice, HostGateway, Meta, MssClamp, Network, NetworkDriver, PodmanUrl,
    RestartPolicy, Runtime,
};
use super::problem::Problem;
use super::section::{Mismatch, Read, Section, boolean, list, number, owned_text, parsed, text, whole, word};
use super::tree::{Node, Value};

/// Reads `[meta]`.
pub(super) fn meta(root: &Section<'_>) -> Option<Meta> {
    let section = root.section("meta")?;
    let version = section.required("version", owned_text);
    let built_in_services = section.required("built_in_services", boolean);
    section.finish();
    Some(Meta { version: version?, built_in_services: built_in_services? })
}

/// Reads `[dependencies]`.
pub(super) fn dependencies(root: &Section<'_>) -> Dependencies {
    let Some(section) = root.section("dependencies") else { return Dependencies::default() };
    let dependencies = Dependencies {
        required: section.list_or("required", Vec::new(), list(owned_text)),
        optional: section.list_or("optional", Vec::new(), list(owned_text)),
        skip_checks: section.or("skip_checks", false, boolean),
    };
    earlier::dependencies(&section);
    section.finish();
    dependencies
}

/// Reads `[cli]`.
pub(super) fn cli(root: &Section<'_>) -> Option<Cli> {
    let section = root.section("cli")?;
    let stop_timeout = section.required("stop_timeout", whole);
    let log_lines = section.required("log_lines", whole);
    let ping_timeout = section.required("ping_timeout", number(0.1, 60.0));
    let startup_timeout = section.required("startup_timeout", whole);
    let startup_check_interval = section.required("startup_check_interval", number(0.5, 10.0));
    let max_concurrent_pulls = section.required("max_concurrent_pulls", whole);
    let auto_confirm = section.required("auto_confirm", boolean);
    let verbose = section.required("verbose", boolean);
    let debug = section.required("debug", boolean);
    earlier::cli(&section);
    section.finish();
    Some(Cli {
        stop_timeout: stop_timeout?,
        log_lines: log_lines?,
        ping_timeout: ping_timeout?,
        startup_timeout: startup_timeout?,
        startup_check_interval: startup_check_interval?,
        max_concurrent_pulls: max_concurrent_pulls?,
        auto_confirm: auto_confirm?,
        verbose: verbose?,
        debug: debug?,
    })
}

/// Reads `[runtime]`.
pub(super) fn runtime(root: &Section<'_>) -> Option<Runtime> {
    let section = root.section("runtime")?;
    let prefer = section.required("prefer", word(ENGINES));
    if prefer == Some(Engine::Docker) {
        let ineffective = Problem::warning("`runtime.prefer`: docker is not driven; podman is used");
        section.push(ineffective.at(section.at("prefer").cloned()));
    }
    let podman_url = section.optional("podman_url", podman_url);
    let host_gateway = section.required("host_gateway", host_gateway);
    let network_name = section.required("network_name", parsed);
    let network = network(&section);
    let gpu_device_flag = section.required("gpu_device_flag", gpu_device);
    let restart_policy = section.required("restart_policy", word(RESTART_POLICIES));
    earlier::runtime(&section);
    let cuda_version = section.required("cuda_version", owned_text);
    if cuda_version.as_ref().is_some_and(|version| version != "auto") {
        let ineffective = Problem::warning("`runtime.cuda_version` has no effect: name the image you want");
        section.push(ineffective.at(section.at("cuda_version").cloned()));
    }
    section.finish();
    Some(Runtime {
        prefer: prefer?,
        podman_url,
        host_gateway: host_gateway?,
        network_name: network_name?,
        network: network?,
        gpu_device_flag: gpu_device_flag?,
        restart_policy: restart_policy?,
        cuda_version: cuda_version?,
    })
}

const ENGINES: &[(&str, Engine)] = &[("auto", Engine::Auto), ("podman", Engine::Podman), ("docker", Engine::Docker)];

pub(super) const RESTART_POLICIES: &[(&str, RestartPolicy)] = &[
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
    ("unless-stopped", RestartPolicy::UnlessStopped),
];

const DRIVERS: &[(&str, NetworkDriver)] =
    &[("bridge", NetworkDriver::Bridge), ("macvlan", NetworkDriver::Macvlan), ("ipvlan", NetworkDriver::Ipvlan)];

const MSS_CLAMPS: &[(&str, MssClamp)] =
    &[("auto", MssClamp::Auto), ("off", MssClamp::Off), ("require", MssClamp::Require)];

fn podman_url(node: &Node) -> Read<PodmanUrl> {
    let url = text(node)?;
    let socket = url.strip_prefix("unix://").map(PathBuf::from);
    socket.and_then(PodmanUrl::from_socket).ok_or_else(|| {
        Mismatch::new(format_args!("`{url}` is not the URL of a local socket"))
            .hint("such as `unix:///run/podman/podman.sock`; podman on another machine is not supported")
    })
}

fn host_gateway(node: &Node) -> Read<HostGateway> {
    let text = text(node)?;
    match text.parse::<IpAddr>() {
        _ if text == "auto" => Ok(HostGateway::Auto),
        Ok(address) => Ok(HostGateway::Address(address)),
        Err(_) => text
            .parse()
            .map(HostGateway::Name)
            .map_err(|_| Mismatch::new(format_args!("`{text}` is neither `auto` nor the host's name or address"))),
    }
}

/// Takes the device by itself, and the flag of podman that the earlier tool's files hold.
pub(super) fn gpu_device(node: &Node) -> Read<GpuDevice> {
    let text = text(node)?.trim();
    let device = text.strip_prefix("--device").map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let names_a_device = device.starts_with("/dev/")
        || device.split_once('=').is_some_and(|(class, name)| class.contains('/') && !name.is_empty());
    match device {
        "auto" => Ok(GpuDevice::Auto),
        "none" | "" => Ok(GpuDevice::None),
        "--gpus all" | "--gpus=all" => Ok(GpuDevice::Device("nvidia.com/gpu=all".to_owned())),
        _ if names_a_device && !device.contains(char::is_whitespace) => Ok(GpuDevice::Device(device.to_owned())),
        _ => Err(Mismatch::new(format_args!("`{text}` is no device"))
            .hint("it is `auto`, `none`, a CDI name such as `nvidia.com/gpu=all` or a path such as `/dev/dri`")),
    }
}

fn network(runtime: &Section<'_>) -> Option<Network> {
    let section = runtime.section("network")?;
    let external = section.or("external", false, boolean);
    let driver = section.required("driver", word(DRIVERS));
    let subnet = section.optional("subnet", subnet);
    let gateway = section.optional("gateway", |node| address(node, "an address such as `10.89.0.1`"));
    section.may_be_list("dns_servers");
    let dns_servers = section.required("dns_servers", dns_servers);
    let ipv6 = section.required("ipv6", boolean);
    let internal = section.required("internal", boolean);
    let mtu = section.optional("mtu", whole);
    let mss_clamp = section.required("mss_clamp", word(MSS_CLAMPS));
    let measure = section.required("measure", boolean);
    section.finish();
    Some(Network {
        external,
        driver: driver?,
        subnet,
        gateway,
        dns_servers: dns_servers?,
        ipv6: ipv6?,
        internal: internal?,
        mtu,
        mss_clamp: mss_clamp?,
        measure: measure?,
    })
}

fn subnet(node: &Node) -> Read<IpNet> {
    let text = text(node)?;
    let subnet: IpNet =
        text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is not a subnet such as `10.89.0.0/16`")))?;
    if subnet.addr() != subnet.network() {
        return Err(Mismatch::new(format_args!("`{text}` is an address within a subnet"))
            .hint(format!("the subnet itself is `{}`", subnet.trunc())));
    }
    // The network's own address, the gateway, one container, and in IPv4 the broadcast address.
    if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
        return Err(Mismatch::new(format_args!("`{text}` is too small for a gateway and a container")));
    }
    Ok(subnet)
}

fn address(node: &Node, what: &str) -> Read<IpAddr> {
    let text = text(node)?;
    text.parse().map_err(|_| Mismatch::new(format_args!("`{text}` is not {what}")))
}

fn dns_servers(node: &Node) -> Read<DnsServers> {
    match &node.value {
        Value::String(word) if word == "auto" => Ok(DnsServers::Auto),
        Value::Array(_) => list(dns_server)(node).map(DnsServers::List),
        Value::String(text) => Err(Mismatch::new(format_args!("`{text}` is neither `auto` nor an array of addresses"))
            .hint("one server is an array too: `[\"192.0.2.53\"]`")),
        other => Err(Mismatch::new(format_args!("`auto` or an array is needed here, not {}", other.kind()))),
    }
}

fn dns_server(node: &Node) -> Read<IpAddr> {
    let server = address(node, "the address of a DNS server")?;
    if server.is_unspecified() || server.is_multicast() {
        return Err(Mismatch::new(format_args!("`{server}` cannot be the address of a DNS server")));
    }
    Ok(server)
}
