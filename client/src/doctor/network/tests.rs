//! Sockets in; their owners, and whether containers reach them, out.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::TcpListener;

use super::*;
use crate::plan::tests::config;

#[test]
fn a_process_of_this_user_is_named_and_a_free_port_has_none() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let PortOwner::Process { pid, name } = port_owner(HostPort::tcp(port)) else { panic!("nobody has port {port}") };
    assert_eq!(pid, std::process::id());
    assert!(!name.is_empty());
    drop(listener);
    assert_eq!(port_owner(HostPort::tcp(port)), PortOwner::OtherUser);
}

#[test]
fn only_listening_sockets_of_the_port_count() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n   \
             1: 0100007F:1F90 0100007F:9000 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n   \
             2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0\n";
    assert_eq!(listeners(table, 8080), [4711]);
}

fn table(address: &str, port: u16) -> Vec<String> {
    vec![format!("  sl  local_address\n   0: {address}:{port:04X} 00000000:0000 0A 0:0 0:0 0 0 0 1 1 0\n")]
}

#[test]
fn a_port_is_the_hosts_alone_where_only_loopback_is_listened_to() {
    for (address, alone) in [
        ("0100007F", true),
        ("3500007F", true),
        ("00000000", false),
        ("0A02000A", false),
        ("00000000000000000000000001000000", true),
        ("00000000000000000000000000000000", false),
        ("0000000000000000FFFF00000100007F", true),
    ] {
        assert_eq!(is_for_the_host_alone(&table(address, 11434), 11434), alone, "{address}");
    }
    assert!(!is_for_the_host_alone(&table("0100007F", 80), 11434), "nobody listens there");
    let both = [table("0100007F", 11434), table("0A02000A", 11434)].concat();
    assert!(!is_for_the_host_alone(&both, 11434));
}

#[test]
fn a_variable_that_leads_to_the_host_is_known_by_its_name_or_address() {
    let services = |web: &str| {
        let web = format!("[services.web]\nimage = 'docker.io/lab/web:1'\n{web}\n");
        asked_of_host(&config(&format!("services.open-webui.enabled = false\n{web}")))
    };
    for env in [
        "env.A = 'http://host.containers.internal:11434/v1'",
        "env.A = 'http://u:p@host.docker.internal:11434'",
        "env.A = 'http://other:1;http://host.docker.internal:11434'",
        "env.A = 'http://box:11434'\nextra_hosts = ['box:host-gateway']",
        "env.A = 'http://{{runtime.host_gateway}}:11434'",
    ] {
        let found = services(env);
        assert_eq!(found, [HostOnly { key: "services.web.env.A".to_owned(), port: 11434 }], "{env}");
    }
    for env in [
        "env.A = 'http://ollama:11434'",
        "env.A = 'host.docker.internal'",
        "network_mode = 'host'\nenv.A = 'http://host.docker.internal:1'",
    ] {
        assert_eq!(services(env), [], "{env}");
    }
}
