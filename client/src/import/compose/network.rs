//! The networks of a compose file. airpods has one for all services, beside those that exist already.

use toml_edit::{Table, value};

use super::super::yaml::{Entry, Node, Value};
use super::{Reader, is_external};
use crate::config::NetworkMtu;

/// The option of docker and podman for the MTU of a bridge, under both of its names.
const MTU: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];

/// Learns which networks exist already, and returns what the file says of the one that it makes itself.
pub(super) fn read(reader: &mut Reader, root: &Node) -> Table {
    let mut network = Table::new();
    let all = root.get("networks").map(Node::entries).unwrap_or_default();
    let (existing, own): (Vec<&Entry>, Vec<&Entry>) = all.iter().partition(|entry| is_external(&entry.node));
    for entry in existing {
        let name = entry.node.get("name").or_else(|| entry.node.get("external").and_then(|node| node.get("name")));
        let name = name.and_then(Node::scalar).unwrap_or_else(|| entry.key.clone());
        reader.networks.insert(entry.key.clone(), name);
    }
    if let [entry] = own[..] {
        for option in entry.node.entries() {
            carry(reader, &mut network, &entry.key, option);
        }
        return network;
    }
    for entry in own {
        let why = "airpods has one network for all services: this one's services share it now";
        reader.note(entry.line, &format!("networks.{}", entry.key), why);
    }
    network
}

fn carry(reader: &mut Reader, network: &mut Table, name: &str, option: &Entry) {
    let is_on = matches!(option.node.value, Value::Boolean(true));
    let key = format!("networks.{name}.{}", option.key);
    match option.key.as_str() {
        "internal" => drop(network.insert("internal", value(is_on))),
        "enable_ipv6" => drop(network.insert("ipv6", value(is_on))),
        "driver" if matches!(option.node.scalar().as_deref(), Some("bridge" | "default")) => {}
        "external" | "labels" | "attachable" => {}
        "name" => reader.note(option.line, &key, "not carried over: the network is called `runtime.network_name`"),
        "driver_opts" => {
            for entry in option.node.entries() {
                let mtu = entry.node.scalar().and_then(|text| text.parse::<u16>().ok()).and_then(NetworkMtu::new);
                match mtu {
                    Some(mtu) if MTU.contains(&entry.key.as_str()) => {
                        drop(network.insert("mtu", value(i64::from(mtu.get()))));
                    }
                    _ => reader.note(entry.line, &format!("{key}.{}", entry.key), "airpods has no such key"),
                }
            }
        }
        "ipam" => reader.note(option.line, &key, "not carried over: see `runtime.network.subnet`"),
        _ => reader.note(option.line, &key, "airpods has no such key"),
    }
}
