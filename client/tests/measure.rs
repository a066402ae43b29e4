//! `airpods net check` against a real kernel, in throw-away network namespaces: two hosts on a
//! wire, and rules that drop packets that are too large.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use airpods_lab::{Netns, Place, documents};
use serde_json::Value;

/// A host and a server on a wire of MTU 1500. The server's link takes one segment at a time
/// (`gso_max_segs`), so that rules see packets as they would be on a wire.
struct Wire {
    host: Netns,
    server: Netns,
    home: tempfile::TempDir,
}

/// A server's flight as TLS 1.3 has it: sizes need no cryptography.
fn flight() -> Vec<u8> {
    let record = |kind: u8, length: u16| {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(length.to_be_bytes());
        bytes.resize(5 + usize::from(length), 7);
        bytes
    };
    [record(0x16, 122), record(0x14, 1), record(0x17, 3000)].concat()
}

fn answer(mut stream: TcpStream) {
    let (mut hello, mut seen) = ([0; 4096], Vec::new());
    while let Ok(length @ 1..) = stream.read(&mut hello) {
        let is_first = seen.len() < 5;
        seen.extend_from_slice(&hello[..length]);
        let whole =
            |seen: &[u8]| seen.len() >= 5 && seen.len() >= 5 + usize::from(u16::from_be_bytes([seen[3], seen[4]]));
        if (is_first || !whole(&seen[..seen.len() - length])) && whole(&seen) && stream.write_all(&flight()).is_err() {
            return;
        }
    }
}

impl Wire {
    fn new() -> Self {
        let (host, server) = (Netns::new().unwrap(), Netns::new().unwrap());
        host.veth_to(&server, "eth0", "far").unwrap();
        host.sh("ip addr add 203.0.113.2/24 dev eth0; ip addr add 2001:db8:f::2/64 dev eth0 nodad").unwrap();
        server
            .sh("ip addr add 203.0.113.1/24 dev far; ip addr add 2001:db8:f::1/64 dev far nodad; ip link set far gso_max_segs 1")
            .unwrap();
        server.run(|| {
            for address in ["203.0.113.1:443", "[2001:db8:f::1]:443"] {
                let listener = TcpListener::bind(address).unwrap();
                std::thread::spawn(move || {
                    for stream in listener.incoming() {
                        std::thread::spawn(move || answer(stream.unwrap()));
                    }
                });
            }
        });
        Self { host, server, home: tempfile::tempdir().unwrap() }
    }

    /// Drops what is larger, in silence: `input` is what comes up, `output` what goes down.
    fn narrow(&self, up: u16, down: u16) {
        drop_where(&self.server, "prerouting", &format!("meta length > {up}"));
        drop_where(&self.server, "postrouting", &format!("meta length > {down}"));
    }

    fn check(&self, url: &str, options: &str) -> Output {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_airpods"));
        command.args(["net", "check", "--url", url]).args(options.split_whitespace());
        command.env("HOME", self.home.path()).env("XDG_RUNTIME_DIR", self.home.path());
        // There is no podman to ask for services.
        command.env("CONTAINER_HOST", "unix:///nonexistent/podman.sock");
        let output = command.output().unwrap();
        documents::judge_output(&command, &output).unwrap();
        output
    }

    fn json(&self, url: &str) -> (i32, Value) {
        let output = self.check(url, "--json");
        let json = serde_json::from_slice(&output.stdout);
        (output.status.code().unwrap(), json.unwrap_or_else(|_| panic!("{output:?}")))
    }
}

/// A rule in a hook of a host.
fn drop_where(place: &Netns, hook: &str, what: &str) {
    place
        .nft(&format!("table inet {hook} {{\nchain c {{ type filter hook {hook} priority 0;\n{what} drop\n}}\n}}"))
        .unwrap();
}

const IPV4: &str = "https://203.0.113.1";
const IPV6: &str = "https://[2001:db8:f::1]";

fn sizes(report: &Value) -> [Value; 4] {
    let path = &report["places"][0]["paths"][0];
    [&path["up"]["proven"], &path["up"]["failed"], &path["down"]["proven"], &path["down"]["failed"]].map(Clone::clone)
}

fn numbers(sizes: [Option<u16>; 4]) -> [Value; 4] {
    sizes.map(|size| size.map_or(Value::Null, Value::from))
}

#[test]
fn on_a_good_path_the_links_mtu_passes_both_ways() {
    let wire = Wire::new();
    for url in [IPV4, IPV6] {
        let (exit, report) = wire.json(url);
        assert_eq!((exit, report["verdict"].as_str()), (0, Some("fine")), "{report:#}");
        assert_eq!(sizes(&report), numbers([Some(1500), None, Some(1500), None]), "{report:#}");
        assert_eq!(report["confidence"], "sure");
        assert_eq!(report["places"][0]["paths"][0]["transfers"]["completed"], 3, "{report:#}");
    }
}

#[test]
fn each_direction_is_measured_to_the_byte_and_the_cure_has_the_number() {
    for (up, down) in [(1300, 1300), (1380, 1500), (1500, 1412)] {
        let wire = Wire::new();
        wire.narrow(up, down);
        let above = |size: u16| (size < 1500).then_some(size + 1);
        for url in [IPV4, IPV6] {
            let (exit, report) = wire.json(url);
            assert_eq!((exit, report["verdict"].as_str()), (1, Some("path-narrow")), "{report:#}");
            assert_eq!(sizes(&report), numbers([Some(up), above(up), Some(down), above(down)]), "{report:#}");
            let least = up.min(down);
            let cure = format!("airpods net clamp on eth0 --mtu {least} --any-link");
            assert_eq!(report["cure"], cure, "{report:#}");
            assert!(report["seconds"].as_f64().unwrap() < 12.5, "{report:#}");
        }
    }
}

#[test]
fn a_path_that_reports_its_mtu_is_no_hole() {
    let wire = Wire::new();
    drop_where(&wire.server, "prerouting", "meta length > 1300");
    // The kernel already knows the MTU that the router would have reported.
    wire.host.sh("ip route add 203.0.113.1/32 dev eth0 mtu 1300").unwrap();
    let (exit, report) = wire.json(IPV4);
    assert_eq!(exit, 0, "{report:#}");
    assert_eq!(sizes(&report), numbers([Some(1300), None, Some(1300), None]), "{report:#}");
}

#[test]
fn the_cause_of_a_failed_connection_is_named() {
    let wire = Wire::new();
    let verdict = |url: &str| {
        let (exit, report) = wire.json(url);
        (exit, report["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("https://198.51.100.1"), (1, "no-route".to_owned()));
    drop_where(&wire.server, "prerouting", "tcp dport 443");
    assert_eq!(verdict(IPV4), (1, "port-filtered".to_owned()));
    drop_where(&wire.host, "output", "th dport 443");
    assert_eq!(verdict(IPV4), (1, "own-firewall".to_owned()));
}

#[test]
fn a_picture_describes_the_path_and_an_invalid_url_is_refused() {
    let wire = Wire::new();
    wire.narrow(1300, 1300);
    let output = wire.check(IPV4, "--no-proof");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "host -> eth0 (veth, MTU 1500)",
        "1300 of 1500 pass, 1301 vanishes, sure",
        "broken: ",
        "cure: airpods net clamp on eth0",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let wrong = wire.check("http://203.0.113.1", "");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn one_check_runs_at_a_time() {
    let wire = Wire::new();
    let lock = std::fs::File::create(wire.home.path().join(".airpods-net-check.lock")).unwrap();
    lock.lock().unwrap();
    let output = wire.check(IPV4, "--json");
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert!(output.stdout.is_empty());
}

/// After `su` or `sudo -E`, root has the `XDG_RUNTIME_DIR` and the `HOME` of the user before.
#[test]
fn root_makes_no_file_for_the_user_whose_environment_it_has() {
    let wire = Wire::new();
    let target = tempfile::tempdir().unwrap();
    for folder in [wire.home.path().to_owned(), wire.home.path().join(".local/state/airpods")] {
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).unwrap();
        for (number, lock) in ["airpods-net-check.lock", ".airpods-net-check.lock"].iter().enumerate() {
            let named = target.path().join(format!("made-{number}"));
            std::os::unix::fs::symlink(named, folder.join(lock)).unwrap();
        }
    }
    let output = wire.check(IPV4, "--json");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 0, "root has followed a link of another user");
}
