//! The effect of `runtime.network.dns_servers` on the name servers behind a VPN.

use airpods_lab::client::{self, CommandOutput};
use airpods_lab::{Background, Place, Program};

use crate::host::{Host, only_this_server};

/// The VPN's own name server, the only one that knows internal names.
const VPN_DNS: &str = "192.0.2.54";

/// The same server for a link that wants every name.
const VPN_DNS_WANTING: &str = "192.0.2.54~";

/// A public name server.
const PUBLIC_DNS: &str = "192.0.2.53";

fn host_of(user: &str) -> Host {
    let mut host = Host::without_helper(user);
    host.world.add_resolver(VPN_DNS.parse().unwrap(), &["inside.example=192.0.2.80"]).unwrap();
    host
}

/// Starts the stand-in for systemd-resolved, with servers for links of the host: `LINK=ADDRESS`.
fn resolved(host: &Host, links: &[(&str, &str)]) -> Background {
    let sandbox = host.world.sandbox();
    let policy = "<busconfig><policy user=\"root\"><allow own=\"org.freedesktop.resolve1\"/></policy>\
                  <policy context=\"default\"><allow send_destination=\"org.freedesktop.resolve1\"/></policy></busconfig>";
    sandbox.write_file("/etc/dbus-1/system.d/resolve1.conf", policy).unwrap();
    sandbox.write_file("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
    sandbox.start_bus().unwrap();
    sandbox.install(Program::Lab, "/usr/bin/airpods-lab").unwrap();
    let mut service = sandbox.command("airpods-lab");
    service.arg("resolved");
    for (link, servers) in links {
        let index = sandbox.sh(&format!("cat /sys/class/net/{link}/ifindex")).unwrap();
        service.arg(format!("{index}={servers}"));
    }
    Background::start_ready(&mut service, &sandbox.log_path("resolved")).unwrap().0
}

#[track_caller]
fn assert_resolves_inside(host: &Host) {
    let found = host.inside("resolve inside.example");
    assert_eq!(found.out.trim(), "192.0.2.80", "{}", found.err);
}

/// The servers that podman gave the container.
fn given(host: &Host) -> String {
    host.user.sh("podman inspect --format '{{.HostConfig.Dns}}' model-0").unwrap()
}

#[test]
fn auto_takes_the_servers_of_the_vpns_link_from_systemd_resolved() {
    let host = host_of("root");
    let _resolved = resolved(&host, &[("wire", "203.0.113.99"), ("wg0", &format!("{VPN_DNS}!"))]);
    host.configure("mss_clamp = \"off\"\ndns_servers = \"auto\"");
    let output = host.succeed("start").err;
    assert!(!output.contains("name server"), "{output}");
    assert_eq!(given(&host), format!("[{VPN_DNS}]"));
    assert_resolves_inside(&host);
}

/// `DBUS_SYSTEM_BUS_ADDRESS` may lead there after `su` or `sudo -E`.
#[test]
fn servers_that_the_bus_of_another_user_names_are_not_believed() {
    let host = host_of("root");
    let sandbox = host.world.sandbox();
    sandbox.write_file("/etc/resolv.conf", "nameserver 127.0.0.53\n").unwrap();
    sandbox.install(Program::Lab, "/usr/bin/airpods-lab").unwrap();
    let alice = sandbox.as_user("alice");
    let address = "unix:path=/tmp/alices-bus";
    let mut bus = alice.command("dbus-daemon");
    bus.args(["--session", "--nofork", "--nopidfile", "--print-address=1", "--address", address]);
    let _bus = Background::start_ready(&mut bus, &sandbox.log_path("alices-bus")).unwrap();
    let index = sandbox.sh("cat /sys/class/net/wg0/ifindex").unwrap();
    let mut service = alice.command("airpods-lab");
    service.env("DBUS_SYSTEM_BUS_ADDRESS", address).args(["resolved", &format!("{index}={VPN_DNS}!")]);
    let _resolved = Background::start_ready(&mut service, &sandbox.log_path("resolved")).unwrap();
    host.configure("mss_clamp = \"off\"\ndns_servers = \"auto\"");
    let planned = |user: &str| {
        let mut start = client::command(&sandbox.as_user(user), "start --dry-run");
        CommandOutput::of(start.env("DBUS_SYSTEM_BUS_ADDRESS", address)).unwrap()
    };
    let believed = planned("alice");
    assert!(believed.out.contains(VPN_DNS), "her own bus: {believed:?}");
    let planned = planned("root");
    assert!(!planned.out.contains(VPN_DNS) && !planned.err.contains(VPN_DNS), "{planned:?}");
}

#[test]
fn where_the_vpns_link_has_no_servers_auto_takes_what_systemd_resolved_would_ask() {
    for links in [[("lo", "203.0.113.99"), ("wire", VPN_DNS_WANTING)], [("lo", "203.0.113.99!"), ("wire", VPN_DNS)]] {
        let host = host_of("root");
        let _resolved = resolved(&host, &links);
        host.configure("mss_clamp = \"off\"\ndns_servers = \"auto\"");
        let planned = host.succeed("start --dry-run").out;
        assert!(planned.contains(&format!("DNS servers {VPN_DNS},")), "{planned}");
    }
}

#[test]
fn auto_takes_a_resolv_conf_that_the_vpn_wrote_also_rootless() {
    for user in ["root", "alice"] {
        let host = host_of(user);
        host.world.sandbox().write_file("/etc/resolv.conf", format!("nameserver {VPN_DNS}\n")).unwrap();
        host.configure("dns_servers = \"auto\"\nmss_clamp = \"off\"");
        let output = host.succeed("start").err;
        assert!(!output.contains("name server"), "{user}: {output}");
        assert_eq!(given(&host), format!("[{VPN_DNS}]"));
        assert_resolves_inside(&host);
    }
}

#[test]
fn where_the_host_has_no_server_for_containers_auto_starts_nothing_and_invents_none() {
    let host = Host::without_helper("root");
    let before = host.inventory();
    host.configure("dns_servers = \"auto\"");
    for (conf, word) in [("", "the host has no name server"), ("nameserver 127.0.0.1\n", "the host asks 127.0.0.1")] {
        host.world.sandbox().write_file("/etc/resolv.conf", conf).unwrap();
        let output = host.airpods("start");
        assert!(output.code == 1 && output.err.contains(word) && output.err.contains("hint: "), "{output:?}");
        assert_eq!(host.inventory(), before, "something was started");
    }
}

#[test]
fn a_vpn_that_rejects_other_name_servers_is_recognised_and_auto_is_the_cure() {
    for user in ["root", "alice"] {
        let host = host_of(user);
        host.world.sandbox().sh(&only_this_server(VPN_DNS)).unwrap();
        host.world.sandbox().write_file("/etc/resolv.conf", format!("nameserver {VPN_DNS}\n")).unwrap();
        host.configure(&format!("mss_clamp = \"off\"\ndns_servers = [\"{PUBLIC_DNS}\"]"));
        let output = host.succeed("start").err;
        for part in [PUBLIC_DNS, "are rejected on the way", "`wg0`", "dns_servers auto"] {
            assert!(output.contains(part), "{user}: {part}: {output}");
        }
        // Applies the cure that airpods suggested.
        host.configure("mss_clamp = \"off\"\ndns_servers = \"auto\"");
        let output = host.succeed("start --yes").err;
        assert!(!output.contains("name server"), "{user}: {output}");
        assert_resolves_inside(&host);
    }
}

#[test]
fn a_silent_server_is_distinguished_and_an_answering_one_trusted() {
    let host = host_of("root");
    host.configure(&format!("mss_clamp = \"off\"\ndns_servers = [\"{PUBLIC_DNS}\"]"));
    let output = host.succeed("start").err;
    assert!(!output.contains("name server"), "{output}");
    assert!(host.world.dns_queries().unwrap().iter().any(|line| line.contains("a.root-servers.net")));
    // DNS queries are lost beyond the tunnel.
    host.world.gateway().sh(&dropping("forward")).unwrap();
    host.configure(&format!("mss_clamp = \"off\"\ndns_servers = [\"{VPN_DNS}\"]"));
    let output = host.succeed("start --yes").err;
    assert!(output.contains(&format!("warning: the name server {VPN_DNS} does not answer")), "{output}");
}

#[test]
fn it_is_asked_from_within_the_containers_network_and_not_only_from_the_host() {
    let host = host_of("root");
    // Forwarded DNS queries are dropped, the host's own are not.
    host.world.sandbox().sh(&dropping("forward")).unwrap();
    host.configure(&format!("mss_clamp = \"off\"\ndns_servers = [\"{VPN_DNS}\"]"));
    let output = host.succeed("start").err;
    assert!(output.contains("though the name servers answer the host"), "{output}");
}

/// Rules that drop every DNS query in a hook.
fn dropping(hook: &str) -> String {
    format!(
        "nft 'table inet vpn {{\nchain names {{\ntype filter hook {hook} priority filter\nudp dport 53 drop\n}}\n}}'"
    )
}
