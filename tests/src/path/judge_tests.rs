//! Each rule by itself, on packets that etherparse builds.

use etherparse::{Icmpv4Type, Icmpv6Type, IpSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};

use super::*;
use crate::path::rules::{Bottleneck, NameFilter, Padding, Refusal, Router};

const CLIENT: [u8; 4] = [198, 51, 100, 2];
const SERVER: [u8; 4] = [192, 0, 2, 1];

fn judge(rules: Rules) -> Judge {
    Judge::new(rules, 1)
}

/// A TCP segment from the client with this payload.
fn segment(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(port, HTTPS, 1000, 64_000).ack(7);
    step.write(&mut bytes, payload).unwrap();
    bytes
}

/// A TCP packet of `size` bytes from the server.
fn from_server(port: u16, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = PacketBuilder::ipv4(SERVER, CLIENT, 64).tcp(HTTPS, port, 1000, 64_000).ack(7);
    step.write(&mut bytes, &vec![0; size - 40]).unwrap();
    bytes
}

fn sized(size: usize) -> Vec<u8> {
    segment(40_000, &vec![0; size - 40])
}

fn sized_v6(size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(40_000, HTTPS, 1000, 64_000).ack(7);
    step.write(&mut bytes, &vec![0; size - 60]).unwrap();
    bytes
}

fn syn(mss: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = [TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(mss), TcpOptionElement::WindowScale(7)];
    let step = PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(40_000, HTTPS, 1000, 64_000).syn();
    step.options(&options).unwrap().write(&mut bytes, &[]).unwrap();
    bytes
}

/// The beginning of a hello whose record has `record` bytes, with the name in it.
fn hello(record: u16, name: &str) -> Vec<u8> {
    let length = (record - 5).to_be_bytes();
    [&[22, 3, 1, length[0], length[1], 1, 0], name.as_bytes()].concat()
}

fn passes(judge: &mut Judge, bytes: &[u8], direction: Direction) -> bool {
    judge.judge(bytes, direction, Duration::ZERO).forward.is_some()
}

fn goes_up(judge: &mut Judge, bytes: &[u8]) -> bool {
    passes(judge, bytes, Direction::Up)
}

fn answer(judge: &mut Judge, bytes: &[u8]) -> Option<Vec<u8>> {
    judge.judge(bytes, Direction::Up, Duration::ZERO).back.map(|(_, answer)| answer)
}

#[test]
fn a_packet_of_the_limit_passes_and_one_byte_more_does_not_in_each_direction_alone() {
    let mut path = judge(Rules::narrow(1300, 1200));
    assert!(goes_up(&mut path, &sized(1300)) && !goes_up(&mut path, &sized(1301)));
    assert!(passes(&mut path, &from_server(1, 1200), Direction::Down));
    assert!(!passes(&mut path, &from_server(1, 1201), Direction::Down));
    assert!(goes_up(&mut path, &sized_v6(1300)) && !goes_up(&mut path, &sized_v6(1301)));
    assert_eq!(path.counts()[&(Direction::Up, Event::TooBig)], 2);
    assert_eq!(answer(&mut path, &sized(1400)), None, "a black hole says nothing");
}

#[test]
fn a_limit_for_one_server_spares_the_others() {
    let rules = |server: [u8; 4]| Rules { limited_server: Some(server.into()), ..Rules::narrow(1300, 1300) };
    assert!(!goes_up(&mut judge(rules(SERVER)), &sized(1400)));
    assert!(!passes(&mut judge(rules(SERVER)), &from_server(1, 1400), Direction::Down));
    assert!(goes_up(&mut judge(rules([192, 0, 2, 2])), &sized(1400)));
}

#[test]
fn a_report_comes_from_the_router_names_the_limit_and_quotes_the_packet() {
    let packet = sized(1400);
    let report = answer(&mut judge(Rules::narrow(1300, 1300).reporting()), &packet).unwrap();
    let sliced = SlicedPacket::from_ip(&report).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("{sliced:?}") };
    let expected = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1300 };
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
    assert_eq!(icmp.payload(), &packet[..28]);
    let ip = IpSlice::from_slice(&report).unwrap();
    assert_eq!((ip.source_addr(), ip.destination_addr()), (Router::default().v4.into(), IpAddr::from(CLIENT)));

    let report = answer(&mut judge(Rules::narrow(1300, 1300).reporting()), &sized_v6(1400)).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = SlicedPacket::from_ip(&report).unwrap().transport else { panic!() };
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1300 });
    assert!(icmp.is_checksum_valid(Router::default().v6.octets(), [1; 16]) && report.len() <= 1280);
}

#[test]
fn a_forged_report_names_another_number() {
    let rules = Rules::narrow(1300, 1300).both(|rules| rules.report = Report::Claim(552));
    let report = answer(&mut judge(rules), &sized(1400)).unwrap();
    assert_eq!(report[26..28], 552_u16.to_be_bytes());
}

#[test]
fn chance_is_the_seeds_and_loses_the_share_that_it_should() {
    let losses = |seed| {
        let mut path = Judge::new(Rules::default().with_loss(0.1), seed);
        (0..2000).map(|_| !goes_up(&mut path, &sized(100))).collect::<Vec<_>>()
    };
    assert_eq!(losses(7), losses(7));
    assert_ne!(losses(7), losses(8));
    let lost = losses(7).into_iter().filter(|lost| *lost).count();
    assert!((150..250).contains(&lost), "{lost} of 2000 were lost");
    assert!((0..100).all(|_| goes_up(&mut judge(Rules::default()), &sized(100))));
}

#[test]
fn a_packet_takes_the_delay_and_no_more_than_the_jitter_above_it() {
    let mut path = judge(Rules::default().with_round_trip(100).both(|rules| rules.jitter = Duration::from_millis(40)));
    let arrivals: Vec<Duration> =
        (0..200).map(|_| path.judge(&sized(100), Direction::Up, Duration::from_secs(1)).forward.unwrap().0).collect();
    let range = Duration::from_millis(1050)..=Duration::from_millis(1090);
    assert!(arrivals.iter().all(|arrival| range.contains(arrival)));
    assert!(arrivals.windows(2).any(|pair| pair[1] < pair[0]), "none overtook another");
}

#[test]
fn a_bottleneck_sends_one_packet_after_another_and_drops_what_its_queue_cannot_hold() {
    let bottleneck = Bottleneck { rate: 80_000, queue: 2500 };
    let rules = Rules::default().with_round_trip(0).both(|rules| rules.bottleneck = Some(bottleneck));
    let mut path = judge(rules);
    let mut arrival = || path.judge(&sized(1000), Direction::Up, Duration::ZERO).forward.map(|(at, _)| at.as_millis());
    assert_eq!([arrival(), arrival(), arrival(), arrival()], [Some(100), Some(200), Some(300), None]);
    assert_eq!(path.counts()[&(Direction::Up, Event::QueueFull)], 1);
}

#[test]
fn a_policer_passes_a_burst_and_then_its_rate_small_packets_before_large_ones() {
    let mut path = judge(Rules::default().both(|rules| rules.policer = Some(Policer { rate: 1000, burst: 2000 })));
    let mut passes_at =
        |size, seconds| path.judge(&sized(size), Direction::Up, Duration::from_secs(seconds)).forward.is_some();
    assert!(passes_at(1000, 0) && passes_at(900, 0));
    assert!(!passes_at(1000, 0) && passes_at(60, 0));
    assert!(passes_at(1000, 1) && !passes_at(1000, 1));
}

#[test]
fn a_clamp_lowers_the_mss_of_a_syn_and_keeps_its_checksum_right() {
    let mut path = judge(Rules::default().both(|rules| rules.mss = Some(1260)));
    let (_, bytes) = path.judge(&syn(1460), Direction::Up, Duration::ZERO).forward.unwrap();
    let sliced = SlicedPacket::from_ip(&bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!() };
    assert!(tcp.options_iterator().any(|option| option == Ok(TcpOptionElement::MaximumSegmentSize(1260))));
    assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv4_raw(CLIENT, SERVER, &[]).unwrap());
    assert_eq!(path.counts()[&(Direction::Up, Event::Clamped)], 1);
    for unchanged in [syn(1200), sized(1000)] {
        let (_, bytes) = path.judge(&unchanged, Direction::Up, Duration::ZERO).forward.unwrap();
        assert_eq!(bytes, unchanged);
    }
}

#[test]
fn a_syn_is_refused_by_the_rule_and_other_packets_pass() {
    let refused = |how| answer(&mut judge(Rules { syn: Some(how), ..Rules::default() }), &syn(1460));
    assert_eq!(refused(Refusal::Drop), None);
    let reset = refused(Refusal::Reset).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ip(&reset).unwrap().transport else { panic!() };
    assert!(tcp.rst() && tcp.ack() && tcp.acknowledgment_number() == 1001 && tcp.source_port() == HTTPS);
    assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv4_raw(SERVER, CLIENT, &[]).unwrap());
    // Type 3: code 13 is "administratively prohibited", 1 "host unreachable".
    assert_eq!(refused(Refusal::Prohibited).unwrap()[20..22], [3, 13]);
    assert_eq!(refused(Refusal::Unreachable).unwrap()[20..22], [3, 1]);
    assert!(goes_up(&mut judge(Rules { syn: Some(Refusal::Drop), ..Rules::default() }), &sized(100)));
}

#[test]
fn a_hello_that_is_too_long_ends_its_connection_and_no_other() {
    let mut path = judge(Rules { hello_limit: Some(1000), ..Rules::default() });
    assert!(goes_up(&mut path, &segment(1, &hello(1000, ""))));
    assert!(!goes_up(&mut path, &segment(2, &hello(1001, ""))));
    assert!(!goes_up(&mut path, &segment(2, &[0; 100])), "what follows is dropped too");
    assert!(goes_up(&mut path, &segment(1, &[0; 100])));
    assert!(goes_up(&mut path, &segment(2, &[])), "an acknowledgement is not");
}

#[test]
fn a_port_that_is_used_again_is_judged_as_a_connection_of_its_own() {
    let mut path = judge(Rules { hello_limit: Some(1000), cut_after: Some(3000), ..Rules::default() });
    for _ in 0..3 {
        assert!(goes_up(&mut path, &syn(1460)));
        assert!(goes_up(&mut path, &segment(40_000, &hello(1000, ""))), "what came before does not count");
        assert!(goes_up(&mut path, &segment(40_000, &[0; 1000])));
        assert!(goes_up(&mut path, &syn(1460)));
        assert!(!goes_up(&mut path, &segment(40_000, &hello(1001, ""))), "an earlier small hello excuses nothing");
    }
}

#[test]
fn a_name_is_filtered_in_silence_or_with_a_reset_and_other_names_pass() {
    let rules = |name: Option<&str>, resets| Rules {
        name: Some(NameFilter { name: name.map(ToOwned::to_owned), resets }),
        ..Rules::default()
    };
    let mut path = judge(rules(Some("blocked.example"), false));
    assert!(goes_up(&mut path, &segment(1, &hello(300, "allowed.example"))));
    assert_eq!(
        path.judge(&segment(2, &hello(300, "blocked.example")), Direction::Up, Duration::ZERO),
        Deliveries::default()
    );
    let mut path = judge(rules(None, true));
    let reset = answer(&mut path, &segment(1, &hello(300, "any.example"))).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ip(&reset).unwrap().transport else { panic!() };
    assert!(tcp.rst() && tcp.sequence_number() == 7, "a reset is taken only where the receiver expects the next byte");
}

#[test]
fn a_connection_is_cut_after_so_many_bytes_in_each_direction() {
    let mut path = judge(Rules { cut_after: Some(2000), ..Rules::default() });
    assert!(goes_up(&mut path, &segment(1, &[0; 1000])) && goes_up(&mut path, &segment(1, &[0; 1000])));
    assert!(!goes_up(&mut path, &segment(1, &[0; 1])) && goes_up(&mut path, &segment(2, &[0; 1000])));
    assert!(passes(&mut path, &from_server(1, 1040), Direction::Down));
}

#[test]
fn half_of_the_connections_take_the_narrow_one_of_two_paths_in_both_directions() {
    let mut path = judge(Rules { unequal: Some(1300), ..Rules::default() });
    let narrow: Vec<u16> = (2000..3000).filter(|port| !goes_up(&mut path, &segment(*port, &[0; 1300]))).collect();
    assert!((400..600).contains(&narrow.len()), "{} of 1000", narrow.len());
    assert!(narrow.iter().all(|port| !passes(&mut path, &from_server(*port, 1340), Direction::Down)));
    assert!(goes_up(&mut path, &segment(narrow[0], &[0; 1000])));
}

#[test]
fn wireguard_pads_to_sixteen_bytes_and_never_beyond_its_mtu() {
    let rules = |outer| Rules { padding: Some(Padding { mtu: 1420 }), ..Rules::narrow(outer, outer) };
    assert_eq!(rules(1400).truth(Direction::Up), Some(1328));
    assert_eq!(rules(1360).truth(Direction::Up), Some(1296));
    assert_eq!(rules(1480).truth(Direction::Up), Some(1420));
    let mut path = judge(rules(1400));
    assert!(goes_up(&mut path, &sized(1328)) && !goes_up(&mut path, &sized(1329)));
}

#[test]
fn a_limit_can_fall_while_packets_pass() {
    let fall = Fall { after: 2, payload: 1000, to: 1300 };
    let mut path = judge(Rules::default().both(|rules| rules.fall = Some(fall)));
    assert!(goes_up(&mut path, &sized(1400)) && goes_up(&mut path, &sized(100)) && goes_up(&mut path, &sized(1400)));
    assert!(!goes_up(&mut path, &sized(1400)) && goes_up(&mut path, &sized(1300)));
    assert!(passes(&mut path, &from_server(1, 1400), Direction::Down), "the other direction has its own");
}

#[test]
fn icmp_and_quic_can_be_blocked_alone() {
    let mut udp = Vec::new();
    PacketBuilder::ipv4(CLIENT, SERVER, 64).udp(5, HTTPS).write(&mut udp, &[0; 100]).unwrap();
    let mut echo = Vec::new();
    PacketBuilder::ipv4(CLIENT, SERVER, 64).icmpv4_echo_request(1, 1).write(&mut echo, &[0; 100]).unwrap();
    let mut path = judge(Rules { quic: Some(Refusal::Drop), ..Rules::default() });
    assert!(!goes_up(&mut path, &udp) && goes_up(&mut path, &echo) && answer(&mut path, &udp).is_none());
    let mut path = judge(Rules { quic: Some(Refusal::Prohibited), ..Rules::default() });
    let report = answer(&mut path, &udp).unwrap();
    let Some(TransportSlice::Icmpv4(icmp)) = SlicedPacket::from_ip(&report).unwrap().transport else { panic!() };
    let expected = etherparse::icmpv4::DestUnreachableHeader::FilterProhibited;
    assert_eq!(icmp.icmp_type(), Icmpv4Type::DestinationUnreachable(expected));
    let mut path = judge(Rules { blocks_icmp: true, ..Rules::default() });
    assert!(goes_up(&mut path, &udp) && !goes_up(&mut path, &echo));
}

#[test]
fn rules_can_change_while_packets_are_under_way() {
    let mut path = judge(Rules::default());
    assert!(goes_up(&mut path, &sized(1400)));
    path.change(|rules| rules.up.limit = Some(1300));
    assert!(!goes_up(&mut path, &sized(1400)));
}

#[test]
fn no_bytes_make_a_path_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let rules = Rules { hello_limit: Some(1000), ..Rules::narrow(100, 100).reporting() };
    let mut path = judge(rules.both(|rules| rules.mss = Some(500)));
    for _ in 0..20_000 {
        let mut bytes = if random.bool() { syn(1460) } else { sized_v6(200) };
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        let _ = path.judge(&bytes, Direction::Up, Duration::ZERO);
    }
}
