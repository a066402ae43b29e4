//! The laboratory's path obeys its rules to the byte, and vanishes with its value.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use airpods_lab::path::{Direction, End, Event, Report, Server, in_network};
use airpods_lab::{FAMILIES, Family, Netns, Path, PathWorld, Place, Rules, eventually};

/// Two namespaces with a path between them. Both links have MTU 1500 and addresses.
struct Ends {
    path: Path,
    near: Netns,
    _far: Netns,
}

fn ends(rules: Rules) -> Ends {
    let (near, far) = (Netns::new().unwrap(), Netns::new().unwrap());
    let end = |network, link| End { network, link, mtu: 1500 };
    let path = Path::between(&end(&near, "wg0"), &end(&far, "inet0"), rules, 1).unwrap();
    for (netns, link, host) in [(&near, "wg0", 1), (&far, "inet0", 2)] {
        netns.sh(&format!(
            "ip addr add 192.0.2.{host}/24 dev {link}; ip addr add 2001:db8::{host}/64 dev {link} nodad; ip link set {link} up"
        ))
        .unwrap();
    }
    Ends { path, near, _far: far }
}

/// Whether an echo in packets of `size` bytes with "don't fragment" comes back.
fn echoes(near: &Netns, family: Family, size: usize) -> bool {
    let (to, headers) = if family == Family::V4 { ("192.0.2.2", 28) } else { ("2001:db8::2", 48) };
    near.sh(&format!("ping -c 1 -W 1 -M do -s {} {to}", size - headers)).is_ok()
}

#[test]
fn a_limit_is_exact_on_the_wire_for_both_families_and_can_change_while_the_path_runs() {
    let ends = ends(Rules::narrow(1300, 1400));
    for family in FAMILIES {
        assert!(echoes(&ends.near, family, 1300) && !echoes(&ends.near, family, 1301), "{family:?}");
    }
    ends.path.change(|rules| *rules = rules.clone().with_limits(Some(1400), Some(1350)));
    assert!(echoes(&ends.near, Family::V4, 1350) && !echoes(&ends.near, Family::V4, 1351));
    assert_eq!(ends.path.count(Direction::Up, Event::TooBig), 2);
    assert_eq!(ends.path.count(Direction::Down, Event::TooBig), 1);
}

#[test]
fn a_report_reaches_the_kernel_which_then_knows_the_path_mtu() {
    let ends = ends(Rules::narrow(1300, 1300).both(|way| way.report = Report::Limit));
    for (family, to) in [(Family::V4, "192.0.2.2"), (Family::V6, "2001:db8::2")] {
        assert!(!echoes(&ends.near, family, 1400));
        eventually("the kernel learns", || ends.near.sh(&format!("ip route get {to}")).unwrap().contains("mtu 1300"));
    }
}

#[test]
fn a_path_and_its_links_go_with_its_value() {
    let ends = ends(Rules::default());
    let near = ends.near;
    assert!(near.sh("ip link show wg0").is_ok());
    drop(ends.path);
    assert!(near.sh("ip link show wg0").is_err());
}

/// Sends the beginning of a hello, and returns how many bytes come back.
fn answer(stream: &mut TcpStream) -> usize {
    let mut hello = vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    hello.resize(205, 0x5a);
    stream.write_all(&hello).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut bytes = [0; 4096];
    let mut total = 0;
    while let Ok(size @ 1..) = stream.read(&mut bytes) {
        total += size;
    }
    total
}

#[test]
fn a_tcp_of_user_space_sends_its_flight_through_the_path() {
    let mut world = PathWorld::new(Rules::default(), 1).unwrap();
    world.serve(Server::UserTcp).unwrap();
    for family in FAMILIES {
        let to = (Server::UserTcp.address(family), 443);
        let received = in_network(world.sandbox(), move || Ok(answer(&mut TcpStream::connect(to).unwrap()))).unwrap();
        assert_eq!(received, 127 + 6 + 2905, "{family:?}");
    }
}

/// The output of `openssl s_client` about a handshake.
fn handshake(world: &PathWorld, server: Server, family: Family) -> String {
    let host = match server.address(family) {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let line =
        format!("timeout 10 openssl s_client -connect {host}:443 -servername registry.example </dev/null 2>&1 || true");
    world.sandbox().as_user("alice").sh(&line).unwrap()
}

#[test]
fn each_server_has_the_properties_of_its_name() {
    // The ranges are the sizes of the first flights in bytes. Measuring the path down depends on
    // them.
    let expected = [
        (Server::Rsa, "TLSv1.3", 2900..3300),
        (Server::Ecdsa, "TLSv1.3", 1900..2300),
        (Server::Tiny, "TLSv1.3", 600..900),
        (Server::Tls12, "TLSv1.2", 2700..3200),
        (Server::Inspector, "TLSv1.3", 1900..2300),
        (Server::CappedMss, "TLSv1.3", 2900..3300),
        (Server::Nginx, "TLSv1.3", 2900..3300),
    ];
    let mut world = PathWorld::new(Rules::default(), 1).unwrap();
    world.serve(Server::Rsa).unwrap();
    world.serve(Server::Nginx).unwrap();
    for (server, version, sizes) in expected {
        for family in FAMILIES {
            let output = handshake(&world, server, family);
            let read =
                output.split("has read ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::parse::<usize>);
            let Some(Ok(read)) = read else { panic!("{server:?} over {family:?}: {output}") };
            assert!(sizes.contains(&read) && output.contains(version), "{server:?} over {family:?}: {read}: {output}");
        }
    }
    assert!(handshake(&world, Server::Http, Family::V4).contains("wrong version number"));
    assert!(handshake(&world, Server::Nobody, Family::V4).contains("refused"));
    assert!(world.path().counts().keys().all(|(_, event)| *event == Event::Passed), "{:?}", world.path().counts());
}
