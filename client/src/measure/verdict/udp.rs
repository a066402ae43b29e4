//! The verdict on UDP, which no clamp changes. A server without QUIC is silent, so silence counts
//! only if something shows that it speaks QUIC.

use super::super::report::{PathReport, Udp};
use super::{Code, FromHost, Weight};

/// The verdict on UDP takes the place of one by which TCP works: a clamp does not help UDP. Where
/// routers report the path MTU, QUIC adapts as TCP does.
pub(in crate::measure) fn with_udp(code: Code, udp: Option<&Udp>, from_host: Option<FromHost>) -> Code {
    let (Some(udp), Weight::Fine) = (udp, code.weight()) else { return code };
    let speaks_quic = from_host.is_some_and(|host| host.quic);
    match (code, udp) {
        (Code::PmtudWorks | Code::PmtuLearnt, _) => code,
        (_, Udp { failed: Some(_), .. }) => Code::UdpNarrow,
        (Code::Fine, Udp { refused: Some(_), .. }) => Code::QuicBlocked,
        (Code::Fine, Udp { answered: false, .. }) if speaks_quic => Code::QuicBlocked,
        _ => code,
    }
}

/// If a server answers QUIC over one family and not over the other, UDP is blocked there.
pub(in crate::measure) fn mark_blocked_quic(paths: &mut [PathReport]) {
    let answers = |path: &PathReport| path.udp.as_ref().is_some_and(|udp| udp.answered);
    let speaking: Vec<(String, u16)> =
        paths.iter().filter(|path| answers(path)).map(|path| (path.server.clone(), path.port)).collect();
    for path in paths {
        let speaks = speaking.iter().any(|(server, port)| *server == path.server && *port == path.port);
        if speaks && path.verdict == Code::Fine && path.udp.as_ref().is_some_and(|udp| !udp.answered) {
            path.verdict = Code::QuicBlocked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Family;
    use super::*;

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
}
