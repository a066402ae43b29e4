//! Names and the deadline.

#![allow(clippy::unwrap_used)]

use std::future::pending;

use tokio::time::sleep;

use super::*;

const SHORT: Patience = Patience { full: Duration::from_secs(30), grace: Duration::from_millis(300) };

/// A target whose name resolves after this many milliseconds, or never.
fn target(after: Option<u64>) -> Target {
    Target { host: after.map_or("silent".to_owned(), |after| after.to_string()), port: 443 }
}

async fn lookup(target: &Target) -> Result<Vec<SocketAddr>, Unresolved> {
    match target.host.parse() {
        Ok(after) => sleep(Duration::from_millis(after)).await,
        Err(_) => pending().await,
    }
    Ok(vec!["127.0.0.1:443".parse().unwrap()])
}

/// The names that resolved in their order, or the code, and how long that took.
async fn resolved(
    afters: &[Option<u64>],
    limit: Duration,
    patience: Patience,
) -> (Result<Vec<String>, Code>, Duration) {
    let targets: Vec<Target> = afters.iter().map(|after| target(*after)).collect();
    let begun = Instant::now();
    let servers = resolve(&targets, begun + limit, patience, lookup).await;
    let names = servers.map(|servers| servers.into_values().flatten().map(|server| server.host).collect());
    (names.map_err(|(_, code, _)| code), begun.elapsed())
}

#[tokio::test]
async fn names_are_resolved_side_by_side_and_taken_in_their_order() {
    let patience = Patience { grace: SHORT.full, ..SHORT };
    let (names, took) = resolved(&[Some(900), Some(800), Some(100)], SHORT.full, patience).await;
    assert_eq!(names.unwrap(), ["900", "800"]);
    assert!(took < Duration::from_millis(1800), "{took:?}");
}

#[tokio::test]
async fn silent_names_are_not_waited_for_long_if_another_resolves() {
    let (names, took) = resolved(&[None, Some(100), None], SHORT.full, SHORT).await;
    assert_eq!(names.unwrap(), ["100"]);
    assert!(took < SHORT.full / 2, "{took:?}");
}

#[tokio::test]
async fn silence_is_no_fault_of_the_network_if_the_names_had_too_little_time() {
    let silent = [None, None, None];
    let patience = Patience { full: Duration::from_millis(100), ..SHORT };
    assert_eq!(resolved(&silent, SHORT.full, patience).await.0, Err(Code::DnsSilent));
    let (names, took) = resolved(&silent, Duration::from_millis(100), SHORT).await;
    assert_eq!(names, Err(Code::NotMeasured));
    assert!(took < SHORT.full / 2, "{took:?}");
}

#[test]
fn the_host_leaves_time_for_the_networks_if_there_are_any() {
    let mut plan = Plan::default();
    assert_eq!(host_share(&plan, LIMIT), LIMIT);
    plan.places.networks.push(places::tests::place());
    assert!(host_share(&plan, LIMIT) + Duration::from_secs(4) <= LIMIT);
}

#[test]
fn the_host_has_time_to_ask_a_second_server_though_a_network_is_measured_after_it() {
    let mut plan = Plan::default();
    plan.places.networks.push(places::tests::place());
    let (searching, confirming) = (Duration::from_secs(3), Duration::from_secs(4));
    for (left, least) in [(10_000, searching + confirming), (10_000, search::SYN_TIMEOUT * 2), (30_000, LIMIT)] {
        assert!(host_share(&plan, Duration::from_millis(left)) > least, "{left} {least:?}");
    }
    let short = Duration::from_secs(5);
    assert_eq!(host_share(&plan, short), short, "no more than there is");
}

#[test]
fn ipv6_that_never_connects_beside_a_working_ipv4_is_dead_and_one_that_had_no_time_is_not() {
    let ipv4 = |proven| PathReport {
        up: report::Direction { proven, ..report::Direction::default() },
        ..PathReport::without(Family::Ipv4, "registry.example", 443, Code::Fine)
    };
    let ipv6 = |verdict, seconds| PathReport {
        seconds,
        ..PathReport::without(Family::Ipv6, "registry.example", 443, verdict)
    };
    let connected = PathReport { rtt_ms: Some(20.0), ..ipv6(Code::NotMeasured, 5.0) };
    let marked = |ipv4, ipv6| {
        let mut paths = [ipv4, ipv6];
        mark_dead_ipv6(&mut paths);
        paths.map(|path| path.verdict)[1]
    };
    assert_eq!(marked(ipv4(Some(1420)), ipv6(Code::PortFiltered, 4.0)), Code::Ipv6Dead);
    assert_eq!(marked(ipv4(None), ipv6(Code::PortFiltered, 4.0)), Code::PortFiltered, "nothing works");
    // Silent for as long as a handshake may take, and no time was left for another server.
    assert_eq!(marked(ipv4(Some(1420)), ipv6(Code::NotMeasured, 3.61)), Code::Ipv6Dead);
    assert_eq!(marked(ipv4(Some(1420)), ipv6(Code::NotMeasured, 1.0)), Code::NotMeasured, "time ran out");
    assert_eq!(marked(ipv4(Some(1420)), connected), Code::NotMeasured, "it leads somewhere");
}
