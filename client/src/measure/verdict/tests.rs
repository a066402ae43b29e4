//! The table of verdicts, row by row.

use clap::Parser;

use super::*;
use crate::Cli;
use crate::measure::report::Family;
use crate::measure::search::FAILURES_NEEDED_DOWN;

#[test]
fn every_verdict_has_a_section_in_the_troubleshooting_page() {
    let page = include_str!("../../../../docs/troubleshooting.md");
    for code in Code::ALL {
        assert!(page.contains(&format!("\n### `{code}`\n")), "docs/troubleshooting.md has no section `{code}`");
    }
}

#[test]
fn every_sentence_is_one_line_and_a_cure_that_is_a_command_of_ours_can_be_typed() {
    let about = Words {
        place: "the host".to_owned(),
        server: "registry.example.org".to_owned(),
        link: Some("wg0".to_owned()),
        link_mtu: Some(1380),
        service: Some("ollama".to_owned()),
        direction: "up",
        passes: Some(1300),
        ..Words::default()
    };
    for (code, vpn) in Code::ALL.iter().flat_map(|code| [(*code, true), (*code, false)]) {
        let (sentence, _, cure) = words(code, &Words { vpn, ..about.clone() });
        assert!(!sentence.contains('\n') && !sentence.ends_with('.'), "{code}: {sentence}");
        assert!(cure.is_none() || code.severity() != Severity::Fine, "{code} needs no cure");
        let commands = cure.iter().flat_map(|cure| cure.split(" && "));
        for typed in commands.filter(|typed| typed.starts_with("airpods ")) {
            assert!(Cli::try_parse_from(typed.split(' ')).is_ok(), "{code}: `{typed}`");
        }
    }
}

/// The cause that is ruled out, and the cure.
fn advice(code: Code, about: &Words) -> (Option<&'static str>, Option<String>) {
    let (_, not_to_blame, cure) = words(code, about);
    (not_to_blame, cure)
}

#[test]
fn the_networks_mtu_is_never_set_below_what_ipv6_needs() {
    for (passes, set) in [(1300, "mtu 1300 "), (1228, "mtu 1280 ")] {
        let (_, cure) = advice(Code::UdpNarrow, &Words { passes: Some(passes), ..Words::default() });
        assert!(cure.as_deref().is_some_and(|cure| cure.contains(set)), "{cure:?}");
    }
}

#[test]
fn a_link_that_is_no_vpn_was_given_nothing_by_one() {
    for (vpn, is_said) in [(true, true), (false, false)] {
        let (blameless, _) = advice(Code::PathNarrow, &Words { vpn, ..Words::default() });
        assert_eq!(blameless.is_some_and(|text| text.contains("VPN")), is_said, "{blameless:?}");
    }
}

#[test]
fn another_server_is_advised_only_where_the_server_is_the_reason() {
    let probing = Words { limited_by: Some(LimitedBy::MtuProbing), ..Words::default() };
    let another = Some("airpods net check --url https://ANOTHER-SERVER".to_owned());
    assert_eq!(advice(Code::ServerSilent, &Words::default()).1, another);
    assert_eq!(advice(Code::UpNotMeasured, &Words::default()).1, another);
    assert_eq!(advice(Code::UpNotMeasured, &probing).1.as_deref(), Some("sudo sysctl -w net.ipv4.tcp_mtu_probing=1"));
    assert_eq!(advice(Code::NotMeasured, &Words::default()).1.as_deref(), Some("airpods net check"));
}

#[test]
fn without_time_for_an_answer_silence_is_no_verdict() {
    let hurried = Findings { hurried: true, ..refused(None, Duration::from_secs(1)) };
    let inside = FromHost { connects: true, ..FromHost::default() };
    for facts in [PathFacts::default(), PathFacts { from_host: Some(inside), ..PathFacts::default() }] {
        assert_eq!(judge(&hurried, &facts), Code::NotMeasured, "{facts:?}");
    }
    let mute = Findings { connected: true, hurried: true, ..Findings::default() };
    assert_eq!(judge(&mute, &PathFacts::default()), Code::NotMeasured);
    let unasked = PathFacts { others_unasked: true, ..PathFacts::default() };
    for errno in [None, Some(Errno::ECONNREFUSED)] {
        assert_eq!(judge(&refused(errno, Duration::from_secs(4)), &unasked), Code::NotMeasured);
    }
}

fn refused(errno: Option<Errno>, after: Duration) -> Findings {
    Findings { refusals: vec![(errno, after)], ..Findings::default() }
}

#[test]
fn the_cause_of_failed_connections_follows_from_errors_times_and_others() {
    let (now, later) = (Duration::ZERO, Duration::from_millis(30));
    let plain = PathFacts::default();
    let own_firewall = PathFacts { own_firewall: true, ..plain.clone() };
    let container = FromHost { connects: true, ..FromHost::default() };
    let cases = [
        (refused(None, later), PathFacts { no_route: Some(Errno::ENETUNREACH), ..plain.clone() }, Code::NoRoute),
        (refused(Some(Errno::EHOSTUNREACH), now), own_firewall.clone(), Code::OwnFirewall),
        (refused(Some(Errno::ECONNREFUSED), now), plain.clone(), Code::RefusedOnTheWay),
        (refused(None, later), own_firewall, Code::OwnFirewall),
        (refused(None, later), PathFacts { from_host: Some(container), ..plain.clone() }, Code::ContainerCut),
        (refused(Some(Errno::ECONNREFUSED), later), plain.clone(), Code::RefusedOnTheWay),
        (refused(None, later), PathFacts { others_answer: true, ..plain.clone() }, Code::ServerDown),
        (refused(None, later), plain, Code::PortFiltered),
    ];
    for (findings, facts, code) in cases {
        assert_eq!(judge(&findings, &facts), code, "{findings:?} {facts:?}");
    }
}

/// The findings about a path of these sizes, on which everything was tried and every larger size is
/// refuted.
fn measured(up: u16, down: u16, top: u16) -> Findings {
    let mut findings = Findings { connected: true, tls: true, big_hello: Some(true), ..Findings::default() };
    for (evidence, size, needed) in
        [(&mut findings.up, up, FAILURES_NEEDED_UP), (&mut findings.down, down, FAILURES_NEEDED_DOWN)]
    {
        evidence.prove(size);
        for _ in 0..if size < top { needed } else { 0 } {
            evidence.miss(size + 1, true);
        }
    }
    findings
}

#[test]
fn a_silent_server_does_not_clear_a_path_on_which_a_size_failed() {
    let facts = PathFacts { top: 1420, ..PathFacts::default() };
    let silent = |up| Findings { tls: false, hello_arrived: true, ..measured(up, 1420, 1420) };
    assert_eq!(judge(&silent(1420), &facts), Code::ServerSilent);
    assert_eq!(judge(&silent(1300), &facts), Code::PathNarrow);
    let mut doubtful = silent(1420);
    doubtful.up = Evidence::default();
    doubtful.up.prove(1300);
    doubtful.up.miss(1301, true);
    assert_eq!(judge(&doubtful, &facts), Code::NotMeasured);
}

#[test]
fn a_fault_absent_on_the_host_is_one_of_forwarding() {
    let whole = FromHost { connects: true, link: 1420, whole: true, up: 1420, down: 1420, quic: false };
    let mute = Findings { connected: true, ..Findings::default() };
    let stalled = Findings { tls: true, cuts: 2, ..mute.clone() };
    for (findings, alone) in [(mute, Code::TlsBlocked), (stalled, Code::Stalls)] {
        let judged = |from_host| judge(&findings, &PathFacts { top: 1420, from_host, ..PathFacts::default() });
        assert_eq!(judged(None), alone);
        assert_eq!(judged(Some(whole)), Code::ContainerCut);
        assert_eq!(judged(Some(FromHost { whole: false, ..whole })), alone);
    }
}

#[test]
fn a_finding_about_the_upload_says_nothing_about_an_unmeasured_download() {
    let facts = PathFacts { top: 1420, ..PathFacts::default() };
    let mut findings = measured(1300, 1300, 1300);
    (findings.up.reported, findings.down.limit) = (Some(1300), Some((1300, LimitedBy::Learnt)));
    assert_eq!(judge(&findings, &facts), Code::DownNotMeasured);
    findings.healed = true;
    assert_eq!(judge(&findings, &facts), Code::PmtudWorks);
    (findings.healed, findings.down) = (false, Evidence::default());
    findings.down.prove(1420);
    assert_eq!(judge(&findings, &facts), Code::PmtudWorks);
}

#[test]
fn a_server_that_repairs_the_download_proves_nothing_about_the_upload() {
    let facts = PathFacts { top: 1500, ..PathFacts::default() };
    let healed = Findings { healed: true, ..measured(1500, 1500, 1500) };
    assert_eq!(judge(&healed, &facts), Code::PmtudWorks);
    let mut unseen = healed;
    unseen.up = Evidence::default();
    unseen.up.prove(576);
    assert_eq!(judge(&unseen, &facts), Code::UpNotMeasured);
}

#[test]
fn sizes_are_judged_by_the_end_of_the_path_and_by_other_connections() {
    let facts = PathFacts { top: 1500, ..PathFacts::default() };
    let host = FromHost { connects: true, link: 1380, whole: true, up: 1380, down: 1380, quic: false };
    let narrow_host = FromHost { whole: false, up: 1300, down: 1300, ..host };
    let behind_narrow = PathFacts { from_host: Some(narrow_host), ..facts.clone() };
    let inside = PathFacts { from_host: Some(host), ..facts.clone() };
    let second = |more| Findings {
        second: Some(super::super::findings::Second { more, same: !more }),
        ..measured(1300, 1300, 1500)
    };
    let losing = |sent, repeated| Findings { loss: Some(Loss { sent, repeated }), ..measured(1500, 1500, 1500) };
    let mut one_way = measured(1380, 1380, 1381);
    one_way.down.limit_to(1380, LimitedBy::Flight);
    (0..FAILURES_NEEDED_UP).for_each(|_| one_way.up.miss(1381, true));
    one_way.down.forget_failures_above(1380);
    let cases = [
        (measured(1500, 1500, 1500), facts.clone(), Code::Fine),
        (measured(1300, 1500, 1500), facts.clone(), Code::PathNarrow),
        (second(false), facts.clone(), Code::PathNarrow),
        (second(true), facts.clone(), Code::FarEndNarrow),
        (measured(1380, 1380, 1500), inside.clone(), Code::MtuBlackHole),
        // The host gets larger packets through, or its own path ends at the same size.
        (measured(1300, 1300, 1500), inside.clone(), Code::ForwardNarrow),
        (measured(1300, 1500, 1500), inside.clone(), Code::ForwardNarrow),
        (measured(1500, 1300, 1500), inside.clone(), Code::ForwardNarrow),
        (measured(1300, 1300, 1500), behind_narrow.clone(), Code::PathNarrow),
        (measured(1200, 1300, 1500), behind_narrow.clone(), Code::PathNarrow),
        (measured(1200, 1280, 1500), behind_narrow, Code::ForwardNarrow),
        (one_way, inside, Code::ClampOneWay),
        (measured(1300, 1300, 1500), PathFacts { clamped: Some(1380), ..facts.clone() }, Code::ClampTooHigh),
        (measured(1300, 1300, 1500), PathFacts { clamped: Some(1300), ..facts.clone() }, Code::PathNarrow),
        (measured(1200, 1300, 1500), PathFacts { ipv6: true, ..facts.clone() }, Code::V6BelowMinimum),
        (Findings { not_tls: true, ..measured(1300, 1300, 1500) }, facts.clone(), Code::NotTls),
        (
            Findings { big_hello: Some(false), big_hellos: 4, ..measured(1500, 1500, 1500) },
            facts.clone(),
            Code::BigHello,
        ),
        (losing(60, 1), facts.clone(), Code::Fine),
        (losing(60, 2), facts.clone(), Code::LinkLoses),
        (losing(20, 1), facts.clone(), Code::Fine),
        (losing(20, 9), facts, Code::LinkLoses),
    ];
    for (findings, facts, code) in cases {
        assert_eq!(judge(&findings, &facts), code, "{findings:?} {facts:?}");
    }
}

#[test]
fn packets_missed_without_time_for_a_retry_are_no_verdict() {
    let mut findings = measured(1500, 1400, 1400);
    findings.down.miss(1500, false);
    findings.cut_short = true;
    let facts = PathFacts { top: 1500, ..PathFacts::default() };
    assert_eq!(judge(&findings, &facts), Code::NotMeasured);
    let report = direction(&findings.down, &facts, FAILURES_NEEDED_DOWN, true);
    assert_eq!((report.proven, report.confidence), (Some(1400), Confidence::AtLeast));
}

#[test]
fn udp_is_judged_whatever_lets_tcp_pass_and_silence_shows_nothing_by_itself() {
    let narrow = Udp { answered: true, refused: None, proven: Some(1300), failed: Some(1360) };
    let refused = Udp { refused: Some("not permitted".to_owned()), ..Udp::default() };
    let from_host = |quic| Some(FromHost { quic, ..FromHost::default() });
    for (code, udp, from_host, expected) in [
        (Code::Fine, Some(&narrow), None, Code::UdpNarrow),
        (Code::Clamped, Some(&narrow), None, Code::UdpNarrow),
        (Code::LinkSlow, Some(&narrow), None, Code::UdpNarrow),
        (Code::PmtudWorks, Some(&narrow), None, Code::PmtudWorks),
        (Code::PmtuLearnt, Some(&narrow), None, Code::PmtuLearnt),
        (Code::PathNarrow, Some(&narrow), None, Code::PathNarrow),
        (Code::NotMeasured, Some(&narrow), None, Code::NotMeasured),
        (Code::Fine, Some(&refused), None, Code::QuicBlocked),
        (Code::Clamped, Some(&refused), None, Code::Clamped),
        (Code::Fine, Some(&Udp::default()), from_host(true), Code::QuicBlocked),
        (Code::Fine, Some(&Udp::default()), from_host(false), Code::Fine),
        (Code::Fine, Some(&Udp::default()), None, Code::Fine),
        (Code::Fine, None, from_host(true), Code::Fine),
    ] {
        assert_eq!(with_udp(code, udp, from_host), expected, "{code} {udp:?} {from_host:?}");
    }
}

#[test]
fn an_answer_over_one_family_shows_that_udp_is_blocked_over_the_other() {
    let path = |family, server: &str, answered| PathReport {
        udp: Some(Udp { answered, ..Udp::default() }),
        ..PathReport::without(family, server, 443, Code::Fine)
    };
    for (server, expected) in [("one.example", Code::QuicBlocked), ("two.example", Code::Fine)] {
        let mut paths = [path(Family::Ipv4, "one.example", true), path(Family::Ipv6, server, false)];
        mark_blocked_quic(&mut paths);
        assert_eq!(paths.map(|path| path.verdict), [Code::Fine, expected]);
    }
}
