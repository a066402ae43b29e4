//! The findings of `airpods doctor` behind a VPN, and the effect of its cures.

use airpods_lab::Place;
use serde_json::Value;

use crate::host::{Host, only_this_server};

/// The VPN's own name server.
const VPN_DNS: &str = "192.0.2.54";

/// A public name server.
const PUBLIC_DNS: &str = "192.0.2.53";

/// The findings other than `ok`: level, code, cause and cure.
fn findings(host: &Host) -> Vec<[String; 4]> {
    let output = host.airpods("doctor --json");
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let found: Vec<[String; 4]> =
        findings.map(|finding| ["level", "code", "cause", "cure"].map(|key| text(finding, key))).collect();
    let found: Vec<[String; 4]> = found.into_iter().filter(|[level, ..]| level != "ok").collect();
    assert_eq!(output.code == 1, found.iter().any(|[level, ..]| level == "broken"), "{output:?}");
    found
}

/// Checks that there is one finding, with this code and these words, and returns its cure.
#[track_caller]
fn only(host: &Host, code: &str, words: &[&str]) -> String {
    let found = findings(host);
    let [[level, named, cause, cure]] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((level.as_str(), named.as_str()), ("broken", code), "{cause}");
    for word in words {
        assert!(cause.contains(word), "{word} is not in: {cause}");
    }
    cure.clone()
}

/// A host that resolves names by the VPN's server.
fn host() -> Host {
    let mut host = Host::new();
    host.world.add_resolver(VPN_DNS.parse().unwrap(), &["inside.example=192.0.2.80"]).unwrap();
    host.world.sandbox().write_file("/etc/resolv.conf", format!("nameserver {VPN_DNS}\n")).unwrap();
    host
}

#[test]
fn the_doctor_names_the_black_hole_and_its_clamp_cures_it() {
    let host = host();
    host.configure("mss_clamp = \"auto\"");
    host.succeed("start");
    assert!(host.transfers().all_hung());
    let cure = only(&host, "mtu-black-hole", &["`model`", "`wg0`", "1380", "1500"]);
    assert_eq!(cure, "airpods net clamp on");
    host.succeed(cure.strip_prefix("airpods ").unwrap());
    assert_eq!(findings(&host), Vec::<[String; 4]>::new());
    assert!(host.transfers().all_completed());
}

#[test]
fn the_doctor_names_a_vpn_that_refuses_other_name_servers_and_auto_cures_it() {
    let host = host();
    host.world.sandbox().sh(&only_this_server(VPN_DNS)).unwrap();
    host.succeed("net clamp on");
    host.configure(&format!("dns_servers = [\"{PUBLIC_DNS}\"]"));
    host.succeed("start");
    let cure = only(&host, "dns-refused", &[PUBLIC_DNS, "`wg0`", "other name servers than its own"]);
    assert_eq!(cure, "airpods config set runtime.network.dns_servers auto && airpods start --yes");
    host.configure("dns_servers = \"auto\"");
    host.succeed("start --yes");
    assert_eq!(findings(&host), Vec::<[String; 4]>::new());
}
