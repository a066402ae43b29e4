//! The faults. Each row is a test, and a second one with 5 % loss.

use std::time::Duration;

use airpods_lab::path::{
    Bottleneck, Direction, DirectionRules, Fall, LINK, NameFilter, Padding, Policer, Refusal, Report, Rules, Server,
};
use airpods_lab::{Family, PathWorld, Place};

use crate::fault::Fault;
use crate::fault::Size::{Any, AtMost, Exact, Limited};

/// Makes one test for each row, and one for each row with loss.
macro_rules! faults {
    ($($name:ident: $fault:expr;)*) => {
        $(#[test] fn $name() { crate::check::exactly(stringify!($name), || $fault); })*
        mod lossy {
            #[allow(clippy::wildcard_imports)]
            use super::*;
            $(#[test] fn $name() { crate::check::with_loss(stringify!($name), || $fault); })*
        }
    };
}

faults! {
    // Nothing is wrong.
    a_good_path_is_fine: Fault::on(good()).is("fine");
    a_good_path_over_ipv6_is_fine: Fault::on(good()).over(Family::V6).is("fine");
    a_good_path_over_both_families_is_fine: Fault::on(good()).over_both().is("fine");
    a_good_path_to_nginx_is_fine: Fault::on(good()).at(Server::Nginx).is("fine");
    a_good_path_to_rustls_is_fine: Fault::on(good()).at(Server::Rustls).is("fine");
    a_good_path_to_a_tcp_that_is_not_linux_is_fine: Fault::on(good()).at(Server::UserTcp).is("fine");
    a_good_path_of_150_ms_is_fine: Fault::on(good().with_round_trip(150)).is("fine");
    a_good_path_that_reorders_is_fine: Fault::on(reordering()).is("fine");
    a_policer_is_not_taken_for_a_narrow_path: Fault::on(policed()).is("fine").or_open();
    a_megabit_is_not_taken_for_a_narrow_path: Fault::on(slow(1_000_000)).is("fine");
    a_path_without_icmp_is_fine: Fault::on(Rules { blocks_icmp: true, ..good() }).is("fine");

    // The path is narrower than the link and reports nothing.
    narrow_both_ways: Fault::on(Rules::narrow(1300, 1300)).is("path-narrow");
    narrow_up: Fault::on(good().with_limits(Some(1300), None)).is("path-narrow");
    narrow_down: Fault::on(good().with_limits(None, Some(1300))).is("path-narrow");
    narrow_by_other_sizes_up_and_down: Fault::on(Rules::narrow(1392, 1380)).is("path-narrow");
    much_narrower_up_than_down: Fault::on(Rules::narrow(1280, 1404)).is("path-narrow");
    narrow_by_eight_bytes: Fault::on(Rules::narrow(1412, 1412)).is("path-narrow");
    narrow_by_one_byte: Fault::on(Rules::narrow(1419, 1419)).is("path-narrow");
    narrow_to_1000: Fault::on(Rules::narrow(1000, 1000)).is("path-narrow");
    narrow_to_600: Fault::on(Rules::narrow(600, 600)).is("path-narrow");
    narrow_without_icmp: Fault::on(Rules { blocks_icmp: true, ..Rules::narrow(1300, 1300) }).is("path-narrow");
    narrow_over_both_families: Fault::on(Rules::narrow(1300, 1300)).over_both().is("path-narrow");
    narrow_over_ipv6: Fault::on(Rules::narrow(1300, 1300)).over(Family::V6).is("path-narrow");
    narrow_down_over_ipv6: Fault::on(good().with_limits(None, Some(1360))).over(Family::V6).is("path-narrow");
    narrow_up_over_ipv6: Fault::on(good().with_limits(Some(1300), None)).over(Family::V6).is("path-narrow");
    narrow_below_what_ipv6_may_be: Fault::on(Rules::narrow(1200, 1200)).over(Family::V6).is("v6-below-minimum");
    wireguard_in_a_path_of_1400: Fault::on(wireguard(Some(1400), Some(1400))).is("path-narrow");
    wireguard_in_a_path_of_1360_up: Fault::on(wireguard(Some(1360), None)).is("path-narrow");
    narrow_from_the_sixth_packet_on: Fault::on(falling()).is("path-narrow").sizes(AtMost, AtMost);
    narrow_down_and_only_up_is_reported: Fault::on(reporting_up_only()).is("path-narrow").sizes(AtMost, AtMost);

    some_connections_take_a_narrower_path:
        Fault::on(Rules { unequal: Some(1300), ..good() }).is("mixed-paths").sizes(Any, Any).or_open();
    some_connections_take_a_narrower_path_over_ipv6: Fault::on(Rules { unequal: Some(1300), ..good() })
        .over(Family::V6).is("mixed-paths").sizes(Any, Any).or_open();

    // The same with other servers.
    narrow_to_an_ecdsa_chain: Fault::on(Rules::narrow(1300, 1300)).at(Server::Ecdsa).is("path-narrow");
    narrow_to_tls_1_2: Fault::on(Rules::narrow(1300, 1300)).at(Server::Tls12).is("path-narrow");
    narrow_to_nginx: Fault::on(Rules::narrow(1300, 1300)).at(Server::Nginx).is("path-narrow");
    narrow_to_rustls: Fault::on(Rules::narrow(1300, 1300)).at(Server::Rustls).is("path-narrow");
    narrow_to_a_balancer_that_waits_for_the_hello:
        Fault::on(Rules::narrow(1300, 1300)).at(Server::Inspector).is("path-narrow");
    narrow_to_a_tcp_that_is_not_linux: Fault::on(Rules::narrow(1300, 1300)).at(Server::UserTcp).is("path-narrow");
    narrow_to_a_server_that_sends_little:
        Fault::on(Rules::narrow(1300, 1300)).at(Server::Tiny).is("path-narrow").sizes(Exact, AtMost);
    narrow_up_to_a_silent_server:
        Fault::on(good().with_limits(Some(1300), None)).at(Server::Silent).is("path-narrow").sizes(Exact, Any);

    // The path is narrow, and another property makes that hard to detect.
    narrow_and_150_ms_long: Fault::on(Rules::narrow(1300, 1300).with_round_trip(150)).is("path-narrow").sizes(AtMost, AtMost);
    narrow_and_300_ms_long: Fault::on(Rules::narrow(1300, 1300).with_round_trip(300)).is("path-narrow").sizes(AtMost, AtMost);
    narrow_and_reordering: Fault::on(reordering().with_limits(Some(1300), Some(1300))).is("path-narrow");
    narrow_and_policed:
        Fault::on(policed().with_limits(Some(1300), Some(1300))).is("path-narrow").sizes(AtMost, AtMost).or_open();
    narrow_and_256_kbit_slow:
        Fault::on(slow(256_000).with_limits(Some(1300), Some(1300))).is("path-narrow").sizes(AtMost, AtMost);

    // Path MTU discovery, working, forged, or learnt.
    a_path_that_reports_its_size_works: Fault::on(Rules::narrow(1300, 1300).reporting()).is("pmtud-works").sizes(Exact, AtMost);
    an_ipv6_path_that_reports_its_size_works: Fault::on(Rules::narrow(1300, 1300).reporting())
        .over(Family::V6).is("pmtud-works").sizes(Exact, AtMost);
    a_path_mtu_that_the_kernel_has_learnt_hides_the_path:
        Fault::on(Rules::narrow(1300, 1300)).with(learn).is("pmtu-learnt").sizes(AtMost, AtMost);

    // Clamps.
    a_server_that_caps_its_mss_is_clamped:
        Fault::on(good()).at(Server::CappedMss).is("clamped").sizes(Limited(1400), Limited(1400));
    a_clamp_of_another_program_is_seen:
        Fault::on(clamped(true, true)).is("clamped").sizes(Limited(1300), Limited(1300));
    a_clamp_of_syns_that_leave_only_does_not_widen_the_way_up:
        Fault::on(clamped(true, false)).is("path-narrow").sizes(Exact, Limited(1300));

    a_fixed_clamp_that_is_larger_than_the_path:
        Fault::on(Rules::narrow(1300, 1300)).with(clamp_of_the_helper).is("clamp-too-high");

    // A second server.
    a_server_refuses_and_another_takes_its_place:
        Fault::on(good()).at(Server::Nobody).and(Server::Rsa).replaced("server-down").is("fine");
    a_server_is_silent_and_another_takes_its_place:
        Fault::on(good()).at(Server::Nobody).and(Server::Rsa).with(silent_nobody).replaced("server-down").is("fine");
    a_narrow_path_to_the_server_that_takes_the_place_of_another:
        Fault::on(Rules::narrow(1300, 1300)).at(Server::Nobody).and(Server::Rsa).replaced("server-down").is("path-narrow");
    a_server_is_down_and_no_time_is_left_for_another: Fault::on(good().with_round_trip(1250))
        .at(Server::Nobody).and(Server::Rsa).with(silent_nobody).only_is("server-down");
    narrow_to_two_servers: Fault::on(Rules::narrow(1300, 1300)).and(Server::Nginx).is("path-narrow");
    narrow_to_one_of_two_servers: Fault::on(far_end(Rules::narrow(1300, 1300))).and(Server::Nginx).is("far-end-narrow");
    narrow_up_to_one_of_two_servers:
        Fault::on(far_end(good().with_limits(Some(1300), None))).and(Server::Nginx).is("far-end-narrow");
    narrow_down_to_one_of_two_servers:
        Fault::on(far_end(good().with_limits(None, Some(1300)))).and(Server::Nginx).is("far-end-narrow");

    // Other properties of a path that carries every size.
    a_round_trip_of_more_than_a_second_is_slow: Fault::on(good().with_round_trip(1100)).is("link-slow");
    a_round_trip_of_more_than_a_second_is_slow_over_ipv6:
        Fault::on(good().with_round_trip(1100)).over(Family::V6).is("link-slow");
    packets_are_lost_up: Fault::on(losing(0.12, 0.0)).is("link-loses").or_open();
    packets_are_lost_both_ways: Fault::on(losing(0.1, 0.1)).is("link-loses").or_open();
    a_proxy_nearby_answers_for_the_server: Fault::on(good()).with(proxy).is("proxy-between");

    // UDP.
    a_server_with_quic_is_fine: Fault::on(good()).with_quic().is("fine");
    a_clamp_does_not_help_udp:
        Fault::on(clamped(true, true)).with_quic().is("udp-narrow").sizes(Limited(1300), Limited(1300));
    the_hosts_firewall_drops_quic: Fault::on(good()).with_quic().with(firewall_without_quic).is("quic-blocked");
    a_router_prohibits_quic: Fault::on(Rules { quic: Some(Refusal::Prohibited), ..good() }).with_quic().is("quic-blocked");
    a_router_prohibits_quic_over_ipv6: Fault::on(Rules { quic: Some(Refusal::Prohibited), ..good() })
        .over(Family::V6).with_quic().is("quic-blocked");
    quic_is_dropped_over_ipv4_only: Fault::on(good()).over_both().with_quic().with(no_quic_over_ipv4).is("quic-blocked");

    // Faults that do not depend on packet size.
    a_box_that_drops_large_hellos: Fault::on(Rules { hello_limit: Some(1000), ..good() }).is("big-hello");
    a_name_is_filtered_in_silence: Fault::on(filtered(Some("rsa.registry"), false)).only_is("name-filtered");
    a_name_is_filtered_with_resets: Fault::on(filtered(Some("rsa.registry"), true)).only_is("name-filtered");
    tls_is_blocked_in_silence: Fault::on(filtered(None, false)).only_is("tls-blocked");
    tls_is_blocked_with_resets: Fault::on(filtered(None, true)).only_is("tls-blocked");
    connections_stall_after_3_kb: Fault::on(Rules { cut_after: Some(3000), ..good() }).only_is("stalls");
    a_network_wants_a_login: Fault::on(good()).at(Server::Http).only_is("not-tls");
    a_server_is_silent: Fault::on(good()).at(Server::Silent).is("server-silent").sizes(AtMost, Any);
    a_server_sends_little: Fault::on(good()).at(Server::Tiny).is("down-not-measured").sizes(Exact, AtMost);
    a_router_resets_connections: Fault::on(refused(Refusal::Reset)).only_is("refused-on-the-way");
    a_router_prohibits_connections: Fault::on(refused(Refusal::Prohibited)).only_is("refused-on-the-way");
    a_router_finds_no_host: Fault::on(refused(Refusal::Unreachable)).only_is("refused-on-the-way");
    ipv6_leads_nowhere: Fault::on(good()).over_both().with(no_way_back_over_ipv6).only_is("ipv6-dead");

    // Faults of the host itself.
    the_host_has_no_route: Fault::on(good()).with(no_route).only_is("no-route");
    the_host_has_a_route_into_nothing: Fault::on(good()).with(blackhole_route).only_is("no-route");
    the_host_prohibits_the_way: Fault::on(good()).with(prohibiting_route).only_is("no-route");
    the_hosts_firewall_drops: Fault::on(good()).with(dropping_firewall).only_is("own-firewall");
    the_hosts_firewall_rejects: Fault::on(good()).with(rejecting_firewall).only_is("own-firewall");
    a_server_nearby_that_refuses_is_no_firewall_of_this_host:
        Fault::on(good().with_round_trip(0)).at(Server::Nobody).only_is("refused-on-the-way");
    the_host_sends_small_packets_first:
        Fault::on(good()).with(probing).is("up-not-measured").sizes(AtMost, Exact);
    no_name_server_answers: Fault::on(good()).with(silent_resolver).only_is("dns-silent");
    the_name_server_refuses: Fault::on(good()).with(refusing_resolver).only_is("dns-refused");
}

fn good() -> Rules {
    Rules::default()
}

fn reordering() -> Rules {
    good().both(|rules| rules.jitter = Duration::from_millis(40))
}

/// A policer of 60 kB/s, without a queue.
fn policed() -> Rules {
    good().both(|rules| rules.policer = Some(Policer { rate: 60_000, burst: 6000 }))
}

fn slow(rate: u32) -> Rules {
    good().both(|rules| rules.bottleneck = Some(Bottleneck { rate, queue: 60_000 }))
}

fn losing(up: f64, down: f64) -> Rules {
    let mut rules = good();
    (rules.up.loss, rules.down.loss) = (up, down);
    rules
}

fn wireguard(up: Option<usize>, down: Option<usize>) -> Rules {
    Rules { padding: Some(Padding { mtu: 1420 }), ..good() }.with_limits(up, down)
}

/// The route changes while the first large packets are on their way up.
fn falling() -> Rules {
    let fall = Fall { after: 6, payload: 900, to: 1300 };
    Rules { up: DirectionRules { fall: Some(fall), ..DirectionRules::default() }, ..good() }
}

fn reporting_up_only() -> Rules {
    let narrow = Rules::narrow(1300, 1300);
    Rules { up: DirectionRules { report: Report::Limit, ..narrow.up.clone() }, ..narrow }
}

fn clamped(up: bool, down: bool) -> Rules {
    let mut rules = Rules::narrow(1300, 1300);
    rules.up.mss = up.then_some(1260);
    rules.down.mss = down.then_some(1260);
    rules
}

fn filtered(name: Option<&str>, resets: bool) -> Rules {
    Rules { name: Some(NameFilter { name: name.map(ToOwned::to_owned), resets }), ..good() }
}

fn refused(how: Refusal) -> Rules {
    Rules { syn: Some(how), ..good() }
}

fn host(world: &PathWorld, line: &str) {
    world.sandbox().sh(line).unwrap();
}

/// Lets the host learn the size from one report, then makes the router silent.
fn learn(world: &PathWorld) {
    let report = |report| move |rules: &mut Rules| rules.up.report = report;
    world.path().change(report(Report::Limit));
    let address = Server::Rsa.address(Family::V4);
    host(
        world,
        &format!("ping -c 1 -W 1 -M do -s 1392 {address} || true; ip route get {address} | grep -q 'mtu 1300'"),
    );
    world.path().change(report(Report::Silent));
    assert_ne!(world.path().count(Direction::Up, airpods_lab::path::Event::TooBig), 0);
}

/// A path of which only the end near the first server has these limits.
fn far_end(rules: Rules) -> Rules {
    Rules { limited_server: Some(Server::Rsa.address(Family::V4)), ..rules }
}

/// alice sets a fixed clamp that the path has become too narrow for.
fn clamp_of_the_helper(world: &PathWorld) {
    const ALLOWED: &str = r#"polkit.addRule(function(action, subject) {
        if (action.id.indexOf("org.airpods.") == 0 && subject.user == "alice") return polkit.Result.YES;
    });"#;
    let sandbox = world.sandbox();
    sandbox.install_helper().unwrap();
    sandbox.add_polkit_rule("50-lab", ALLOWED).unwrap();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.as_user("alice").sh("airpods net clamp on wg0 --mtu 1380 --no-proof").unwrap();
}

/// Drops in silence what arrives for the server that refuses connections.
fn silent_nobody(world: &PathWorld) {
    let address = Server::Nobody.address(Family::V4);
    let chain = format!("type filter hook input priority filter\nip daddr {address} drop\n");
    world.internet().sh(&format!("nft 'table inet lab {{ chain arriving {{\n{chain}}}\n}}'")).unwrap();
}

fn no_quic_over_ipv4(world: &PathWorld) {
    let chain = "type filter hook input priority filter\nmeta nfproto ipv4 udp dport 443 drop\n";
    world.internet().sh(&format!("nft 'table inet lab {{ chain arriving {{\n{chain}}}\n}}'")).unwrap();
}

fn firewall_without_quic(world: &PathWorld) {
    firewall(world, "udp dport 443 drop");
}

/// A transparent proxy on the host completes the user's connections, and makes its own ones.
fn proxy(world: &PathWorld) {
    let server = Server::Rsa.address(Family::V4);
    let configuration = format!(
        "defaults\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         listen proxy\n mode tcp\n bind 127.0.0.1:3129\n server far {server}:443\n"
    );
    world.sandbox().write_file("/etc/proxy.cfg", configuration).unwrap();
    host(world, "haproxy -D -f /etc/proxy.cfg </dev/null >/var/log/lab/proxy.log 2>&1");
    let chain = "type nat hook output priority -100\nmeta skuid alice tcp dport 443 redirect to :3129\n";
    host(world, &format!("nft 'table ip lab {{ chain leaving {{\n{chain}}}\n}}'"));
}

fn no_way_back_over_ipv6(world: &PathWorld) {
    world.internet().sh("ip -6 route del default").unwrap();
}

fn no_route(world: &PathWorld) {
    host(world, "ip route del default");
}

fn blackhole_route(world: &PathWorld) {
    host(world, "ip route replace blackhole default");
}

fn prohibiting_route(world: &PathWorld) {
    host(world, "ip route replace prohibit default");
}

fn firewall(world: &PathWorld, verdict: &str) {
    let chain = format!("type filter hook output priority filter\noifname {LINK} {verdict}\n");
    host(world, &format!("nft 'table inet lab {{ chain leaving {{\n{chain}}}\n}}'"));
}

fn dropping_firewall(world: &PathWorld) {
    firewall(world, "drop");
}

fn rejecting_firewall(world: &PathWorld) {
    firewall(world, "reject");
}

fn probing(world: &PathWorld) {
    host(world, "sysctl -qw net.ipv4.tcp_mtu_probing=2");
}

/// Removes the server's name from /etc/hosts, and sets a name server address that no host has.
fn silent_resolver(world: &PathWorld) {
    world.sandbox().write_file("/etc/hosts", "127.0.0.1 localhost\n").unwrap();
    world.sandbox().write_file("/etc/resolv.conf", "nameserver 192.0.2.200\n").unwrap();
    world.internet().sh("ip route add blackhole 192.0.2.200/32").unwrap();
}

/// The same with the address of a machine that runs no name server and so refuses the queries.
fn refusing_resolver(world: &PathWorld) {
    silent_resolver(world);
    let address = Server::Rsa.address(Family::V4);
    world.sandbox().write_file("/etc/resolv.conf", format!("nameserver {address}\n")).unwrap();
}
